from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moon.evaluation.bootstrap import Interval, bootstrap_means

VALUES = st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcdef")), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(0, 100))
def test_interval_lies_within_the_cluster_means_and_repeats(rows, seed):
    values, clusters = np.array([value for value, _ in rows]), [cluster for _, cluster in rows]
    first = bootstrap_means({"x": values}, clusters, samples=50, seed=seed)["x"]
    assert first == bootstrap_means({"x": values}, clusters, samples=50, seed=seed)["x"]
    means = [values[[c == cluster for c in clusters]].mean() for cluster in set(clusters)]
    assert min(means) - 1e-9 <= first.low <= first.high <= max(means) + 1e-9
    assert first.value == pytest.approx(values.mean())


def test_interval_is_that_of_a_plain_loop():
    rng = np.random.default_rng(5)
    clusters = [f"p{number}" for number in rng.integers(0, 30, 200)]
    values = rng.random(200)
    groups = [values[[c == name for c in clusters]] for name in sorted(set(clusters))]
    draws = [
        np.concatenate([groups[pick] for pick in rng.integers(0, len(groups), len(groups))]).mean() for _ in range(4000)
    ]
    found = bootstrap_means({"x": values}, clusters, samples=4000, confidence=0.9)["x"]
    np.testing.assert_allclose([found.low, found.high], np.quantile(draws, [0.05, 0.95]), atol=0.006)


def test_queries_of_one_product_do_not_narrow_the_interval():
    """Asking each product's query ten times tells nothing new."""
    rng = np.random.default_rng(1)
    hits, products = rng.integers(0, 2, 40).astype(float), [f"p{number}" for number in range(40)]
    once = bootstrap_means({"x": hits}, products)["x"]
    often = bootstrap_means({"x": np.repeat(hits, 10)}, list(np.repeat(products, 10)))["x"]
    assert often.low == pytest.approx(once.low) and often.high == pytest.approx(once.high)
    as_if_independent = bootstrap_means({"x": np.repeat(hits, 10)}, [str(number) for number in range(400)])["x"]
    assert as_if_independent.high - as_if_independent.low < 0.5 * (often.high - often.low)


def test_one_cluster_says_nothing_about_others():
    found = bootstrap_means({"x": np.array([0.0, 1.0])}, ["p", "p"])["x"]
    assert found == Interval(value=0.5, low=0.5, high=0.5)


def test_names_share_their_draws_and_confidence_widens():
    values = np.random.default_rng(2).random(60)
    clusters = [str(number) for number in range(60)]
    both = bootstrap_means({"a": values, "b": values}, clusters, confidence=0.5)
    wide = bootstrap_means({"a": values}, clusters, confidence=0.99)["a"]
    assert both["a"] == both["b"]
    assert wide.low < both["a"].low < both["a"].high < wide.high


def test_above_means_wholly_above():
    low, high = Interval(value=0.1, low=0.0, high=0.2), Interval(value=0.3, low=0.2, high=0.4)
    assert not high.above(low)
    assert Interval(value=0.3, low=0.21, high=0.4).above(low)


@pytest.mark.parametrize(
    ("values", "clusters", "options", "message"),
    [
        ([], [], {}, "no query"),
        ([1.0], ["a", "b"], {}, "one value a query"),
        ([1.0], ["a"], {"samples": 0}, "samples >= 1"),
        ([1.0], ["a"], {"confidence": 1.0}, "confidence < 1"),
    ],
)
def test_nonsense_is_refused(values, clusters, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_means({"x": np.array(values)}, clusters, **options)
