from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moon.retrieval.approximate import ApproximateIndex
from moon.retrieval.exact import exact_search
from moon.retrieval.vectors import write_vectors
from tests.retrieval.test_exact import cloud
from tests.retrieval.test_index import unit

ROWS, DIM = 6000, 16
IDS = [f"p{row}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ApproximateIndex:
    vectors = write_vectors(tmp_path_factory.mktemp("vectors") / "v.npy", [cloud("clustered", ROWS, DIM, 2)])
    return ApproximateIndex.build(IDS, vectors)


def test_scores_are_exact_and_in_order(index: ApproximateIndex) -> None:
    queries = cloud("clustered", 50, DIM, 1)
    scores, rows = index.search_rows(queries, 10)
    vectors = cloud("clustered", ROWS, DIM, 2)
    expected = np.einsum("qd,qkd->qk", queries.astype(float), vectors[rows].astype(float)).astype(np.float32)
    np.testing.assert_array_equal(scores, expected)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert index.search(queries[:1], 3)[1] == [[IDS[row] for row in rows[0, :3]]]


def test_tuning_reaches_the_recall_that_is_asked_for_or_searches_all(index: ApproximateIndex) -> None:
    index.probes = 1
    index.refine = 1
    queries = cloud("clustered", 200, DIM, 1)
    poor = index.recall(queries, 10)
    assert index.tune(queries, 10, 0.999) >= 0.999 > poor
    assert index.recall(queries, 10) >= 0.999
    truth, found = exact_search(queries, cloud("clustered", ROWS, DIM, 2), 10)[1], index.search_rows(queries, 10)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) > 0.99


def test_allowed_rows_are_searched_exactly(index: ApproximateIndex) -> None:
    queries, allowed = cloud("clustered", 5, DIM, 1), np.arange(7, ROWS, 11)
    expected = exact_search(queries, cloud("clustered", ROWS, DIM, 2), 4, allowed)[1]
    np.testing.assert_array_equal(index.search_rows(queries, 4, allowed)[1], expected)


def test_saved_is_loaded(index: ApproximateIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded, queries = ApproximateIndex.load(tmp_path), cloud("clustered", 20, DIM, 1)
    np.testing.assert_array_equal(loaded.search_rows(queries, 5)[1], index.search_rows(queries, 5)[1])
    assert (loaded.probes, loaded.refine, len(loaded)) == (index.probes, index.refine, ROWS)
    with pytest.raises(ValueError, match="no index"):
        ApproximateIndex.load(tmp_path / "elsewhere")


def test_the_same_seed_gives_the_same_index(index: ApproximateIndex) -> None:
    again = ApproximateIndex.build(IDS, cloud("clustered", ROWS, DIM, 2))
    again.probes, again.refine = index.probes, index.refine
    queries = cloud("clustered", 20, DIM, 1)
    np.testing.assert_array_equal(again.search_rows(queries, 5)[1], index.search_rows(queries, 5)[1])


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(ValueError, match="use an exact one"):
        ApproximateIndex.build(IDS[:9], unit(9, 4, 0))
    broken = cloud("clustered", ROWS, DIM, 2)
    broken[-1, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        ApproximateIndex.build(IDS, broken)
