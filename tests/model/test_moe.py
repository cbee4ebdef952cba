from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from moon.model.item import TokenType
from moon.model.moe import ROUTINGS, MixtureOfExperts, RoutingStatistics, balance_loss, guide

WIDTH, FEED_FORWARD, GENERAL, TOP, OBJECTIVES, BIAS = 12, 20, 4, 2, 3, 1.5
SPECIAL = (TokenType.CATEGORY, TokenType.ATTRIBUTE)

every_routing = pytest.mark.parametrize("routing", ROUTINGS)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.up_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.down_proj = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """A decoder layer reduced to its feed-forward."""

    def __init__(self, moe: MixtureOfExperts) -> None:
        super().__init__()
        guide(self, moe)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.mlp(hidden)


def moe_with(routing: str, seed: int = 0) -> MixtureOfExperts:
    torch.manual_seed(seed)
    moe = MixtureOfExperts(WIDTH, FEED_FORWARD, GENERAL, TOP, routing, BIAS, OBJECTIVES)
    for parameter in moe.parameters():
        nn.init.normal_(parameter, std=0.5)
    return moe


def batch(items: int = 3, tokens: int = 14, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Hidden states and token types; every type occurs in every item, padding last."""
    generator = torch.Generator().manual_seed(seed)
    types = torch.randint(0, len(TokenType), (items, tokens), generator=generator)
    types[:, : len(TokenType)] = torch.tensor(list(TokenType))
    hidden = torch.randn(items, tokens, WIDTH, generator=generator)
    return hidden, types.sort(descending=True).values


def run(moe: MixtureOfExperts, hidden: Tensor, types: Tensor) -> tuple[Tensor, RoutingStatistics]:
    moe.token_types = types
    out = moe(hidden)
    assert moe.statistics is not None
    return out, moe.statistics


def loss_of(out: Tensor, statistics: RoutingStatistics) -> Tensor:
    """Something that depends on the output and on all statistics with a gradient."""
    parts = (out, statistics.probs_BE, statistics.objective_BM, statistics.sparsity)
    return sum((part * torch.linspace(-1, 2, part.numel()).view_as(part)).sum() for part in parts if part is not None)


def is_routed(moe: MixtureOfExperts, kind: int) -> bool:
    return kind != TokenType.PADDING and not (moe.routing == "guided" and kind in SPECIAL)


def gates_of(moe: MixtureOfExperts, hidden: Tensor, kind: int) -> tuple[Tensor, Tensor]:
    """Probabilities of the experts that the router knows, and the weight of every expert, of one token."""
    weights = torch.zeros(moe.experts)
    logits = moe.router(hidden)
    if moe.routing == "soft" and kind in SPECIAL:
        logits = logits + BIAS * functional.one_hot(torch.tensor(GENERAL + SPECIAL.index(kind)), moe.experts)
    probs = functional.softmax(logits, dim=-1)
    if kind == TokenType.PADDING:
        return probs, weights
    if not is_routed(moe, kind):
        weights[GENERAL + SPECIAL.index(kind)] = 1
        return probs, weights
    top, chosen = probs.topk(TOP)
    return probs, weights.index_put((chosen,), top / top.sum())


def one_token_at_a_time(moe: MixtureOfExperts, hidden: Tensor, types: Tensor) -> tuple[Tensor, RoutingStatistics]:
    """The equations, read literally."""
    out, probs, gates, choices = [], [], [], []
    for row, kind in zip(hidden.flatten(0, 1), types.flatten().tolist(), strict=True):
        prob, weight = gates_of(moe, row, kind)
        halves = [(matrix @ row).chunk(2) for matrix in moe.gate_up_EGD]
        inner = [functional.silu(gate) * up for gate, up in halves]
        out.append(sum(w * (matrix @ x) for w, matrix, x in zip(weight, moe.down_EDF, inner, strict=True)))
        routed = float(is_routed(moe, kind))
        probs.append(routed * prob)
        gates.append(routed * weight[: moe.routed_experts])
        choices.append(routed * weight[: moe.routed_experts].ne(0).float())

    def per_item(rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).view(*types.shape, -1).sum(1)

    tokens = torch.tensor([[is_routed(moe, kind) for kind in row] for row in types.tolist()]).sum(1).float()
    statistics = RoutingStatistics(per_item(probs), per_item(choices), tokens)
    if moe.routing == "modality":
        p = functional.softmax(moe.objective_EM, dim=-1)
        objective = per_item(gates) / tokens[:, None] @ p
        statistics = replace(statistics, objective_BM=objective, sparsity=-(p * p.log()).sum() / len(p))
    return torch.stack(out).view_as(hidden), statistics


def assert_same(ours: RoutingStatistics, other: RoutingStatistics) -> None:
    for name, value in vars(ours).items():
        expected = getattr(other, name)
        if expected is None:
            assert value is None
        else:
            torch.testing.assert_close(value, expected)


@every_routing
def test_equals_one_token_at_a_time_in_values_and_gradients(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    hidden.requires_grad_()
    wanted = hidden, *moe.parameters()
    ours, expected = run(moe, hidden, types), one_token_at_a_time(moe, hidden, types)
    torch.testing.assert_close(ours[0], expected[0])
    assert_same(ours[1], expected[1])
    for gradient, plain in zip(
        torch.autograd.grad(loss_of(*ours), wanted), torch.autograd.grad(loss_of(*expected), wanted), strict=True
    ):
        torch.testing.assert_close(gradient, plain, rtol=1e-4, atol=1e-4)


@every_routing
def test_copies_of_the_dense_layer_equal_it(routing: str) -> None:
    dense, moe = Dense(), moe_with(routing)
    moe.copy_dense(dense)
    hidden, types = batch()
    out, _ = run(moe, hidden, types)
    real = types.ne(TokenType.PADDING)
    torch.testing.assert_close(out[real], dense(hidden)[real])
    assert out[~real].count_nonzero() == 0


@pytest.mark.parametrize("kind", SPECIAL)
def test_guided_experts_compute_their_own_tokens_and_no_others(kind: TokenType) -> None:
    moe, (hidden, types) = moe_with("guided"), batch()
    before, _ = run(moe, hidden, types)
    with torch.no_grad():
        moe.gate_up_EGD[GENERAL + SPECIAL.index(kind)] += 1
    after, _ = run(moe, hidden, types)
    changed = before.ne(after).any(-1)
    assert torch.equal(changed, types.eq(kind))


def test_soft_guidance_grows_from_none_to_the_rule() -> None:
    hidden, types = batch()
    shares = []
    for bias in (0.0, 2.0, 50.0):
        moe = moe_with("soft")
        moe.guidance_bias = bias
        run(moe, hidden, types)
        assert moe.load_TE.sum() == TOP * types.ne(TokenType.PADDING).sum()
        shares.append([moe.load_TE[kind, GENERAL + SPECIAL.index(kind)].item() for kind in SPECIAL])
    for column, kind in zip(zip(*shares, strict=True), SPECIAL, strict=True):
        assert list(column) == sorted(column)
        assert column[-1] == types.eq(kind).sum()


@every_routing
def test_no_token_is_dropped_and_padding_takes_no_part(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    out, statistics = run(moe, hidden, types)
    torch.testing.assert_close(statistics.choices_BE.sum(1), TOP * statistics.tokens_B)
    torch.testing.assert_close(statistics.probs_BE.sum(1), statistics.tokens_B)
    if statistics.objective_BM is not None:
        torch.testing.assert_close(statistics.objective_BM.sum(1), torch.ones(len(hidden)))
    disturbed = hidden.masked_fill(types.eq(TokenType.PADDING)[..., None], 9.0)
    wider = functional.pad(disturbed, (0, 0, 0, 3), value=-5.0), functional.pad(types, (0, 3))
    moved, same = run(moe, *wider)
    torch.testing.assert_close(moved[:, : hidden.shape[1]], out)
    assert_same(same, statistics)


@every_routing
def test_parts_of_a_batch_add_up_to_it(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    out, whole = run(moe, hidden, types)
    load = moe.load_TE
    moe.reset_load()
    assert moe.load_TE.count_nonzero() == 0
    parts = [run(moe, hidden[rows], types[rows]) for rows in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(torch.cat([part for part, _ in parts]), out)
    for name in ("probs_BE", "choices_BE", "tokens_B"):
        torch.testing.assert_close(torch.cat([getattr(each, name) for _, each in parts]), getattr(whole, name))
    assert torch.equal(moe.load_TE, load)
    assert load[TokenType.PADDING].count_nonzero() == 0


def test_only_padding_gives_zeros() -> None:
    moe = moe_with("modality")
    out, statistics = run(moe, torch.randn(2, 3, WIDTH), torch.zeros(2, 3, dtype=torch.long))
    loss_of(out, statistics).backward()
    assert out.count_nonzero() == 0
    assert statistics.objective_BM is not None
    assert statistics.objective_BM.count_nonzero() == 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in moe.parameters())


def test_balance_loss_is_one_when_balanced_and_experts_when_collapsed() -> None:
    tokens = torch.tensor(8.0)
    even = torch.full((2, GENERAL), 8 / GENERAL)
    assert balance_loss(even, TOP * even, tokens).item() == pytest.approx(1)
    collapsed = torch.tensor([[8.0, 0, 0, 0]])
    assert balance_loss(collapsed, collapsed, tokens).item() == pytest.approx(GENERAL)
    assert balance_loss(torch.cat([even[:1], collapsed]), torch.cat([even[:1], collapsed]), tokens) == pytest.approx(
        2.5
    )
    assert balance_loss(0 * even, 0 * even, torch.tensor(0.0)).item() == 0


def test_gradient_of_the_balance_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    probs, choices, tokens = torch.rand(3, GENERAL, requires_grad=True), torch.rand(3, GENERAL), torch.tensor(7.0)
    balance_loss(probs, choices, tokens).backward()
    shares = choices / choices.sum(1, keepdim=True)
    torch.testing.assert_close(probs.grad, GENERAL * shares / tokens / len(probs))


@every_routing
def test_checkpointed_equals_plain_with_the_gradients_of_the_statistics(routing: str) -> None:
    hidden, types = batch()
    gradients = []
    for recompute in (False, True):
        moe = moe_with(routing)
        layer = Layer(moe)
        hidden = hidden.detach().requires_grad_()
        if recompute:
            out = checkpoint(lambda x, layer=layer: layer(x, token_types=types), hidden, use_reentrant=False)
        else:
            out = layer(hidden, token_types=types)
        assert moe.statistics is not None
        loss_of(out, moe.statistics).backward()
        gradients.append([hidden.grad, *(parameter.grad for parameter in moe.parameters())])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=0, atol=0)


@every_routing
def test_a_copy_holds_the_weights_and_not_the_last_call(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    out, _ = run(moe, hidden, types)
    copied = copy.deepcopy(moe)
    assert copied.statistics is None
    assert copied.token_types is None
    assert torch.equal(run(copied, hidden, types)[0], out)


@every_routing
def test_statistics_stay_exact_under_autocast(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    with torch.autocast("cpu", torch.bfloat16):
        out, statistics = run(moe, hidden, types)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(statistics.probs_BE.sum(1), statistics.tokens_B)
    assert {value.dtype for value in vars(statistics).values() if value is not None} == {torch.float32}
    loss_of(out.float(), statistics).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in moe.parameters())


def test_inference_mode_leaves_the_mixture_trainable() -> None:
    moe, (hidden, types) = moe_with("soft"), batch()
    with torch.inference_mode():
        first, _ = run(moe, hidden, types)
    out, statistics = run(moe, hidden, types)
    loss_of(out, statistics).backward()
    assert torch.equal(first, out)
    assert moe.router.weight.grad is not None


@every_routing
def test_low_rank_deltas_train_and_frozen_weights_do_not(routing: str) -> None:
    moe, (hidden, types) = moe_with(routing), batch()
    layer = Layer(moe)
    plain = layer(hidden, token_types=types)
    names = ["mlp.gate_up_EGD", "mlp.down_EDF"]
    inject_adapter_in_model(LoraConfig(r=2, target_modules=[], target_parameters=names), layer)
    assert layer.mlp is not moe
    torch.testing.assert_close(layer(hidden, token_types=types), plain)
    assert moe.statistics is not None
    moe.router.weight.requires_grad_(True)
    out = layer(hidden, token_types=types)
    loss_of(out, moe.statistics).backward()
    trained = {name for name, parameter in layer.named_parameters() if parameter.grad is not None}
    assert {"gate_up_EGD", "down_EDF"}.isdisjoint(name.rsplit(".", 1)[-1] for name in trained)
    assert sum("lora_B" in name for name in trained) == len(names)
    assert any(name.endswith("router.weight") for name in trained)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"routing": "hard"}, "got 'hard'"),
        ({"experts_per_token": 5}, "at most 4"),
        ({"routing": "modality"}, "number of objectives, got 0"),
    ],
)
def test_impossible_mixtures_are_refused(changed: dict[str, Any], message: str) -> None:
    given = {"width": 4, "feed_forward": 4, "general_experts": 4, "experts_per_token": 2}
    with pytest.raises(ValueError, match=message):
        MixtureOfExperts(**(given | changed))
