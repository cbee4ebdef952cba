"""Category prediction for query photos: what is it that a shopper photographed.

Products of a catalogue are often few and shown on white; the photos that people take are many and are not. Each level
of the category path is asked of every photo query of the split, zero-shot and by a linear probe fitted on the photos of
train purchases. The answer is the category of what was bought.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.labels import LabelTask, baselines, label_tasks, predict, score
from moon.evaluation.probe import probe
from moon.evaluation.tasks import Benchmark, Row, at_most

Vectors = npt.NDArray[np.float32]


def train_photos(interactions: Sequence[Row], benchmark: Benchmark, params: EvaluationParams) -> list[Row]:
    """Train purchases that asked with a photo alone, a photo once, at most ``probe_items``.

    Photos that the benchmark asks with are left out, whatever split they are logged in.
    """
    asked = {query.image_id for group in benchmark.queries.values() for query in group}
    usable: dict[str, Row] = {}
    for row in interactions:
        photo = row["query_image_id"]
        if row["split"] == "train" and photo and photo not in asked and not (row["query_text"] or "").strip():
            usable.setdefault(photo, row)
    return at_most(params.probe_items, list(usable.values()), params.seed)


def photo_tasks(products: Sequence[Row], bought: Mapping[str, Collection[str]]) -> list[LabelTask]:
    """The category tasks of a catalogue, asked of photos: ``bought`` maps a photo to the products bought for it."""
    tasks = []
    for task in label_tasks(products, [row["product_id"] for row in products]):
        if task.kind == "category":
            found = {photo: [task.truth[one] for one in ids if one in task.truth] for photo, ids in bought.items()}
            truth = {photo: frozenset().union(*values) for photo, values in found.items() if values}
            tasks.append(replace(task, truth=truth))
    return [task for task in tasks if task.truth]


def photo_prediction(
    queries: Mapping[str, Vectors],
    labels: Mapping[str, Mapping[str, Vectors]],
    train: Mapping[str, Mapping[str, Vectors]],
    asked: Sequence[LabelTask],
    fitted: Sequence[LabelTask],
    clusters: Mapping[str, str],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Task -> its baselines and the scores of each model, with its probe.

    Args:
        queries: model -> vectors of the photo queries, in the order of ``clusters``.
        labels: model -> label text -> vector.
        train: model -> train photo -> vector.
        asked: tasks of the photo queries.
        fitted: the same tasks of the train photos.
        clusters: photo query -> the product that it is resampled with.
        params: of the bootstrap.
    """
    answers = {task.name: task.truth for task in fitted}
    found: dict[str, Any] = {}
    for task in asked:
        groups = [clusters[photo] for photo in task.truth]
        entry = found[task.name] = baselines(task)
        for model, vectors in queries.items():
            vector_of = dict(zip(clusters, vectors, strict=True))
            shown = {photo: vector_of[photo] for photo in task.truth}
            texts = np.stack([labels[model][text] for text in task.texts])
            predicted = predict(task, np.stack(list(shown.values())), texts)
            entry[model] = score(task, dict(zip(shown, predicted, strict=True)), params, groups)
            entry[model]["probe"] = _probe(task, answers.get(task.name, {}), train[model], shown, params, groups)
    return found


def _probe(
    task: LabelTask,
    answers: Mapping[str, frozenset[str]],
    train: Mapping[str, Vectors],
    shown: Mapping[str, Vectors],
    params: EvaluationParams,
    groups: Sequence[str],
) -> dict[str, Any] | None:
    found = probe(task, answers, train, shown)
    if found is None:
        return None
    measured = score(task, found.predicted, params, groups)
    return {**measured, "products": len(shown), **found.context}
