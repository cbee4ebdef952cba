from __future__ import annotations

import itertools

import numpy as np

from moon.monitoring import permutation
from moon.monitoring.permutation import p_values, permuted_statistics, scores, step_down


def difference(values: np.ndarray) -> permutation.Statistic:
    """Distance of the means."""
    return lambda y: np.abs(values @ y / y.sum(axis=0) - values @ (1 - y) / (1 - y).sum(axis=0))


def test_every_dealing_keeps_the_counts_and_the_first_is_observed():
    labels = np.repeat([0, 1], [7, 5])
    seen = []
    permuted_statistics([lambda y: seen.append(y.copy()) or y.sum(axis=0)], labels, 50, np.random.default_rng(0))
    blocks = np.concatenate(seen, axis=1)
    assert blocks.shape == (12, 51) and (blocks.sum(axis=0) == 5).all()
    np.testing.assert_array_equal(blocks[:, 0], labels)
    assert len({tuple(column) for column in blocks.T}) > 30


def test_blocks_do_not_change_the_count(monkeypatch):
    monkeypatch.setattr(permutation, "_BLOCK_CELLS", 60)
    labels = np.repeat([0, 1], [10, 10])
    table = permuted_statistics([difference(np.arange(20.0))], labels, 25, np.random.default_rng(0))
    assert table.shape == (1, 26) and table[0, 0] == table.max()


def test_p_values_count_ties_and_the_column_itself():
    np.testing.assert_allclose(p_values(np.array([[3.0, 1.0, 3.0, 2.0]])), [[0.5, 1.0, 0.5, 0.75]])


def test_step_down_matches_its_definition():
    rng = np.random.default_rng(1)
    table_TP = rng.normal(size=(4, 60)) + rng.normal(size=60) + np.eye(4, 60) * [[3], [0], [0], [0]]
    order = sorted(range(4), key=lambda test: -table_TP[test, 0])
    expected, floor = {}, 0.0
    for place, test in enumerate(order):
        rest = order[place:]
        share = np.mean([max(table_TP[other, column] for other in rest) >= table_TP[test, 0] for column in range(60)])
        expected[test] = floor = max(floor, share)
    np.testing.assert_allclose(step_down(table_TP), [expected[test] for test in range(4)])


def test_one_test_needs_no_adjustment():
    table_TP = np.random.default_rng(0).gamma(2, size=(1, 40))
    assert step_down(scores(table_TP))[0] == p_values(table_TP)[0, 0]


def test_scores_keep_the_order_and_put_gamma_variables_on_one_scale():
    table_TP = np.random.default_rng(0).gamma([[0.5], [2.0], [50.0]], [[1.0], [9.0], [0.1]], size=(3, 4000))
    found_TP = scores(table_TP)
    np.testing.assert_array_equal(np.argsort(found_TP, axis=1)[:, -50:], np.argsort(table_TP, axis=1)[:, -50:])
    high = np.quantile(found_TP, 0.99, axis=1)
    assert (np.abs(high - 2.33) < 0.35).all(), high
    assert not scores(np.full((1, 9), 7.0)).any() and not scores(np.zeros((1, 9))).any()


def test_few_shuffles_do_not_hide_a_clear_case_among_many_tests():
    table_TP = np.random.default_rng(0).gamma(3, size=(30, 200))
    table_TP[0, 0] = 60
    assert step_down(scores(table_TP))[0] == 1 / 200


def test_false_alarms_are_exact_over_all_dealings():
    """Whichever of the dealings was the observed one: at most a share alpha of them is rejected."""
    values = np.array([0.3, 1.9, -0.7, 0.1, 2.2, -1.1, 0.8])
    dealings = np.array([[row in chosen for row in range(7)] for chosen in itertools.combinations(range(7), 3)]).T * 1.0
    tests = [difference(values), difference(np.abs(values)), difference(values**3)]
    table = np.stack([test(dealings) for test in tests])
    rejected = 0
    for observed in range(table.shape[1]):
        rejected += step_down(scores(np.roll(table, -observed, axis=1))).min() <= 0.2
    assert 0 < rejected <= 0.2 * table.shape[1]
