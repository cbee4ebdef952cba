from __future__ import annotations

import dataclasses

import pytest
import torch

from moon.config import ObjectivesParams
from moon.model.item import VIEWS
from moon.training.pairs import Pairs
from moon.training.plan import Plan, plan_batch

ROWS = [0, 5, 2, 7]
ALL = ObjectivesParams(query_views="all", intra_weight=1.0, hard_negatives=1)


def contents(plan: Plan) -> list[str]:
    """What each of this process's units holds, decoded to text and number of pictures."""
    return [f"{one.encode().input_ids}" for one in plan.units]


def described(pairs: Pairs, params: ObjectivesParams, world: int) -> dict[str, list[str]]:
    """The parts of a batch as the contents of their units, put together from all processes."""
    plans = [plan_batch(pairs, ROWS, params, (0, 1), rank, world) for rank in range(world)]
    units = [content for plan in plans for content in contents(plan)]
    index = plans[0].index
    assert sum(plans[0].counts) == len(units)
    for plan in plans:
        assert all(
            torch.equal(getattr(plan.index, field.name), getattr(index, field.name))
            for field in dataclasses.fields(index)
            if field.name not in ("own", "candidate_ids", "excluded", "rows")
        )
    assert sorted(row for plan in plans for row in plan.index.own.tolist()) == list(range(len(ROWS)))
    return {
        name: [units[place] if place >= 0 else "" for place in getattr(index, name).tolist()]
        for name in ("query_unit", "candidate_unit", "text_unit", "image_unit")
    }


@pytest.mark.parametrize("world", [2, 3])
def test_many_processes_embed_what_one_embeds(pairs: Pairs, world: int) -> None:
    assert described(pairs, ALL, world) == described(pairs, ALL, 1)


def test_parts_are_what_they_say(pairs: Pairs) -> None:
    plan = plan_batch(pairs, ROWS, ALL, (0, 1))
    index = plan.index
    assert index.candidate_ids[:4] == tuple(pairs.product_ids[row] for row in ROWS)
    assert len(set(index.candidate_ids)) == len(index.candidate_ids)
    for place, row in enumerate(ROWS):
        asked = [VIEWS[view] for view, at in zip(index.query_view, index.query_row, strict=True) if at == place]
        assert asked == (list(VIEWS) if pairs.views[row] == "multimodal" else [pairs.views[row]])
        assert [index.candidate_ids[column] for column in index.hard_QH[place]] == list(pairs.negatives[row][:1])


def test_as_asked_and_without_extras(pairs: Pairs) -> None:
    plan = plan_batch(pairs, ROWS, ObjectivesParams(query_views="as_asked", hard_negatives=0), (0, 1))
    assert len(plan.index.query_unit) == len(ROWS)
    assert plan.index.hard_QH.shape == (4, 0)
    assert (plan.index.text_unit == -1).all() and (plan.index.image_unit == -1).all()


def test_without_cross_rank_each_process_knows_its_own_rows(pairs: Pairs) -> None:
    local = ObjectivesParams(cross_rank=False, hard_negatives=0)
    plans = [plan_batch(pairs, ROWS, local, (0, 1), rank, 2) for rank in range(2)]
    assert [len(plan.index.candidate_ids) for plan in plans] == [2, 2]
    assert [plan.index.rows for plan in plans] == [4, 4]
    assert not set(plans[0].index.candidate_ids) & set(plans[1].index.candidate_ids)


def test_variants_are_drawn_by_batch_and_product(pairs: Pairs) -> None:
    def drawn(step: int) -> list[str]:
        plan = plan_batch(pairs, ROWS, ObjectivesParams(), (0, step))
        return [contents(plan)[place] for place in plan.index.candidate_unit.tolist()]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(step)) for step in range(12)}) > 1
