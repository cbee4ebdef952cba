"""Zero-shot label prediction: the label whose text lies nearest to a product's pictures.

Each level of the category path and each attribute is one task. A label is embedded as the text "category: Mugs" or
"colour: red"; the answer is the one with the highest inner product. Only the pictures of a product are embedded: its
title and its category and attribute fields hold the answer in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import bootstrap_means
from moon.evaluation.ranking import chunks, inner_products, top_k

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """One question asked of every product that has an answer to it."""

    kind: str
    """category or attributes."""
    name: str
    """``level 1`` and so on, or the attribute's key."""
    candidates: tuple[str, ...]
    """Values seen anywhere in the catalogue, in order."""
    truth: Mapping[str, frozenset[str]]
    """Product id -> its right values, for the products asked about."""

    @property
    def texts(self) -> list[str]:
        """What is embedded for each candidate."""
        key = "category" if self.kind == "category" else self.name
        return [f"{key}: {candidate}" for candidate in self.candidates]


def label_tasks(products: Sequence[Row], asked: Sequence[str]) -> list[LabelTask]:
    """The tasks of a catalogue for the products ``asked``; those with fewer than two candidates are no question."""
    wanted = set(asked)
    answers: dict[tuple[str, str], dict[str, frozenset[str]]] = {}
    for row in products:
        for level, name in enumerate(row["category_path"] or (), start=1):
            answers.setdefault(("category", f"level {level}"), {})[row["product_id"]] = frozenset([name])
        for key, values in row["attributes"].items():
            if values:
                answers.setdefault(("attributes", key), {})[row["product_id"]] = frozenset(values)
    tasks = [
        LabelTask(
            kind=kind,
            name=name,
            candidates=tuple(sorted(frozenset().union(*by_product.values()))),
            truth={product_id: values for product_id, values in by_product.items() if product_id in wanted},
        )
        for (kind, name), by_product in sorted(answers.items())
    ]
    return [task for task in tasks if task.truth and len(task.candidates) > 1]


def predict(task: LabelTask, products_ND: npt.NDArray[np.floating], labels_LD: npt.NDArray[np.floating]) -> list[str]:
    """The nearest candidate of each product; rows of ``labels_LD`` follow the task's candidates."""
    predicted: list[str] = []
    for rows in chunks(len(products_ND), len(labels_LD)):
        best_N1 = top_k(inner_products(products_ND[rows], labels_LD), task.candidates, 1)
        predicted += [task.candidates[best] for best in best_N1[:, 0]]
    return predicted


def score(
    task: LabelTask, predicted: Mapping[str, str], params: EvaluationParams, clusters: Sequence[str] | None = None
) -> dict[str, Any]:
    """Accuracy with its interval, and precision, recall and F1 over the values that occur among the products asked.

    A prediction is right when it is one of the product's values. Macro is the mean over values, with 0 for a value
    that was never predicted; micro pools all predictions, so that its precision is the accuracy and its recall falls
    short of that only where products have several values. ``clusters`` names what each of the asked is resampled with,
    itself by default.
    """
    right = np.array([predicted[product_id] in values for product_id, values in task.truth.items()], dtype=np.float64)
    accuracy = bootstrap_means(
        {"accuracy": right},
        list(task.truth) if clusters is None else clusters,
        samples=params.bootstrap_samples,
        confidence=params.confidence,
        seed=params.seed,
    )["accuracy"]
    return {"accuracy": asdict(accuracy), **_precision_recall(task, predicted)}


def baselines(task: LabelTask) -> dict[str, Any]:
    """What knowing nothing gives: a random candidate, and always the value that most products asked about have."""
    counts = Counter(value for values in task.truth.values() for value in values)
    most_common = min(counts, key=lambda value: (-counts[value], value))
    return {
        "chance": sum(map(len, task.truth.values())) / len(task.truth) / len(task.candidates),
        "majority": counts[most_common] / len(task.truth),
        "majority_label": most_common,
        "labels": len(task.candidates),
        "products": len(task.truth),
    }


def _precision_recall(task: LabelTask, predicted: Mapping[str, str]) -> dict[str, float]:
    """Macro and micro precision, recall and F1; F1 of a value is 2 TP / (2 TP + FP + FN)."""
    hits: Counter[str] = Counter()
    answers = Counter(predicted[product_id] for product_id in task.truth)
    support = Counter(value for values in task.truth.values() for value in values)
    hits.update(predicted[product_id] for product_id, values in task.truth.items() if predicted[product_id] in values)
    right, answered, wanted = hits.total(), answers.total(), support.total()
    classes = len(support)
    return {
        "macro_precision": sum(hits[value] / answers[value] for value in support if answers[value]) / classes,
        "macro_recall": sum(hits[value] / count for value, count in support.items()) / classes,
        "macro_f1": sum(2 * hits[value] / (answers[value] + count) for value, count in support.items()) / classes,
        "micro_precision": right / answered,
        "micro_recall": right / wanted,
        "micro_f1": 2 * right / (answered + wanted),
    }
