from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from moon.config import ObjectivesParams
from moon.model.item import OBJECTIVES
from moon.training.objectives import Objectives, infonce
from tests.training.objectives import batches

WIDTH = batches.WIDTH
SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mined only": {"in_batch": False},
    "every view": {"query_views": "all"},
    "views alike": {"query_views": "all", "weighting": "equal"},
    "symmetric": {"symmetric": True},
    "prefixes": {"matryoshka": (2, 0, 5)},
    "within products": {"intra_weight": 0.7, "intra_temperature": 0.2},
    "learned": {"weighting": "learned", "sparsity_weight": 0.3},
    "learned, both levels": {"weighting": "learned", "intra_weight": 1.5, "query_views": "all"},
    "filtered": {"filter_threshold": 0.6, "filter_margin": 0.4},
    "balanced": {"balance_weight": 0.5},
    "all": {
        "query_views": "all",
        "symmetric": True,
        "matryoshka": (4, 0),
        "intra_weight": 0.5,
        "weighting": "learned",
        "filter_threshold": 0.5,
    },
}


@pytest.fixture(params=SWITCHES, ids=str)
def params(request: pytest.FixtureRequest) -> ObjectivesParams:
    return ObjectivesParams(**({"temperature": 0.2} | SWITCHES[request.param]))


def plain(**changes: Any) -> Objectives:
    return Objectives(ObjectivesParams(**({"temperature": 0.2, "balance_weight": 0.0} | changes)), WIDTH)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("remembers", [False, True], ids=["", "bank"])
def test_value_and_gradient_are_those_of_the_definition(params: ObjectivesParams, seed: int, remembers: bool) -> None:
    index = batches.batch(seed, views=1 if params.query_views == "as_asked" else 3)
    fields, bank = batches.outputs(index, seed), batches.bank(index, seed) if remembers else None
    score = Objectives(params, WIDTH)(fields, index, 0.3, bank)
    expected = batches.Reference(params, index, 0.3, bank).total(fields)
    torch.testing.assert_close(score.total.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        batches.gradients(score.total, fields), batches.gradients(expected, fields), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("processes", [2, 7])
def test_processes_that_share_a_batch_add_up_to_one(params: ObjectivesParams, processes: int) -> None:
    index = batches.batch(1, views=3)
    fields, bank = batches.outputs(index, 1), batches.bank(index, 1)
    objectives = Objectives(dataclasses.replace(params, learn_temperature=True), WIDTH)
    whole = objectives(fields, index, 0.5, bank)
    parts = [objectives(fields, part, 0.5, bank, share=1 / processes) for part in batches.split(index, processes)]
    total = torch.stack([part.total for part in parts]).sum()
    torch.testing.assert_close(total, whole.total)
    learned = {"temperature": objectives.log_temperature}
    torch.testing.assert_close(
        batches.gradients(total, fields | learned), batches.gradients(whole.total, fields | learned)
    )
    for name, (value, weight) in whole.parts.items():
        sums = [sum(part.parts[name][place] for part in parts) for place in range(2)]
        assert sums == pytest.approx([value, weight], rel=1e-5, abs=1e-6), name


def test_processes_that_keep_their_products_to_themselves_give_the_mean_over_rows(params: ObjectivesParams) -> None:
    objectives, alone, together = Objectives(params, WIDTH), [], []
    for seed in range(2):
        index = batches.batch(seed, views=3)
        fields = batches.outputs(index, seed)
        alone.append(objectives(fields, index, 0.5).total)
        together.append(objectives(fields, dataclasses.replace(index, rows=12), 0.5, share=0.5).total)
    torch.testing.assert_close(sum(together), sum(alone) / 2)


def test_chunks_give_what_the_whole_gives(params: ObjectivesParams, monkeypatch: pytest.MonkeyPatch) -> None:
    index = batches.batch(2, views=3)
    fields, bank = batches.outputs(index, 2), batches.bank(index, 2)
    whole = Objectives(params, WIDTH)(fields, index, 0.5, bank)
    expected = batches.gradients(whole.total, fields)
    monkeypatch.setattr(infonce, "CHUNK_ROWS", 2)
    chunked = Objectives(params, WIDTH)(fields, index, 0.5, bank)
    torch.testing.assert_close(chunked.total, whole.total)
    torch.testing.assert_close(batches.gradients(chunked.total, fields), expected)
    for name, part in whole.parts.items():
        assert chunked.parts[name] == pytest.approx(part), name


def test_excluded_products_never_contribute(params: ObjectivesParams) -> None:
    """Every row excludes all but the last product; the others are neither bought nor anybody's negative."""
    params = dataclasses.replace(params, intra_weight=0.0)
    index = batches.batch(3, rows=3, views=1, mined=2)
    *banned, last = index.candidate_ids
    index = dataclasses.replace(index, excluded=(frozenset([*banned, "elsewhere", "old0"]),) * 3)
    fields, bank = batches.outputs(index, 3), batches.bank(index, 3)
    before = Objectives(params, WIDTH)(fields, index, 0.5, bank)

    units = index.candidate_unit[3:-1]
    moved = fields["embedding"].detach().index_fill(0, units, 0.3)
    stays = torch.tensor([id_ in ("old1", last) for id_ in bank.ids])
    vectors = bank.vectors_MD.masked_fill(~stays[:, None], 0.3)
    bank.load_state_dict({"vectors": [vectors], "ids": [list(bank.ids)]})
    after = Objectives(params, WIDTH)(fields | {"embedding": moved}, index, 0.5, bank)
    torch.testing.assert_close(after.total, before.total)
    assert not batches.gradients(before.total, fields)["embedding"][units].any()


def test_without_the_batch_only_mined_products_and_the_bank_are_negatives() -> None:
    index = batches.batch(0, excluded=0, views=1)
    mined = [len(set(row) - {-1, number}) for number, row in enumerate(index.hard_QH.tolist())]
    fields = batches.outputs(index)
    total, rows = plain(in_batch=False)(fields, index, 0.0).parts["negatives"]
    assert (total, rows) == (sum(mined), 6)
    bank = batches.bank(index)
    copies = sum(id_ in index.candidate_ids[:6] for id_ in bank.ids)
    assert plain(in_batch=False)(fields, index, 0.0, bank).parts["negatives"][0] == sum(mined) + 6 * len(bank) - copies


@pytest.mark.parametrize("matryoshka", [(0,), (2, 4)], ids=str)
def test_equal_scores_give_the_log_of_the_candidates(matryoshka: tuple[int, ...]) -> None:
    index = batches.batch(0, excluded=0)
    fields = {"embedding": torch.zeros(batches.size(index), WIDTH)}
    parts = plain(matryoshka=matryoshka, symmetric=False)(fields, index, 0.0).parts
    assert parts["loss"][0] == pytest.approx(math.log(len(index.candidate_ids)), rel=1e-6)
    assert parts["accuracy"][0] == 0  # a tie is no success


def test_rows_without_negatives_are_counted_and_cost_nothing() -> None:
    index = batches.batch(0, rows=4, mined=0, views=3)
    index = dataclasses.replace(index, excluded=(frozenset(index.candidate_ids),) * 4)
    fields = batches.outputs(index)
    score = plain(symmetric=True)(fields, index, 0.0)
    assert score.total.item() == 0
    assert not batches.gradients(score.total, fields)["embedding"].any()
    assert score.parts["rows_without_negatives"] == (4, 1)
    assert score.parts["accuracy"] == (0, 0) == score.parts["hardest_similarity"]


def test_a_prefix_is_scored_as_the_shorter_vectors_would_be() -> None:
    index = batches.batch(0)
    fields = batches.outputs(index)
    short = {"embedding": torch.nn.functional.normalize(fields["embedding"][:, :3], dim=-1)}
    changes = {"symmetric": True, "intra_weight": 1.0, "filter_threshold": 0.6}
    cut = plain(matryoshka=(3,), **changes)({"embedding": fields["embedding"]}, index, 0.2)
    torch.testing.assert_close(cut.total, plain(**changes)(short, index, 0.2).total)


def test_a_prefix_longer_than_the_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objectives\.matryoshka"):
        plain(matryoshka=(WIDTH, WIDTH + 1))


def test_a_learned_temperature_gets_a_gradient_and_keeps_its_distance_from_zero() -> None:
    index = batches.batch(0)
    fields = batches.outputs(index)
    objectives = plain(learn_temperature=True)
    objectives(fields, index, 0.0).total.backward()
    assert objectives.log_temperature.grad is not None and objectives.log_temperature.grad.item() != 0
    torch.nn.init.constant_(objectives.log_temperature, -20)
    assert objectives(fields, index, 0.0).parts["temperature"] == pytest.approx((0.01, 1))
    assert not list(plain().parameters())


def test_counts_of_the_experts_are_constants() -> None:
    index = batches.batch(0)
    fields = batches.outputs(index)
    for name in ("router_choices", "routed_tokens"):
        fields[name].requires_grad_()
    gradient = batches.gradients(plain(balance_weight=1.0)(fields, index, 0.0).total, fields)
    assert gradient["router_probs"].any()
    assert not gradient["router_choices"].any() and not gradient["routed_tokens"].any()


def test_learned_weights_need_modality_driven_experts() -> None:
    index = batches.batch(0)
    with pytest.raises(ValueError, match=r"model\.routing=modality"):
        plain(weighting="learned")({"embedding": batches.outputs(index)["embedding"]}, index, 0.0)


def test_learned_weights_are_constants_of_the_loss() -> None:
    """Without the terms of their own, nothing reaches the expert-by-objective matrix."""
    index = batches.batch(0, views=3)
    fields = batches.outputs(index)
    silent = plain(weighting="learned", intra_weight=1.0, sparsity_weight=0.0)(fields, index, 0.0)
    assert not batches.gradients(silent.total, fields)["objective"].any()
    trained = plain(weighting="learned", intra_weight=1.0, sparsity_weight=0.1)(fields, index, 0.0)
    gradient = batches.gradients(trained.total, fields)
    assert gradient["objective"].any() and gradient["sparsity"].any()
    assert (gradient["objective"] <= 0).all()  # more of an objective's own experts is more likely


def test_learned_weights_have_mean_one_and_are_in_proportion_to_omega() -> None:
    index = batches.batch(0, views=3)
    fields = batches.outputs(index)
    parts = plain(weighting="learned", intra_weight=1.0)(fields, index, 0.0).parts
    omega = [parts[f"omega/{name}"][0] for name in OBJECTIVES]
    assert sum(omega) == pytest.approx(len(OBJECTIVES))
    text = fields["objective"][index.query_unit[index.query_view == 0], 0].mean()
    image = fields["objective"][index.query_unit[index.query_view == 1], 1].mean()
    assert omega[0] / omega[1] == pytest.approx((text / image).item(), rel=1e-5)
    inter = plain(weighting="learned")(fields, index, 0.0).parts
    assert sum(inter[f"omega/{name}"][0] for name in OBJECTIVES[:3]) == pytest.approx(3)
    assert inter["omega/positive"][0] == 0


def test_equal_omegas_are_equal_weights() -> None:
    index = batches.batch(0, views=3)
    fields = batches.outputs(index) | {"objective": torch.full((batches.size(index), 5), 0.2)}
    learned, equal = (
        plain(weighting=weighting, query_views="all", intra_weight=0.0, sparsity_weight=0.0)(fields, index, 0.0).total
        for weighting in ("learned", "equal")
    )
    torch.testing.assert_close(learned, equal)


def test_metrics_of_a_loss_are_those_of_its_views() -> None:
    index = batches.batch(0, views=1)
    parts = plain()(batches.outputs(index), index, 0.0).parts
    losses = [parts[f"loss/{name}"] for name in OBJECTIVES[:3]]
    assert sum(count for _, count in losses) == 6
    assert sum(loss for loss, _ in losses) / 6 == pytest.approx(parts["loss"][0])


def test_mixed_precision_does_not_reach_the_loss() -> None:
    index = batches.batch(0)
    fields = batches.outputs(index)
    full = plain()(fields, index, 0.0).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain()(fields, index, 0.0).total.equal(full)
