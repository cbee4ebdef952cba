"""InfoNCE over in-batch and mined negatives (MOON, spatial-temporal negative sampling, steps 1 and 2).

Shapes: Q queries, P candidate products (the Q positives first, then the mined negatives), D width.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(queries_QD: Tensor, candidates_PD: Tensor, masked_QP: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``-log exp(q.p/t) / (exp(q.p/t) + sum_n exp(q.n/t))``, averaged over queries; candidate i is query i's positive.

    Args:
        queries_QD: unit query vectors.
        candidates_PD: unit product vectors, P >= Q.
        masked_QP: True where a candidate is no negative of a query; never on the diagonal.
        temperature: t above.

    Returns:
        The loss and the share of queries whose positive scores highest, both scalars.

    Raises:
        ValueError: fewer candidates than queries, or a masked positive.
    """
    queries = len(queries_QD)
    if len(candidates_PD) < queries:
        raise ValueError(f"{queries} queries need at least as many candidates, got {len(candidates_PD)}")
    target_Q = torch.arange(queries, device=queries_QD.device)
    if masked_QP[target_Q, target_Q].any():
        raise ValueError("a query's own positive must not be masked")
    logits_QP = (queries_QD @ candidates_PD.T).float() / temperature
    logits_QP = logits_QP.masked_fill(masked_QP, float("-inf"))
    accuracy = logits_QP.detach().argmax(1).eq(target_Q).float().mean()
    return functional.cross_entropy(logits_QP, target_Q), accuracy


def false_negative_mask(purchases: Sequence[Set[str]], candidate_ids: Sequence[str]) -> Tensor:
    """(Q, P) mask of candidates bought for the same query, the positive itself at position i excepted."""
    mask_QP = torch.tensor([[candidate in bought for candidate in candidate_ids] for bought in purchases])
    mask_QP.fill_diagonal_(False)
    return mask_QP
