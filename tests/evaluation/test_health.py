from __future__ import annotations

import numpy as np
import pytest

from moon.evaluation.health import health, modality_gap


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_spread_vectors_are_healthy():
    found = health(unit(np.random.default_rng(0).normal(size=(500, 32))))
    assert found is not None and not found.collapsed and not found.reasons
    assert abs(found.mean_cosine) < 0.02 and found.effective_rank > 28 and found.uniformity < -3
    assert found.distinct == 1 and found.vectors == 500


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda rng: np.ones((100, 16)), "nearly one"),
        (lambda rng: np.ones((100, 16)) + 1e-4 * rng.normal(size=(100, 16)), "nearly one"),
        (lambda rng: np.outer(rng.choice([-1.0, 1.0], 100), np.arange(1, 17)), "near a line"),
        (lambda rng: np.array([1.0, *[0.0] * 15]) + np.outer(rng.normal(size=100), np.arange(16) == 3), "near a line"),
    ],
)
def test_a_collapse_is_flagged_with_its_evidence(make, said):
    found = health(unit(make(np.random.default_rng(1))))
    assert found.collapsed and any(said in reason for reason in found.reasons)


def test_a_common_direction_alone_is_no_collapse():
    """Untrained language models have mean cosines like this and still tell items apart."""
    vectors = unit(10 * np.ones(32) + np.random.default_rng(2).normal(size=(300, 32)))
    found = health(vectors)
    assert found.mean_cosine > 0.98 and not found.collapsed


def test_numbers_follow_their_definitions():
    vectors = unit(np.random.default_rng(3).normal(size=(40, 5)))
    found = health(vectors)
    pairs = ~np.eye(40, dtype=bool)
    cosine = vectors.astype(np.float64) @ vectors.T
    assert found.mean_cosine == pytest.approx(cosine[pairs].mean(), abs=1e-6)
    assert found.uniformity == pytest.approx(np.log(np.exp(-2 * (2 - 2 * cosine[pairs])).mean()), abs=1e-6)


def test_fewer_than_two_vectors_say_nothing_and_zeros_are_no_vectors():
    assert health(np.zeros((5, 4), np.float32)) is None
    assert health(np.eye(4, dtype=np.float32)[:1]) is None
    assert health(np.concatenate([np.eye(4), np.zeros((3, 4))]).astype(np.float32)).vectors == 4


def test_the_gap_is_the_distance_of_the_means():
    rng = np.random.default_rng(4)
    text = unit(rng.normal(size=(50, 8)))
    assert modality_gap(text, text)["distance"] == pytest.approx(0, abs=1e-9)
    assert modality_gap(text, text)["matched_cosine"] == pytest.approx(1)
    away = modality_gap(text, -text)
    assert away["distance"] == pytest.approx(2 * np.linalg.norm(text.mean(axis=0)), rel=1e-5)
    cosine = text @ unit(text + 0.1).T
    found = modality_gap(text, unit(text + 0.1))
    assert found["mismatched_cosine"] == pytest.approx(cosine[~np.eye(50, dtype=bool)].mean(), abs=1e-5)
    assert modality_gap(text[:1], text[:1]) is None
