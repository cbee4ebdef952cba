from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.labels import baselines, label_tasks, predict, score

PRODUCTS = [
    {"product_id": "a", "category_path": ["Home", "Mugs"], "attributes": {"colour": ["red"], "size": ["M"]}},
    {"product_id": "b", "category_path": ["Home", "Lamps"], "attributes": {"colour": ["red", "blue"], "size": []}},
    {"product_id": "c", "category_path": ["Home"], "attributes": {"colour": ["green"]}},
    {"product_id": "d", "category_path": ["Home", "Mugs"], "attributes": {}},
]


def tasks(asked="abcd"):
    return {task.name: task for task in label_tasks(PRODUCTS, list(asked))}


def test_candidates_come_from_the_whole_catalogue_and_answers_from_the_asked():
    found = tasks("ad")
    assert found["colour"].candidates == ("blue", "green", "red")
    assert found["colour"].truth == {"a": frozenset({"red"})}
    assert found["level 2"].truth == {"a": frozenset({"Mugs"}), "d": frozenset({"Mugs"})}
    assert found["level 2"].texts == ["category: Lamps", "category: Mugs"]
    assert found["colour"].texts[0] == "colour: blue"


def test_a_task_with_one_candidate_is_no_question():
    assert "level 1" not in tasks() and "size" not in tasks()


def test_nearest_label_wins_and_ties_do_not_follow_the_catalogue_order():
    colour = tasks()["colour"]
    labels = np.eye(3)
    assert predict(colour, np.array([[0.1, 0.2, 0.9], [0.9, 0.1, 0.0], [0.5, 0.5, 0.5]]), labels) == [
        "red",
        "blue",
        "red",
    ]


def test_scores_by_hand():
    """Right for a and c; b, which is red and blue, costs each of the three colours one error."""
    colour = tasks()["colour"]
    found = score(colour, {"a": "red", "b": "green", "c": "green"}, EvaluationParams())
    assert found["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((0 + 2 / 3 + 2 / 3) / 3)


def test_always_answering_the_majority_scores_the_majority_baseline():
    for task in tasks().values():
        known = baselines(task)
        found = score(task, dict.fromkeys(task.truth, known["majority_label"]), EvaluationParams())
        assert found["accuracy"]["value"] == pytest.approx(known["majority"])
        by_label = [
            score(task, dict.fromkeys(task.truth, label), EvaluationParams())["accuracy"]["value"]
            for label in task.candidates
        ]
        assert np.mean(by_label) == pytest.approx(known["chance"])
