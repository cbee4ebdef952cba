from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.comparison import compare_ranks, comparison_table
from moon.evaluation.paired import compare_values, randomisation

PARAMS = EvaluationParams(bootstrap_samples=300)


def stored(ranks, positives=None, ids=None):
    return {
        "image->product": {
            "query_ids": ids or [f"q{number}" for number in range(len(ranks))],
            "products": [f"p{number // 2}" for number in range(len(ranks))],
            "ranks": list(ranks),
            "positives": positives or [[rank] for rank in ranks],
            "candidates": [50] * len(ranks),
            "gallery": 50,
        }
    }


def test_a_model_equals_itself():
    ranks = np.random.default_rng(0).integers(1, 50, 200).tolist()
    found = compare_ranks(stored(ranks), stored(ranks), PARAMS)["image->product"]
    assert found["verdict"] == "no clear difference" and found["queries"] == 200 and found["products"] == 100
    for one in found["measures"].values():
        assert one["difference"] == one["low"] == one["high"] == 0 and one["p_value"] == 1


def test_a_better_model_is_called_better_and_the_order_turns_the_verdict():
    rng = np.random.default_rng(1)
    worse = rng.integers(2, 50, 200)
    better = np.maximum(1, worse - rng.integers(0, 20, 200))
    forth = compare_ranks(stored(worse.tolist()), stored(better.tolist()), PARAMS)
    back = compare_ranks(stored(better.tolist()), stored(worse.tolist()), PARAMS)
    assert forth["image->product"]["verdict"] == "second is better"
    assert back["image->product"]["verdict"] == "first is better"
    one, other = forth["image->product"]["measures"]["MRR"], back["image->product"]["measures"]["MRR"]
    assert one["difference"] == pytest.approx(-other["difference"]) and one["p_value"] < 0.001
    assert set(forth["image->product"]["measures"]) == {"R@1", "R@5", "R@10", "MRR", "mAP"}
    table = comparison_table(["a", "b"], forth)
    assert "second is better" in table and len({line.count("|") for line in table.splitlines() if "|" in line}) == 1


def test_no_difference_is_found_in_about_alpha_of_the_cases():
    """Queries of one product move together, so a test that took them one by one would alarm far more often."""
    called, alarms, plain = 0, 0, 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        product_effect = np.repeat(rng.normal(size=40), 5)
        difference = product_effect + 0.2 * rng.normal(size=200)
        clusters = [f"p{number // 5}" for number in range(200)]
        values = {"x": np.zeros(200)}, {"x": difference}
        called += compare_values(*values, clusters, EvaluationParams(bootstrap_samples=200))["x"].better != 0
        alarms += randomisation({"x": difference}, clusters, samples=199)["x"] <= 0.05
        plain += randomisation({"x": difference}, [str(number) for number in range(200)], samples=199)["x"] <= 0.05
    assert 2 <= alarms <= 20 and called <= 26 and plain > 40


def test_p_values_are_exact_for_few_products():
    """Three products, all improved by the same: two of the eight sign patterns are as far from 0."""
    assert randomisation({"x": np.ones(3)}, ["a", "b", "c"], samples=20_000)["x"] == pytest.approx(2 / 8, abs=0.01)


def test_different_queries_are_refused_by_name():
    with pytest.raises(ValueError, match="different queries.*only in the first: q2.*only in the second: z"):
        compare_ranks(stored([1, 2, 3]), stored([1, 2, 3], ids=["q0", "q1", "z"]), PARAMS)
    other = stored([1, 2])
    other["image->product"]["candidates"] = [49, 50]
    with pytest.raises(ValueError, match="different candidates"):
        compare_ranks(stored([1, 2]), other, PARAMS)
    with pytest.raises(ValueError, match="no direction in common: image->product and none"):
        compare_ranks(stored([1]), {}, PARAMS)
    with pytest.raises(ValueError, match="different measures: y"):
        compare_values({"x": np.ones(2)}, {"x": np.ones(2), "y": np.ones(2)}, ["a", "b"], PARAMS)
