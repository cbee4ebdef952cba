"""From the vectors of one or more models to the results of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.examples import pick_examples
from moon.evaluation.labels import LabelTask, baselines, predict, score
from moon.evaluation.probe import probe
from moon.evaluation.ranking import inner_products, top_k
from moon.evaluation.ranks import Ranks
from moon.evaluation.summary import rank_direction, summarise
from moon.evaluation.tasks import DIRECTIONS, Benchmark, Direction

Vectors = npt.NDArray[np.float32]
_TOP: Final = 5


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Everything that one model embeds for a benchmark, each thing once."""

    queries: Mapping[str, Vectors]
    """Modality -> a row for each query of the benchmark."""
    gallery: Mapping[str, Vectors]
    """View -> a row for each product of the benchmark's gallery of that view."""
    labels: Mapping[str, Vectors]
    """Label text -> its vector."""
    others: Mapping[str, Mapping[str, Vectors]] = field(default_factory=dict)
    """View -> product id -> vector, for products outside of the gallery."""
    photos: Mapping[str, Vectors] = field(default_factory=dict)
    """Photo of a train purchase -> its vector as a query."""


@dataclass(frozen=True, kw_only=True)
class ProbeSplit:
    """Which products a linear probe is fitted on and which it is asked about."""

    products: Sequence[str]
    """Train products that it is fitted on."""
    train: Sequence[LabelTask]
    """The label tasks of the train products."""
    held_out: frozenset[str]


def rank_all(embedded: Embedded, benchmark: Benchmark) -> dict[str, Ranks]:
    """Direction -> ranks of its answerable queries; directions without any are left out."""
    ranks = {}
    for direction in DIRECTIONS:
        rows = benchmark.answerable(direction)
        if rows:
            ranks[direction.name] = rank_direction(
                benchmark.asked(direction),
                embedded.queries[direction.modality][rows],
                benchmark.gallery[direction.view],
                embedded.gallery[direction.view],
            )
    return ranks


def retrieval(ranks: Mapping[str, Ranks], benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Direction -> its measures, None where it has no query."""
    measured: dict[str, Any] = dict.fromkeys(direction.name for direction in DIRECTIONS)
    for direction in DIRECTIONS:
        if direction.name in ranks:
            measured[direction.name] = summarise(
                ranks[direction.name],
                benchmark.asked(direction),
                benchmark.gallery[direction.view],
                params,
                benchmark.instances,
            )
    return measured


def label_prediction(
    models: Mapping[str, Embedded],
    benchmark: Benchmark,
    tasks: Sequence[LabelTask],
    params: EvaluationParams,
    split: ProbeSplit | None = None,
) -> dict[str, dict[str, Any]]:
    """``category`` and ``attributes`` -> task -> its baselines and the scores of each model, with its probe."""
    gallery = benchmark.gallery["image"]
    row_of = dict(zip(gallery, range(len(gallery)), strict=True))
    results: dict[str, dict[str, Any]] = {"category": {}, "attributes": {}}
    for task in tasks:
        rows = [row_of[product_id] for product_id in task.truth]
        found = results[task.kind][task.name] = baselines(task)
        for name, embedded in models.items():
            labels = np.stack([embedded.labels[text] for text in task.texts])
            predicted = predict(task, embedded.gallery["image"][rows], labels)
            found[name] = score(task, dict(zip(task.truth, predicted, strict=True)), params)
            pictures = dict(zip(gallery, embedded.gallery["image"], strict=True))
            found[name]["probe"] = None if split is None else _probe(task, split, embedded, pictures, params)
    return results


def _probe(
    task: LabelTask,
    split: ProbeSplit,
    embedded: Embedded,
    pictures: Mapping[str, Vectors],
    params: EvaluationParams,
) -> dict[str, Any] | None:
    """The scores of a linear probe on the held-out products of a task; None where it cannot be fitted or asked."""
    train = next((one for one in split.train if (one.kind, one.name) == (task.kind, task.name)), None)
    truth = {product_id: values for product_id, values in task.truth.items() if product_id in split.held_out}
    if train is None or not truth:
        return None
    known = {**pictures, **embedded.others.get("image", {})}
    asked = replace(task, truth=truth)
    found = probe(asked, train.truth, known, {product_id: known[product_id] for product_id in truth})
    if found is None:
        return None
    measured = score(asked, found.predicted, params)
    return {**measured, "products": len(truth), **found.context}


def example_queries(
    embedded: Embedded,
    ranks: Mapping[str, Ranks],
    benchmark: Benchmark,
    titles: Mapping[str, str],
    params: EvaluationParams,
) -> list[dict[str, Any]]:
    """Some queries with their first products, as plain data; see `pick_examples` for which."""
    directions = {direction.name: direction for direction in DIRECTIONS if direction.view == "multimodal"}
    first = {name: ranks[name].first for name in directions if name in ranks}
    examples = []
    for name, row in pick_examples(first, params.examples, params.seed):
        direction = directions[name]
        position = benchmark.answerable(direction)[row]
        query = benchmark.queries[direction.modality][position]
        examples.append(
            {
                "direction": name,
                "query_text": query.text,
                "query_image_id": query.image_id,
                "bought": list(query.positives),
                "rank": int(first[name][row]),
                "top": _top(embedded, benchmark, direction, position, titles),
            }
        )
    return examples


def _top(
    embedded: Embedded, benchmark: Benchmark, direction: Direction, position: int, titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    query, gallery = benchmark.queries[direction.modality][position], benchmark.gallery[direction.view]
    scores_1G = inner_products(
        embedded.queries[direction.modality][position : position + 1], embedded.gallery[direction.view]
    )
    known = set(gallery).intersection(query.known)
    return [
        {
            "product_id": gallery[column],
            "title": titles[gallery[column]],
            "score": float(scores_1G[0, column]),
            "correct": gallery[column] in query.positives,
        }
        for column in top_k(scores_1G, gallery, _TOP, [known])[0]
        if column >= 0
    ]


def ranks_by_query(ranks: Mapping[str, Ranks], benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """What two models are compared by, a direction at a time.

    ``query_ids``, the first bought ``products``, the ``ranks`` of the first right answers, those of all ``positives``,
    the number of ``candidates`` of each query, and the size of the ``gallery``.
    """
    directions = {direction.name: direction for direction in DIRECTIONS}
    found = {}
    for name, measured in ranks.items():
        asked = benchmark.asked(directions[name])
        found[name] = {
            "query_ids": [query.query_id for query in asked],
            "products": [query.positives[0] for query in asked],
            "ranks": measured.first.tolist(),
            "positives": measured.by_query(),
            "candidates": measured.candidates.tolist(),
            "gallery": len(benchmark.gallery[directions[name].view]),
        }
    return found
