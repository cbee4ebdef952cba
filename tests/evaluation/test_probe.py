from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.labels import LabelTask, label_tasks, score
from moon.evaluation.probe import probe

pytest.importorskip("sklearn")


def task(truth, candidates=("blue", "green", "red")):
    return LabelTask(
        kind="attributes",
        name="colour",
        candidates=candidates,
        truth={one: frozenset(values) for one, values in truth.items()},
    )


def products(rng, count, colours, prefix):
    """Vectors whose first coordinates say the colour."""
    truth, vectors = {}, {}
    for number in range(count):
        colour = colours[number % len(colours)]
        vector = 0.1 * rng.normal(size=8)
        vector[("blue", "green", "red").index(colour)] += 1
        truth[f"{prefix}{number}"], vectors[f"{prefix}{number}"] = {colour}, vector.astype(np.float32)
    return truth, vectors


def test_what_is_in_the_vectors_is_read():
    rng = np.random.default_rng(0)
    truth, vectors = products(rng, 60, ("blue", "green", "red"), "t")
    wanted, asked = products(rng, 12, ("blue", "green", "red"), "h")
    found = probe(task(wanted), task(truth).truth, vectors, asked)
    assert found.train_products == 60 and found.unseen == 0
    assert score(task(wanted), found.predicted, EvaluationParams(bootstrap_samples=5))["accuracy"]["value"] == 1


def test_a_constant_embedding_answers_the_commonest_value():
    truth, vectors = products(np.random.default_rng(0), 10, ("blue", "blue", "red"), "t")
    same = dict.fromkeys(vectors, np.ones(8, np.float32))
    found = probe(task({"h": {"red"}}), task(truth).truth, same, {"h": np.ones(8, np.float32)})
    assert found.predicted == {"h": "blue"}


def test_values_that_train_lacks_are_counted_and_nothing_to_fit_is_no_probe():
    rng = np.random.default_rng(0)
    truth, vectors = products(rng, 10, ("blue", "red"), "t")
    wanted, asked = products(rng, 4, ("green", "red"), "h")
    assert probe(task(wanted), task(truth).truth, vectors, asked).unseen == 0.5
    single, few = products(rng, 4, ("blue",), "s")
    assert probe(task(wanted), task(single).truth, few, asked) is None
    assert probe(task({}), task(truth).truth, vectors, {}) is None


def test_precision_recall_and_f1_are_those_of_scikit_learn():
    from sklearn.metrics import precision_recall_fscore_support

    for seed in range(20):
        rng = np.random.default_rng(seed)
        names = [f"c{number}" for number in range(5)]
        right = {f"p{number}": {names[rng.integers(4)]} for number in range(30)}
        predicted = {one: names[rng.integers(5)] for one in right}
        asked = task(right, tuple(names))
        ours = score(asked, predicted, EvaluationParams(bootstrap_samples=2))
        labels = sorted(set().union(*right.values()))
        truth = [next(iter(values)) for values in right.values()]
        for average in ("macro", "micro"):
            only = labels if average == "macro" else names
            theirs = precision_recall_fscore_support(
                truth, list(predicted.values()), labels=only, average=average, zero_division=0
            )[:3]
            mine = [ours[f"{average}_{name}"] for name in ("precision", "recall", "f1")]
            np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_a_task_asks_for_the_values_of_its_own_key_only():
    rows = [
        {"product_id": "a", "category_path": [], "attributes": {"colour": ["red"], "size": ["M"]}},
        {"product_id": "b", "category_path": [], "attributes": {"colour": ["blue"], "size": ["L"]}},
    ]
    found = {one.name: one.candidates for one in label_tasks(rows, ["a", "b"])}
    assert found == {"colour": ("blue", "red"), "size": ("L", "M")}
