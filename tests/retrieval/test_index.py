from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moon.retrieval.index import ExactIndex


def unit(rows: int, dim: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_search_equals_brute_force() -> None:
    vectors, queries = unit(200, 16, 0), unit(20, 16, 1)
    ids = [f"p{number}" for number in range(200)]
    scores, found = ExactIndex(ids, vectors).search(queries, 7)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :7]
    assert found == [[ids[row] for row in rows] for rows in expected]
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ vectors.T, expected, 1), atol=1e-6)


def test_search_within_allowed_rows() -> None:
    vectors, queries = unit(50, 8, 0), unit(5, 8, 1)
    allowed = np.array([3, 7, 20], np.int64)
    _, found = ExactIndex([str(n) for n in range(50)], vectors).search(queries, 10, allowed)
    for query, ids in zip(queries, found, strict=True):
        assert ids == [str(row) for row in allowed[np.argsort(-(vectors[allowed] @ query))]]
    scores, found = ExactIndex(["a"], unit(1, 8, 0)).search(queries, 3, np.array([], np.int64))
    assert scores.shape == (5, 0) and found == [[]] * 5


def test_saved_is_loaded(tmp_path: Path) -> None:
    index = ExactIndex([str(n) for n in range(30)], unit(30, 8, 0))
    index.save(tmp_path)
    loaded = ExactIndex.load(tmp_path)
    queries = unit(4, 8, 1)
    assert loaded.search(queries, 5)[1] == index.search(queries, 5)[1]
    assert (loaded.dim, len(loaded)) == (8, 30)


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 ids"):
        ExactIndex(["a", "b", "c"], unit(2, 4, 0))
    with pytest.raises(ValueError, match="twice"):
        ExactIndex(["a", "a"], unit(2, 4, 0))
    with pytest.raises(ValueError, match="finite"):
        ExactIndex(["a"], np.full((1, 4), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"\(Q, 4\)"):
        ExactIndex(["a"], unit(1, 4, 0)).search(unit(1, 5, 0), 1)
    with pytest.raises(ValueError, match="no index"):
        ExactIndex.load(tmp_path)
