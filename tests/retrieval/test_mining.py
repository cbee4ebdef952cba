from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from moon.config import MiningParams
from moon.retrieval.mining import Mined, mine
from tests.retrieval.test_index import unit

QUERIES, PRODUCTS, DIM = 60, 120, 16
PARAMS = MiningParams(negatives=5)


def problem() -> dict[str, object]:
    """Products in three groups of unequal size, one of them tiny; queries with one to three purchases."""
    rng = np.random.default_rng(5)
    groups = ["large"] * 80 + ["middle"] * 37 + ["tiny"] * 3
    ids = [f"p{number:03d}" for number in range(PRODUCTS)]
    purchases, query_groups = [], []
    for query in range(QUERIES):
        group = ["large", "middle", "tiny"][query % 3]
        members = [id_ for id_, g in zip(ids, groups, strict=True) if g == group]
        purchases.append(frozenset(rng.choice(members, size=rng.integers(1, 4), replace=False)))
        query_groups.append(group)
    return {
        "queries_QD": unit(QUERIES, DIM, 1),
        "query_groups": query_groups,
        "purchases": purchases,
        "product_ids": ids,
        "products_ND": unit(PRODUCTS, DIM, 2),
        "product_groups": groups,
    }


def brute_force(params: MiningParams) -> list[list[str]]:
    p = problem()
    scores = p["queries_QD"] @ p["products_ND"].T
    out = []
    for query in range(QUERIES):
        allowed = [
            (-scores[query, row], id_)
            for row, id_ in enumerate(p["product_ids"])
            if p["product_groups"][row] == p["query_groups"][query] and id_ not in p["purchases"][query]
        ]
        kept = [pair for pair in sorted(allowed)[params.skip_top :] if -pair[0] <= params.max_similarity]
        out.append([id_ for _, id_ in kept[: params.negatives]])
    return out


@pytest.mark.parametrize(
    "params",
    [PARAMS, dataclasses.replace(PARAMS, chunk_rows=7), dataclasses.replace(PARAMS, skip_top=2)],
    ids=["whole", "chunked", "skip"],
)
def test_equals_brute_force(params: MiningParams) -> None:
    mined = mine(**problem(), params=params).mined
    assert [found.negative_ids for found in mined] == brute_force(params)


def test_nothing_bought_and_nothing_of_another_group_is_mined() -> None:
    p = problem()
    group_of = dict(zip(p["product_ids"], p["product_groups"], strict=True))
    for query, found in enumerate(mine(**p, params=PARAMS).mined):
        assert not p["purchases"][query] & set(found.negative_ids)
        assert {group_of[id_] for id_ in found.negative_ids} <= {p["query_groups"][query]}
        assert found.scores == sorted(found.scores, reverse=True)


def test_small_group_gives_what_it_has() -> None:
    p = problem()
    for query, found in enumerate(mine(**p, params=PARAMS).mined):
        if p["query_groups"][query] == "tiny":
            assert len(found.negative_ids) == 3 - len(p["purchases"][query])


def test_more_similar_than_allowed_is_taken_for_a_false_negative() -> None:
    p = problem()
    p["products_ND"] = p["products_ND"].copy()
    p["products_ND"][10] = p["queries_QD"][0]
    p["purchases"][0] = frozenset({"p000"})
    assert "p010" in mine(**p, params=PARAMS).mined[0].negative_ids
    assert "p010" not in mine(**p, params=dataclasses.replace(PARAMS, max_similarity=0.99)).mined[0].negative_ids


def test_group_without_products_gives_none() -> None:
    p = problem()
    p["query_groups"] = ["elsewhere"] * QUERIES
    assert mine(**p, params=PARAMS).mined == [Mined([], [])] * QUERIES
