"""Each test against a plain reference implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from moon.monitoring.classifier import domain_auc, domain_features, domain_statistic
from moon.monitoring.frequencies import chi_square_statistic, cramers_v
from moon.monitoring.hubness import hubness_change, hubness_statistic
from moon.monitoring.kolmogorov import ks_distance, ks_statistic

RNG = np.random.default_rng(3)
LABELS = RNG.permutation(np.repeat([0, 1], [60, 45]))
NOBODY = np.zeros(len(LABELS), dtype=int)


@pytest.mark.parametrize("decimals", [1, 8])
def test_ks_equals_scipy_with_ties_and_missing_rows(decimals):
    values = RNG.normal(size=len(LABELS)).round(decimals)
    values[::7] = np.nan
    known = ~np.isnan(values)
    expected = stats.ks_2samp(values[known & (LABELS == 0)], values[known & (LABELS == 1)]).statistic
    assert ks_distance(values, LABELS) == pytest.approx(expected)
    columns = np.stack([LABELS, LABELS[::-1]], axis=1).astype(float)
    ones = columns[known].sum(axis=0)
    scale = np.sqrt(ones * (known.sum() - ones) / known.sum())
    distances = [ks_distance(values, LABELS), ks_distance(values, LABELS[::-1])]
    np.testing.assert_allclose(ks_statistic(values)(columns), scale * distances)


def test_ks_of_nothing_or_one_side_is_zero():
    labels = np.array([0, 0, 1, 1])
    assert ks_statistic(np.full(4, np.nan))(labels[:, None] * 1.0) == 0
    assert ks_statistic(np.array([1, 2, np.nan, np.nan]))(labels[:, None] * 1.0) == 0
    assert ks_distance(np.full(4, 7.0), labels) == 0


def test_chi_square_equals_scipy():
    names = [None if row % 9 == 0 else f"n{value}" for row, value in enumerate(RNG.integers(0, 4, len(LABELS)))]
    known = [(name, label) for name, label in zip(names, LABELS, strict=True) if name is not None]
    table = stats.contingency.crosstab(*zip(*known, strict=True)).count
    expected = stats.chi2_contingency(table, correction=False).statistic
    assert chi_square_statistic(names)(LABELS[:, None] * 1.0)[0] == pytest.approx(expected)
    assert cramers_v(names, LABELS) == pytest.approx(np.sqrt(expected / len(known)))
    assert cramers_v([f"side{label}" for label in LABELS], LABELS) == pytest.approx(1.0)
    assert cramers_v([None] * len(LABELS), LABELS) == 0


def test_domain_statistic_is_a_ridge_fits_r_squared():
    vectors = RNG.normal(size=(len(LABELS), 6))
    features = domain_features(vectors, NOBODY)
    rows = np.arange(len(LABELS))
    found = domain_statistic(features, rows, NOBODY)(LABELS[:, None] * 1.0)[0]
    features = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    gram = features.T @ features
    penalty = 0.1 * np.trace(gram) / len(gram)
    target = LABELS - LABELS.mean()
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), features.T @ target)
    expected = (features @ weights) @ target / (target @ target)
    assert found == pytest.approx(len(LABELS) * expected, rel=1e-4)


def test_a_domain_test_of_some_rows_is_the_test_of_these_rows_alone():
    vectors, groups = RNG.normal(size=(len(LABELS), 6)), RNG.integers(0, 2, len(LABELS))
    features, rows = domain_features(vectors, groups), np.flatnonzero(RNG.random(len(LABELS)) < 0.6)
    labels = np.stack([LABELS, RNG.permutation(LABELS)], axis=1).astype(np.float32)
    within = domain_statistic(features, rows, groups)(labels)
    alone = domain_statistic(features[rows], np.arange(len(rows)), groups[rows])(labels[rows])
    np.testing.assert_allclose(within, alone, atol=1e-3)


def test_auc_sees_a_moved_mean_and_a_changed_spread_but_no_noise():
    noise = RNG.normal(size=(600, 8))
    labels, nobody = np.repeat([0, 1], 300), np.zeros(600, dtype=int)
    moved, spread = noise.copy(), noise.copy()
    moved[labels == 1, 0] += 2
    spread[labels == 1] *= 2

    def auc(vectors: np.ndarray) -> float:
        return domain_auc(domain_features(vectors, nobody), np.arange(600), labels, nobody, np.random.default_rng(0))

    assert abs(auc(noise) - 0.5) < 0.08
    assert auc(moved) > 0.85
    assert auc(spread) > 0.85


def test_auc_is_not_pulled_down_by_requests_that_came_in_both_windows():
    half = RNG.normal(size=(300, 40))
    labels, nobody = np.repeat([0, 1], 300), np.zeros(600, dtype=int)
    features = domain_features(np.concatenate([half, half]), nobody)
    assert domain_auc(features, np.arange(600), labels, nobody, np.random.default_rng(0)) == pytest.approx(
        0.5, abs=0.02
    )


def test_a_change_in_the_mix_of_groups_is_not_a_change_of_embeddings():
    groups = np.repeat([0, 1, 0, 1], [250, 50, 50, 250])
    labels, nobody = np.repeat([0, 1], 300), np.zeros(600, dtype=int)
    vectors = RNG.normal(size=(600, 8)) + 4 * groups[:, None]
    blind = domain_auc(domain_features(vectors, nobody), np.arange(600), labels, nobody, np.random.default_rng(0))
    stratified = domain_auc(domain_features(vectors, groups), np.arange(600), labels, groups, np.random.default_rng(0))
    assert blind > 0.75 and abs(stratified - 0.5) < 0.08


def test_auc_without_pairs_is_a_half():
    groups = np.repeat([0, 1], 30)
    features = domain_features(RNG.normal(size=(60, 4)), groups)
    assert domain_auc(features, np.arange(60), groups, groups, np.random.default_rng(0)) == 0.5


def test_hubness_is_the_share_of_pairs_with_one_answer():
    products = [None if row % 11 == 0 else f"p{value}" for row, value in enumerate(RNG.integers(0, 7, len(LABELS)))]

    def shared(label: int) -> float:
        found = [name for name, side in zip(products, LABELS, strict=True) if name is not None and side == label]
        pairs = list(itertools.combinations(found, 2))
        return sum(first == second for first, second in pairs) / len(pairs)

    assert hubness_change(products, LABELS) == pytest.approx(shared(1) - shared(0))
    assert hubness_statistic(products)(LABELS[:, None] * 1.0)[0] == pytest.approx(abs(shared(1) - shared(0)))
    assert hubness_statistic([None] * 4)(np.ones((4, 2))).tolist() == [0, 0]
