"""From the vectors of one or more models to the results of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.examples import pick_examples
from moon.evaluation.labels import LabelTask, baselines, predict, score
from moon.evaluation.ranking import Ranks, inner_products, top_k
from moon.evaluation.tasks import DIRECTIONS, Benchmark, Direction, rank_direction, summarise

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


def rank_all(embedded: Embedded, benchmark: Benchmark) -> dict[str, Ranks]:
    """Direction -> ranks of its answerable queries; directions without any are left out."""
    ranks = {}
    for direction in DIRECTIONS:
        asked = benchmark.answerable(direction)
        if asked:
            group = benchmark.queries[direction.modality]
            ranks[direction.name] = rank_direction(
                [group[position] for position in asked],
                embedded.queries[direction.modality][asked],
                benchmark.gallery[direction.view],
                embedded.gallery[direction.view],
            )
    return ranks


def retrieval(ranks: Mapping[str, Ranks], benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Direction -> its measures, None where it has no query."""
    measured: dict[str, Any] = dict.fromkeys(direction.name for direction in DIRECTIONS)
    for direction in DIRECTIONS:
        if direction.name in ranks:
            asked = [benchmark.queries[direction.modality][position] for position in benchmark.answerable(direction)]
            measured[direction.name] = summarise(
                ranks[direction.name], asked, benchmark.gallery[direction.view], params
            )
    return measured


def label_prediction(
    models: Mapping[str, Embedded], benchmark: Benchmark, tasks: Sequence[LabelTask], params: EvaluationParams
) -> dict[str, dict[str, Any]]:
    """``category`` and ``attributes`` -> task -> its baselines and the scores of each model."""
    gallery = benchmark.gallery["image"]
    row_of = dict(zip(gallery, range(len(gallery)), strict=True))
    results: dict[str, dict[str, Any]] = {"category": {}, "attributes": {}}
    for task in tasks:
        rows = [row_of[product_id] for product_id in task.truth]
        results[task.kind][task.name] = baselines(task)
        for name, embedded in models.items():
            labels = np.stack([embedded.labels[text] for text in task.texts])
            predicted = predict(task, embedded.gallery["image"][rows], labels)
            results[task.kind][task.name][name] = score(task, dict(zip(task.truth, predicted, strict=True)), params)
    return results


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


def ranks_by_query(ranks: Mapping[str, Ranks], benchmark: Benchmark) -> dict[str, dict[str, list[Any]]]:
    """Direction -> ``query_ids``, the first bought ``products`` and the ``ranks`` of the first right answers."""
    directions = {direction.name: direction for direction in DIRECTIONS}
    found = {}
    for name, measured in ranks.items():
        group = benchmark.queries[directions[name].modality]
        asked = [group[position] for position in benchmark.answerable(directions[name])]
        found[name] = {
            "query_ids": [query.query_id for query in asked],
            "products": [query.positives[0] for query in asked],
            "ranks": measured.first.tolist(),
        }
    return found


def markdown(split: str, gallery: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The retrieval results of ``trained`` as a Markdown table, beside ``untrained`` where that was measured."""
    trained, untrained = measured["trained"], measured.get("untrained")
    names = next(
        ([name for name, entry in found.items() if isinstance(entry, Mapping) and "low" in entry])
        for found in [*filter(None, trained.values()), {}]
    )
    lines = [
        f"Split {split}, gallery {gallery}. "
        f"Each cell: {'untrained → ' if untrained else ''}trained, with the trained model's interval.",
        "",
        f"| direction | queries | gallery | {' | '.join([*names, 'chance R@1'])} |",
        f"|---|---:|---:|{'---:|' * (len(names) + 1)}",
    ]
    for direction, found in trained.items():
        if found is None:
            lines.append(f"| {direction} | none | {'| ' * (len(names) + 2)}|")
            continue
        cells = [
            (f"{untrained[direction][name]['value']:.3f} → " if untrained else "") + f"**{found[name]['value']:.3f}** "
            f"[{found[name]['low']:.3f}, {found[name]['high']:.3f}]"
            for name in names
        ]
        row = [direction, str(found["queries"]), str(found["gallery"]), *cells, f"{found['chance_r1']:.4f}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
