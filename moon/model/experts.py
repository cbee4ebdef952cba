"""The compute of a mixture of experts: every token-expert pair through its expert's gated feed-forward.

    out_t = sum over the pairs a of token t of weight_a W_down (silu(W_gate x_t) * W_up x_t)

One autograd function with its own backward. It walks over blocks of experts whose intermediate results stay small
(`_BLOCK`), so these stay in cache and their memory is used again, and writes every gradient in its place: no expert's
gradient is padded to the whole stack. Only the input and the gate and up projections are kept for the backward pass.
On a GPU with bfloat16 the matrix products are torch's grouped kernels, which need no sizes on the host.

Shapes: T tokens, D width, F feed-forward width, G = 2F, E experts, A pairs, N pairs of one block.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 1 << 19
"""Numbers in the gate and up projections of one block, unless a single expert has more."""
_FEW = 256
"""Pairs of a block up to which its products are one batched product."""


def expert_feed_forward(
    hidden_TD: Tensor,
    token_A: Tensor,
    weight_A: Tensor,
    sizes_E: Sequence[int] | Tensor,
    gate_up_EGD: Tensor,
    down_EDF: Tensor,
) -> Tensor:
    """Weighted sum over each token's experts; a token without a pair comes out as zero.

    Under autocast it computes, and answers, in autocast's type. Deterministic on a CPU; on a GPU too while a token has
    at most two pairs, or with ``torch.use_deterministic_algorithms``. Gradients reach ``hidden_TD``, ``weight_A`` and
    the weights, each computed only where one is needed.

    Args:
        hidden_TD: (T, D), the tokens.
        token_A: (A,) int64, the token of each pair; pairs are sorted by expert.
        weight_A: (A,) float, what each pair counts.
        sizes_E: pairs of each expert, E numbers that add up to A.
        gate_up_EGD: (E, 2F, D), gate above up.
        down_EDF: (E, D, F).
    """
    if torch.is_autocast_enabled(hidden_TD.device.type):
        dtype = torch.get_autocast_dtype(hidden_TD.device.type)
        hidden_TD, gate_up_EGD, down_EDF = hidden_TD.to(dtype), gate_up_EGD.to(dtype), down_EDF.to(dtype)
    if _grouped_is_fast(hidden_TD, down_EDF):
        return _grouped(
            hidden_TD, token_A, weight_A, torch.as_tensor(sizes_E, device=token_A.device), gate_up_EGD, down_EDF
        )
    sizes = sizes_E.tolist() if isinstance(sizes_E, Tensor) else list(sizes_E)
    out: Tensor = _ExpertFeedForward.apply(
        hidden_TD, token_A, weight_A, sizes, gate_up_EGD, down_EDF, torch.is_grad_enabled()
    )
    return out


class _ExpertFeedForward(torch.autograd.Function):
    """Blocks of experts; within a block one product an expert, everything else over all its pairs at once."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        token_A: Tensor,
        weight_A: Tensor,
        sizes: list[int],
        gate_up_EGD: Tensor,
        down_EDF: Tensor,
        keep: bool,
    ) -> Tensor:
        blocks = list(_blocks(sizes, gate_up_EGD.shape[1]))
        tokens, weights = _cut(token_A, blocks), _cut(weight_A[:, None], blocks)
        out_TD, kept = torch.zeros_like(hidden_TD), []
        for (experts, rows), token_N, weight_N1 in zip(blocks, tokens, weights, strict=True):
            gate_up_NG = _products(hidden_TD.index_select(0, token_N), gate_up_EGD[experts].mT, rows)
            gate_NF, up_NF = gate_up_NG.chunk(2, dim=-1)
            inner_NF = functional.silu(gate_NF).mul_(up_NF)
            out_TD.index_add_(0, token_N, _products(inner_NF, down_EDF[experts].mT, rows).mul_(weight_N1))
            if keep:
                kept.append(gate_up_NG)
        ctx.save_for_backward(hidden_TD, token_A, weight_A, gate_up_EGD, down_EDF, *kept)
        ctx.blocks = blocks
        return out_TD

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, token_A, weight_A, gate_up_EGD, down_EDF, *kept = ctx.saved_tensors
        for_hidden, _, for_weight, _, for_gate_up, for_down, _ = ctx.needs_input_grad
        grad_hidden_TD = torch.zeros_like(hidden_TD) if for_hidden else None
        grad_weight_A = torch.empty_like(weight_A) if for_weight else None
        grad_gate_up_EGD = torch.empty_like(gate_up_EGD) if for_gate_up else None
        grad_down_EDF = torch.empty_like(down_EDF) if for_down else None
        start = 0
        for (experts, rows), gate_up_NG in zip(ctx.blocks, kept, strict=True):
            pairs = slice(start, start := start + len(gate_up_NG))
            token_N, weight_N1 = token_A[pairs], weight_A[pairs, None]
            gate_NF, up_NF = gate_up_NG.chunk(2, dim=-1)
            grad_ND = grad_TD.index_select(0, token_N)
            grad_inner_NF = _products(grad_ND, down_EDF[experts], rows)
            active_NF = functional.silu(gate_NF)
            inner_NF = active_NF * up_NF
            if grad_weight_A is not None:
                grad_weight_A[pairs] = torch.linalg.vecdot(grad_inner_NF, inner_NF)
            if grad_down_EDF is not None:
                _outer_products(grad_ND.mul_(weight_N1), inner_NF, rows, grad_down_EDF[experts])
            grad_inner_NF.mul_(weight_N1)
            grad_gate_up_NG = torch.empty_like(gate_up_NG)
            grad_gate_NF, grad_up_NF = grad_gate_up_NG.chunk(2, dim=-1)
            torch.mul(grad_inner_NF, active_NF, out=grad_up_NF)
            torch.ops.aten.silu_backward.grad_input(grad_inner_NF.mul_(up_NF), gate_NF, grad_input=grad_gate_NF)
            if grad_gate_up_EGD is not None:
                hidden_ND = hidden_TD.index_select(0, token_N)
                _outer_products(grad_gate_up_NG, hidden_ND, rows, grad_gate_up_EGD[experts])
            if grad_hidden_TD is not None:
                grad_hidden_TD.index_add_(0, token_N, _products(grad_gate_up_NG, gate_up_EGD[experts], rows))
        return grad_hidden_TD, None, grad_weight_A, None, grad_gate_up_EGD, grad_down_EDF, None


def _blocks(sizes: list[int], width: int) -> Iterator[tuple[slice, list[int]]]:
    """Runs of neighbouring experts with at most `_BLOCK` numbers in ``width`` columns, and the pairs of each."""
    first, pairs = 0, 0
    for expert, size in enumerate(sizes):
        if expert > first and (pairs + size) * width > _BLOCK:
            yield slice(first, expert), sizes[first:expert]
            first, pairs = expert, 0
        pairs += size
    yield slice(first, len(sizes)), sizes[first:]


def _cut(pairs_A: Tensor, blocks: list[tuple[slice, list[int]]]) -> tuple[Tensor, ...]:
    return pairs_A.split([sum(rows) for _, rows in blocks])


def _products(rows_NI: Tensor, weight_EIO: Tensor, rows: list[int]) -> Tensor:
    """Each expert's rows times its matrix: (N, I), (E, I, O) -> (N, O).

    A few rows an expert are padded to one batched product, whose matrices the cores share out; many are not.
    """
    longest = max(rows)
    if len(rows_NI) <= _FEW and 0 < longest * len(rows) <= 2 * len(rows_NI):
        slots_N = _slots(tuple(rows), longest).to(rows_NI.device)
        padded_EMI = rows_NI.new_zeros(len(rows) * longest, rows_NI.shape[1]).index_copy_(0, slots_N, rows_NI)
        return torch.bmm(padded_EMI.view(len(rows), longest, -1), weight_EIO).flatten(0, 1).index_select(0, slots_N)
    out_NO = rows_NI.new_empty(len(rows_NI), weight_EIO.shape[-1])
    for left, right, out in zip(rows_NI.split(rows), weight_EIO.unbind(), out_NO.split(rows), strict=True):
        torch.mm(left, right, out=out)
    return out_NO


@functools.lru_cache(maxsize=64)
def _slots(rows: tuple[int, ...], longest: int) -> Tensor:
    """(N,) place of each row where every expert's rows are padded to ``longest``."""
    return torch.cat([torch.arange(count) + expert * longest for expert, count in enumerate(rows)])


def _outer_products(left_NO: Tensor, right_NI: Tensor, rows: list[int], out_EOI: Tensor) -> None:
    """Each expert's sum over its rows of left times right, zero without a row; written into ``out_EOI``."""
    for left, right, out in zip(left_NO.split(rows), right_NI.split(rows), out_EOI.unbind(), strict=True):
        torch.mm(left.T, right, out=out)


def _grouped(
    hidden_TD: Tensor, token_A: Tensor, weight_A: Tensor, sizes_E: Tensor, gate_up_EGD: Tensor, down_EDF: Tensor
) -> Tensor:
    """The same by torch's grouped matrix product, which has a backward pass of its own."""
    ends_E = sizes_E.cumsum(0).int()
    hidden_AD = hidden_TD.index_select(0, token_A)
    gate_AF, up_AF = functional.grouped_mm(hidden_AD, gate_up_EGD.mT, offs=ends_E).chunk(2, dim=-1)
    inner_AF = (functional.silu(gate_AF) * up_AF * weight_A[:, None]).to(hidden_TD.dtype)
    out_AD = functional.grouped_mm(inner_AF, down_EDF.mT, offs=ends_E)
    return torch.zeros_like(hidden_TD).index_add(0, token_A, out_AD)


def _grouped_is_fast(hidden_TD: Tensor, down_EDF: Tensor) -> bool:
    """Whether torch has a grouped kernel for these: bfloat16, rows of whole 16 bytes, compute capability 8 or more."""
    aligned = all(side % 8 == 0 for side in down_EDF.shape[1:])
    return hidden_TD.is_cuda and hidden_TD.dtype == torch.bfloat16 and aligned and _capability(hidden_TD.device) >= 8


@functools.cache
def _capability(device: torch.device) -> int:
    return torch.cuda.get_device_capability(device)[0]
