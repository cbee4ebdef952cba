from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moon.model import experts
from moon.model.experts import expert_feed_forward

WIDTH, FEED_FORWARD = 8, 16
SIZES = {"even": [4, 5, 3, 4], "uneven": [5, 0, 9, 2], "one": [0, 0, 16, 0], "none": [0, 0, 0, 0]}


@pytest.fixture(autouse=True, params=[(1, 0), (1 << 19, 0), (1 << 19, 256)], ids=["block-each", "one-block", "batched"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way of cutting up the work."""
    monkeypatch.setattr(experts, "_BLOCK", request.param[0])
    monkeypatch.setattr(experts, "_FEW", request.param[1])


def inputs(sizes: list[int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Hidden states, the token and weight of each pair, and both stacks of weights; some tokens have no pair."""
    generator = torch.Generator().manual_seed(sum(sizes) + 1)
    shapes = (10, WIDTH), (sum(sizes),), (len(sizes), 2 * FEED_FORWARD, WIDTH), (len(sizes), WIDTH, FEED_FORWARD)
    hidden, weight, gate_up, down = (
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    )
    return hidden, torch.randint(0, 9, shapes[1], generator=generator), weight, gate_up, down


def one_pair_at_a_time(
    hidden: Tensor, token: Tensor, weight: Tensor, sizes: list[int], gate_up: Tensor, down: Tensor
) -> Tensor:
    rows = list(hidden * 0)
    expert = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    for pair, (number, at) in enumerate(zip(expert.tolist(), token.tolist(), strict=True)):
        gate, up = (gate_up[number] @ hidden[at]).chunk(2)
        rows[at] = rows[at] + weight[pair] * (down[number] @ (functional.silu(gate) * up))
    return torch.stack(rows)


def loss_of(out: Tensor) -> Tensor:
    return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_equals_one_pair_at_a_time_in_values_and_gradients(sizes: list[int]) -> None:
    hidden, token, weight, gate_up, down = inputs(sizes)
    wanted = hidden, weight, gate_up, down
    out = expert_feed_forward(hidden, token, weight, sizes, gate_up, down)
    expected = one_pair_at_a_time(hidden, token, weight, sizes, gate_up, down)
    torch.testing.assert_close(out, expected)
    for ours, plain in zip(
        torch.autograd.grad(loss_of(out), wanted),
        torch.autograd.grad(loss_of(expected), wanted, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


def test_gradients_by_finite_differences() -> None:
    sizes = [3, 0, 4]
    hidden, token, weight, gate_up, down = inputs(sizes)
    assert torch.autograd.gradcheck(
        lambda *given: expert_feed_forward(given[0], token, given[1], sizes, *given[2:]),
        (hidden, weight, gate_up, down),
    )


def test_no_token_at_all() -> None:
    _, token, weight, gate_up, down = inputs(SIZES["none"])
    hidden = torch.zeros(0, WIDTH, dtype=torch.float64, requires_grad=True)
    out = expert_feed_forward(hidden, token, weight, SIZES["none"], gate_up, down)
    out.sum().backward()
    assert out.shape == (0, WIDTH)
    assert gate_up.grad is not None
    assert gate_up.grad.count_nonzero() == 0


@pytest.mark.parametrize("needed", range(4))
def test_only_what_needs_a_gradient_gets_one(needed: int) -> None:
    hidden, token, weight, gate_up, down = inputs(SIZES["uneven"])
    given = hidden, weight, gate_up, down
    full = torch.autograd.grad(loss_of(expert_feed_forward(hidden, token, weight, SIZES["uneven"], *given[2:])), given)
    for number, tensor in enumerate(given):
        tensor.requires_grad_(number == needed)
    loss_of(expert_feed_forward(hidden, token, weight, SIZES["uneven"], *given[2:])).backward()
    for number, tensor in enumerate(given):
        if number == needed:
            torch.testing.assert_close(tensor.grad, full[number], rtol=0, atol=0)
        else:
            assert tensor.grad is None


def test_same_numbers_every_time_and_without_a_graph() -> None:
    hidden, token, weight, gate_up, down = inputs(SIZES["uneven"], torch.float32)
    first, second = (expert_feed_forward(hidden, token, weight, SIZES["uneven"], gate_up, down) for _ in range(2))
    assert torch.equal(first, second)
    with torch.inference_mode():
        assert torch.equal(first, expert_feed_forward(hidden, token, weight, SIZES["uneven"], gate_up, down))


def test_autocast_computes_in_bfloat16_and_keeps_the_types_of_gradients() -> None:
    hidden, token, weight, gate_up, down = inputs(SIZES["uneven"], torch.float32)
    sizes = torch.tensor(SIZES["uneven"])
    with torch.autocast("cpu", torch.bfloat16):
        out = expert_feed_forward(hidden, token, weight, sizes, gate_up, down)
    assert out.dtype == torch.bfloat16
    loss_of(out.float()).backward()
    exact = expert_feed_forward(hidden, token, weight, sizes, gate_up, down)
    gradients = torch.autograd.grad(loss_of(exact), (hidden, weight, gate_up, down))
    for tensor, gradient in zip((hidden, weight, gate_up, down), gradients, strict=True):
        assert tensor.grad is not None
        assert tensor.grad.dtype == torch.float32
        assert (tensor.grad - gradient).norm() < 0.03 * gradient.norm()
    assert (out.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("sizes", [SIZES["uneven"], SIZES["one"]], ids=["uneven", "one"])
def test_the_grouped_kernels_equal_the_loop(sizes: list[int]) -> None:
    hidden, token, weight, gate_up, down = inputs(sizes, torch.float32)
    wanted = hidden, weight, gate_up, down
    looped = expert_feed_forward(hidden, token, weight, sizes, gate_up, down)
    grouped = experts._grouped(hidden, token, weight, torch.tensor(sizes), gate_up, down)
    torch.testing.assert_close(grouped, looped)
    for ours, theirs in zip(
        torch.autograd.grad(loss_of(grouped), wanted), torch.autograd.grad(loss_of(looped), wanted), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_gpu_agrees_with_the_cpu(dtype: torch.dtype) -> None:
    hidden, token, weight, gate_up, down = inputs(SIZES["uneven"], torch.float32)
    expected = expert_feed_forward(hidden, token, weight, SIZES["uneven"], gate_up, down)
    expected_gradient = torch.autograd.grad(loss_of(expected), gate_up)[0]
    moved = gate_up.detach().to("cuda", dtype).requires_grad_()
    out = expert_feed_forward(
        hidden.to("cuda", dtype), token.cuda(), weight.cuda(), SIZES["uneven"], moved, down.to("cuda", dtype)
    )
    gradient = torch.autograd.grad(loss_of(out.float().cpu()), moved)[0]
    bound = 0.03 if dtype == torch.bfloat16 else 1e-2
    assert (out.float().cpu() - expected).norm() < bound * expected.norm()
    assert (gradient.float().cpu() - expected_gradient).norm() < bound * expected_gradient.norm()
