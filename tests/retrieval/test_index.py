from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moon.retrieval.index import ExactIndex, ShardedIndex


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


def test_a_file_built_a_chunk_at_a_time_is_the_whole(tmp_path: Path) -> None:
    vectors, queries, ids = unit(70, 8, 0), unit(4, 8, 1), [str(n) for n in range(70)]
    built = ExactIndex.build(ids, (vectors[start : start + 16] for start in range(0, 70, 16)), tmp_path / "built")
    whole = ExactIndex(ids, vectors)
    assert built.search(queries, 9)[1] == whole.search(queries, 9)[1]
    built.save(tmp_path / "built")  # over itself
    built.save(tmp_path / "copy")
    assert ExactIndex.load(tmp_path / "copy").search(queries, 9)[1] == whole.search(queries, 9)[1]
    assert np.array_equal(np.load(tmp_path / "built" / "vectors.npy"), vectors)
    with pytest.raises(ValueError, match=r"shape \(n, 8\)"):
        ExactIndex.build(ids, iter([unit(3, 8, 0), unit(3, 7, 0)]), tmp_path / "bad")
    with pytest.raises(ValueError, match="no chunk"):
        ExactIndex.build(ids, iter([]), tmp_path / "bad")


@pytest.mark.parametrize("cuts", [[0, 100], [0, 3, 50, 51, 100]])
def test_shards_merge_to_the_whole(cuts: list[int], tmp_path: Path) -> None:
    vectors = unit(100, 8, 0)
    vectors[40:60] = vectors[:20]  # ties across shards
    ids, queries, allowed = [f"p{n:03d}" for n in range(100)], unit(9, 8, 1), np.arange(0, 100, 3)
    whole = ExactIndex(ids, vectors)
    parts = [ExactIndex(ids[a:b], vectors[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    sharded = ShardedIndex(parts)
    for k in (1, 7, 100, 150):
        np.testing.assert_array_equal(sharded.search_rows(queries, k)[1], whole.search_rows(queries, k)[1])
        assert sharded.search(queries, k, allowed)[1] == whole.search(queries, k, allowed)[1]
    sharded.save(tmp_path)
    loaded = ShardedIndex([ExactIndex.load(tmp_path / f"shard-{number:05d}") for number in range(len(parts))])
    assert loaded.search(queries, 7)[1] == whole.search(queries, 7)[1]
    assert sharded.recall(queries, 5) == 1
    with pytest.raises(ValueError, match="two shards"):
        ShardedIndex([whole, whole])
    with pytest.raises(ValueError, match="one dimension"):
        ShardedIndex([whole, ExactIndex(["x"], unit(1, 4, 0))])
