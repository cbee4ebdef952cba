from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moon.retrieval import bounds, exact, topk
from moon.retrieval.exact import exact_keys, exact_search

Vectors = NDArray[np.float32]


def brute_force(queries: Vectors, gallery: Vectors, k: int) -> tuple[topk.Scores, topk.Rows]:
    """The definition: float64 products rounded to float32, ordered by score, then row."""
    scores = (queries.astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, 1), rows


def cloud(kind: str, rows: int, dim: int, seed: int) -> Vectors:
    """Vectors that are easy or hard to round: spread, clustered, collapsed to a few points, of whole numbers, off
    centre with one large coordinate, or of very unequal length."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    if kind == "clustered":
        vectors = (np.random.default_rng(7).normal(size=(20, dim))[rng.integers(0, 20, rows)] + 0.3 * vectors).astype(
            "f"
        )
    elif kind == "collapsed":
        vectors = np.random.default_rng(7).normal(size=(3, dim)).astype(np.float32)[rng.integers(0, 3, rows)]
    elif kind == "whole":
        vectors = rng.integers(-2, 3, size=(rows, dim)).astype(np.float32)
    elif kind == "off centre":
        vectors = 0.05 * vectors + 1
        vectors[:, 0] += 20
    elif kind == "unequal":
        vectors *= (10.0 ** rng.integers(-6, 5, size=(rows, 1))).astype(np.float32)
    return vectors


KINDS = ["spread", "clustered", "collapsed", "whole", "off centre", "unequal"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize(("rows", "queries", "k"), [(9000, 130, 10), (300, 70, 300), (9000, 3, 700), (5000, 65, 3000)])
def test_equals_brute_force(
    kind: str, int8: bool, rows: int, queries: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if int8 and not torch.cpu._is_vnni_supported():
        pytest.skip("this CPU has no int8 products")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: int8)
    monkeypatch.setattr(bounds, "CHUNK_ROWS", 1000)
    asked, gallery = cloud(kind, queries, 24, 1), cloud(kind, rows, 24, 2)
    scores, found = exact_search(asked, gallery, k)
    expected_scores, expected = brute_force(asked, gallery, k)
    np.testing.assert_array_equal(scores, expected_scores)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("chunk", [1, 77, 5000, 100_000])
def test_chunks_blocks_and_threads_do_not_show(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = cloud("whole", 200, 16, 1), cloud("whole", 5000, 16, 2)
    whole = exact_search(queries, gallery, 20)
    monkeypatch.setattr(bounds, "CHUNK_ROWS", max(chunk, 50))
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 33)
    monkeypatch.setattr(exact, "_SMALL_WORK", 0)
    for one, other in zip(whole, exact_search(queries, gallery, 20), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_equals_than_room_are_found_in_order() -> None:
    gallery = np.repeat(cloud("spread", 2500, 8, 1), 4, axis=0)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    gallery[2000:6000] = gallery[:4] = gallery[0]
    queries = np.concatenate([gallery[:1], cloud("spread", 99, 8, 2)])
    scores, rows = exact_search(queries, gallery, 5)
    np.testing.assert_array_equal(rows, brute_force(queries, gallery, 5)[1])
    assert rows[0].tolist() == [0, 1, 2, 3, 2000]


def test_a_guess_that_was_too_high_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, gallery = cloud("spread", 70, 24, 1), cloud("spread", 20_000, 24, 2)
    step = 20_000 // (20_000 // bounds.SAMPLE_SHARE)  # where the sample is taken from
    gallery[::step] = 5 * asked[np.arange(len(gallery[::step])) % len(asked)]  # so that it holds all of the best
    searches = []
    once = exact._search

    def counted(*arguments: Any, **options: Any) -> topk.Keys:
        searches.append(options)
        return once(*arguments, **options)

    monkeypatch.setattr(exact, "_search", counted)
    scores, found = exact_search(asked, gallery, 50)
    expected_scores, expected = brute_force(asked, gallery, 50)
    np.testing.assert_array_equal(scores, expected_scores)
    np.testing.assert_array_equal(found, expected)
    assert len(searches) > 1


def test_allowed_rows_and_corners() -> None:
    queries, gallery = cloud("spread", 80, 8, 1), cloud("spread", 9000, 8, 2)
    allowed = np.arange(3, 9000, 2)
    scores, rows = exact_search(queries, gallery, 6, allowed)
    np.testing.assert_array_equal(rows, allowed[brute_force(queries, gallery[allowed], 6)[1]])
    assert exact_search(queries, gallery[:4], 9)[1].shape == (80, 4)
    assert exact_search(queries[:0], gallery, 3)[1].shape == (0, 3)
    assert exact_search(queries, gallery[:0], 3)[0].shape == (80, 0)
    assert (exact_search(np.zeros((70, 8), "f"), gallery, 3)[1] == [0, 1, 2]).all()


def test_candidates_are_scored_exactly() -> None:
    queries, gallery = cloud("spread", 30, 8, 1), cloud("spread", 9000, 8, 2)
    candidates = np.random.default_rng(0).integers(-1, 9000, size=(30, 40))
    scores, rows = topk.decode(exact_keys(queries, gallery, candidates))
    np.testing.assert_array_equal(rows, candidates)
    expected = (queries.astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
    expected = np.where(candidates < 0, -np.inf, np.take_along_axis(expected, candidates % 9000, 1))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_keys_order_as_results_do_and_come_back() -> None:
    scores = np.array([-np.inf, -3, -0.0, 0.0, 1e-30, 2, 2, np.inf], np.float32)
    rows = np.array([5, 4, 3, 2, topk.MAX_ROWS, 1, 0, 7])
    keys = topk.encode(scores, rows)
    assert np.argsort(-keys).tolist() == [7, 6, 5, 4, 3, 2, 1, 0] and keys.min() > topk.EMPTY
    back = topk.decode(keys)
    np.testing.assert_array_equal(back[0], scores)
    np.testing.assert_array_equal(back[1], rows)
    assert [part.tolist() for part in topk.decode(np.array([topk.EMPTY]))] == [[-np.inf], [-1]]
