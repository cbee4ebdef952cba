"""Sums and rows over processes, with gradient.

Without torch.distributed, or with one process, each function gives back what it got.

Legend: n rows of this process, N rows of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(x_nD: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all processes in rank order, (n, ...) -> (N, ...); their gradients come back added up.

    The backward pass is collective too: either the loss of every process depends on the result or none does, and
    several results must be gathered in the same order. It does not matter whose own rows need a gradient.

    Args:
        x_nD: own rows; everything but the first dimension is the same in every process.
        counts: rows of each process.

    Raises:
        ValueError: ``counts`` does not fit the processes or the own rows.
    """
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if len(counts) != processes or counts[rank] != len(x_nD):
        raise ValueError(f"expected the rows of {processes} processes, {len(x_nD)} of process {rank}; got {counts}")
    if processes == 1:
        return x_nD
    if x_nD.is_floating_point() and not x_nD.requires_grad:
        # Other processes may need a gradient: without one here too, they would wait in the backward pass forever.
        x_nD = x_nD.detach().requires_grad_()
    return _GatherRows.apply(x_nD, tuple(counts), rank)


class _GatherRows(torch.autograd.Function):
    """All-gather of padded rows; backward: all-reduce, then the own rows."""

    @staticmethod
    def forward(ctx: Any, x_nD: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        padded = x_nD.new_zeros(max(counts), *x_nD.shape[1:])
        padded[: len(x_nD)] = x_nD
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient_ND = gradients[0].contiguous().clone()  # the engine may hand the same memory to others
        dist.all_reduce(gradient_ND)
        return gradient_ND.split(ctx.counts)[ctx.rank], None, None


def reduce_sums(parts: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Adds up (sum, weight) of every metric over processes.

    Args:
        parts: metric -> (sum, weight); the same metrics in every process.
    """
    if not dist.is_initialized():
        return dict(parts)
    names = sorted(parts)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    sums = torch.tensor([parts[name] for name in names], dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return {name: (total, weight) for name, (total, weight) in zip(names, sums.tolist(), strict=True)}
