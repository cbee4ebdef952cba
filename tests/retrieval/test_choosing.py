"""The positive-aware threshold, calibration, sampling, exclusion and starvation of the miner."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from moon.config import MiningParams
from moon.retrieval.choosing import calibrated, limits
from moon.retrieval.mining import Mining, mine
from tests.retrieval.test_exact import cloud
from tests.retrieval.test_index import unit

QUERIES, PRODUCTS, DIM = 80, 400, 12
IDS = [f"p{row:03d}" for row in range(PRODUCTS)]
GALLERY = unit(PRODUCTS, DIM, 2)
ASKED = unit(QUERIES, DIM, 1)
SCORES = (ASKED.astype(float) @ GALLERY.T.astype(float)).astype(np.float32)
BOUGHT = [frozenset(IDS[(7 * query + step) % PRODUCTS] for step in range(1 + query % 3)) for query in range(QUERIES)]


def run(sames: Any = None, **changes: Any) -> Mining:
    params = MiningParams(**{"negatives": 5, "pool": 20, **changes})
    return mine(ASKED, [0] * QUERIES, BOUGHT, IDS, GALLERY, [0] * PRODUCTS, params, sames)


def positive(query: int) -> float:
    return min(float(SCORES[query, IDS.index(id_)]) for id_ in BOUGHT[query])


def candidates(query: int) -> list[int]:
    """Rows that were not bought for a query, nearest first."""
    return [row for row in np.argsort(-SCORES[query], kind="stable") if IDS[row] not in BOUGHT[query]]


def test_the_margin_lowers_the_limit_of_a_negative_positive_too() -> None:
    params = MiningParams()
    found = limits(np.array([0.8, -0.8, 0.0, np.nan]), 0.1, params)
    np.testing.assert_allclose(found, [0.72, -0.88, 0, np.inf], atol=1e-9)
    assert limits(np.array([0.8]), 0.1, dataclasses.replace(params, max_similarity=0.3)) == [0.3]
    assert limits(np.array([0.8]), None, params) == [np.inf]


@pytest.mark.parametrize("margin", [0.05, 0.5, -0.4])
def test_positive_aware_equals_brute_force(margin: float) -> None:
    mining = run(positive_aware="margin", relative_margin=margin)
    for query, one in enumerate(mining.mined):
        highest = positive(query) - margin * abs(positive(query))
        expected = [row for row in candidates(query) if SCORES[query, row] <= highest][:5]
        assert one.negative_ids == [IDS[row] for row in expected]
    assert any(positive(query) < 0 for query in range(QUERIES))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["spread", "off centre"])
def test_calibration_hits_its_target(rate: float, kind: str) -> None:
    asked, gallery = cloud(kind, QUERIES, DIM, 1), cloud(kind, PRODUCTS, DIM, 2)
    params = MiningParams(negatives=5, pool=20, positive_aware="calibrated", rejection_rate=rate)
    mining = mine(asked, [0] * QUERIES, BOUGHT, IDS, gallery, [0] * PRODUCTS, params)
    assert mining.rejection_rate == pytest.approx(rate, abs=1 / (QUERIES * 20) + 1e-9)
    assert mining.starved == 0


def test_calibration_of_few_candidates() -> None:
    assert calibrated(np.array([]), 0.5) == 0
    below = np.array([3.0, 1.0, 2.0, 4.0])
    for rate, rejected in ((0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)):
        assert (below < calibrated(below, rate)).sum() == rejected


def test_planted_duplicates_are_never_chosen() -> None:
    sames = {id_: {f"g{number % 90}"} for number, id_ in enumerate(IDS) if number % 90 < 40}
    twins = {id_: {other for other in sames if sames[other] & sames.get(id_, set())} for id_ in IDS}
    mining, without = run(sames), run()
    planted = 0
    for query, (one, other) in enumerate(zip(mining.mined, without.mined, strict=True)):
        same = set().union(*(twins[id_] for id_ in BOUGHT[query])) | BOUGHT[query]
        assert not same & set(one.negative_ids)
        expected = [IDS[row] for row in candidates(query) if IDS[row] not in same][:5]
        assert one.negative_ids == expected
        planted += bool(same & set(other.negative_ids))
    assert planted > 0


def test_a_purchase_that_is_no_product_of_the_gallery_excludes_what_is_the_same() -> None:
    near = IDS[candidates(0)[0]]
    bought = [frozenset({"elsewhere"})]
    params = MiningParams(negatives=3, positive_aware="margin")
    sames = {"elsewhere": {1}, near: {1}}
    mining = mine(ASKED[:1], [0], bought, IDS, GALLERY, [0] * PRODUCTS, params, sames)
    assert near not in mining.mined[0].negative_ids and len(mining.mined[0].negative_ids) == 3


def test_many_exclusions_widen_the_search_before_a_query_starves() -> None:
    near = [IDS[row] for row in np.argsort(-SCORES[0])]
    bought = [frozenset(near[:300])]
    mining = mine(ASKED[:1], [0], bought, IDS, GALLERY, [0] * PRODUCTS, MiningParams(negatives=5))
    assert mining.mined[0].negative_ids == near[300:305]
    assert (mining.starved, mining.widened) == (0, 2)
    all_bought = mine(ASKED[:1], [0], [frozenset(IDS[:398])], IDS, GALLERY, [0] * PRODUCTS, MiningParams(negatives=5))
    assert len(all_bought.mined[0].negative_ids) == 2 and all_bought.starved == 1


def test_the_rank_window() -> None:
    mining = run(skip_top=3, max_rank=6)
    for query, one in enumerate(mining.mined):
        assert one.negative_ids == [IDS[row] for row in candidates(query)[3:6]]
    assert mining.starved == QUERIES and mining.widened == 0


def test_semi_hard_negatives_score_below_the_positive() -> None:
    mining = run(sampling="semi_hard")
    for query, one in enumerate(mining.mined):
        below = [row for row in candidates(query) if SCORES[query, row] < positive(query)]
        pool = [IDS[row] for row in below[:20]]
        assert set(one.negative_ids) <= set(pool) and len(one.negative_ids) == min(5, len(pool))
        assert one.scores == sorted(one.scores, reverse=True)


def test_samples_are_uniform_seeded_and_do_not_depend_on_chunks() -> None:
    first = run(sampling="random")
    assert first.mined == run(sampling="random", chunk_rows=7).mined
    assert first.mined != run(sampling="random", seed=1).mined
    counts = np.zeros(20)
    for seed in range(60):
        for query, one in enumerate(run(sampling="random", seed=seed).mined):
            place = {IDS[row]: rank for rank, row in enumerate(candidates(query)[:20])}
            for id_ in one.negative_ids:
                counts[place[id_]] += 1
    expected = 60 * QUERIES * 5 / 20
    assert np.abs(counts / expected - 1).max() < 0.12  # 4 standard deviations


def test_rejected_candidates_come_back_the_most_suspicious_first() -> None:
    mining = run(positive_aware="margin", relative_margin=0.0, relabel=7)
    assert len(mining.rejected) == 7
    above = [one.score - one.positive_score for one in mining.rejected]
    assert above == sorted(above, reverse=True) and min(above) > 0
    best = max(SCORES[query, candidates(query)[0]] - positive(query) for query in range(QUERIES))
    assert above[0] == pytest.approx(best)
    assert run().rejected == []
    assert run(max_similarity=0.2, relabel=0).rejected == []
    assert run(max_similarity=0.2).rejection_rate > 0


def test_an_approximate_index_mines_the_same_where_its_recall_is_one() -> None:
    asked, gallery = cloud("clustered", 60, 16, 1), cloud("clustered", 5000, 16, 2)
    ids = [str(row) for row in range(5000)]
    groups = [0] * 4500 + [1] * 500
    arguments = (asked, [0] * 60, [frozenset({ids[n]}) for n in range(60)], ids, gallery, groups)
    exact = mine(*arguments, MiningParams(index="exact"))
    close = mine(*arguments, MiningParams(index="approximate", recall=1.0))
    auto = mine(*arguments, MiningParams(exact_rows=4499, recall=1.0))
    assert (exact.recall, exact.approximate) == (1, 0) and close.approximate == auto.approximate == 1
    assert close.mined == auto.mined and close.recall == 1
    assert close.mined == exact.mined


def test_lengths_that_do_not_agree_are_named() -> None:
    with pytest.raises(ValueError, match="of 80 queries, got 1 and 80"):
        mine(ASKED, [0], BOUGHT, IDS, GALLERY, [0] * PRODUCTS, MiningParams())
    with pytest.raises(ValueError, match="of 400 products, got 1 and 400"):
        mine(ASKED, [0] * QUERIES, BOUGHT, IDS[:1], GALLERY, [0] * PRODUCTS, MiningParams())
    with pytest.raises(ValueError, match="stands twice"):
        mine(ASKED, [0] * QUERIES, BOUGHT, ["x"] * PRODUCTS, GALLERY, [0] * PRODUCTS, MiningParams())
    with pytest.raises(ValueError, match="finite"):
        mine(ASKED * np.float32(np.nan), [0] * QUERIES, BOUGHT, IDS, GALLERY, [0] * PRODUCTS, MiningParams())
