"""The weight of each objective: queries by text, by picture and by both, and alignment within products of two kinds.

Fixed weights follow from the numbers of entries. Learned weights come from the modality-driven experts (MOON2.0): with
p_z the distribution of expert z over the objectives and B_m the items that take part in objective m,

    omega_m = 1/|B_m| sum_{b in B_m} sum_z p_{z,m} G~_{z,b}

[R]: omega is normalised over the M' objectives present in the batch to a mean of 1, and each level is divided by the
number of its objectives present, so that equal omegas give each level's plain mean and, without the intra-product
level, the loss is a weighted mean. In the loss omega is a constant: with a gradient, the cheapest step would be to
shrink the weight of whatever is hard. What trains the matrix instead is its sparsity and a likelihood. omega_m is the
probability that the experts which compute objective m give to m; so the likelihood of the objectives under the experts
is prod_m omega_m, and the term is -1/M' sum_m log omega_m.

Legend: N units, M objectives, V views of a query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moon.model.item import OBJECTIVES, VIEWS
from moon.training.plan import BatchIndex


@dataclass(frozen=True, kw_only=True)
class Members:
    """Who takes part in each of `OBJECTIVES` in this batch.

    Args:
        units: for each objective, the units whose tokens serve it.
        counts: for each objective, its samples: query entries, or products with picture and text.
    """

    units: tuple[Tensor, ...]
    counts: tuple[int, ...]


def members(index: BatchIndex, intra: bool) -> Members:
    """The members of every objective; without ``intra`` nobody takes part in those within products."""
    inter = [index.query_unit[index.query_view == view] for view in range(len(VIEWS))]
    both = aligned(index) if intra else index.own[:0]
    bought = both < len(index.excluded)
    within = [torch.cat([index.text_unit[part], index.image_unit[part]]) for part in (both[bought], both[~bought])]
    return Members(
        units=(*inter, *within),
        counts=(*map(len, inter), int(bought.sum()), int((~bought).sum())),
    )


def aligned(index: BatchIndex) -> Tensor:
    """The candidates whose text alone and whose pictures alone were both embedded."""
    return ((index.text_unit >= 0) & (index.image_unit >= 0)).nonzero().squeeze(1)


def fixed_weights(counts: tuple[int, ...], weighting: str) -> list[float]:
    """Weights that sum to 1 over the objectives of each level; 0 for one that nobody takes part in.

    Args:
        counts: samples of each objective.
        weighting: ``by_count``, so that every query entry counts alike and the loss is their mean; or ``equal``, so
            that every view of a query counts alike, however rare. Within products every sample counts alike.
    """
    inter, intra = counts[: len(VIEWS)], counts[len(VIEWS) :]
    if weighting == "equal":
        inter = tuple(int(count > 0) for count in inter)
    return [count / max(sum(level), 1) for level in (inter, intra) for count in level]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Learned weights, a list of floats without gradient, and the loss that trains them."""

    weights: list[float]
    """What multiplies each objective's mean loss."""
    omega: list[float]
    """omega_m, of mean 1 over the objectives present; 0 for one that is not."""
    unlikelihood: Tensor
    """-1/M' sum_m log omega_m of the un-normalised omegas."""


def learned_weights(objective_NM: Tensor, units: tuple[Tensor, ...]) -> Learned:
    """The weights of MOON2.0's omega.

    Args:
        objective_NM: (N, M) ``sum_z p_{z,m} G~_{z,b}`` of each unit.
        units: of each objective, as in `Members`.
    """
    present = [m for m, part in enumerate(units) if len(part)]
    share_P = torch.stack([objective_NM[units[m], m].mean() for m in present])
    normalised = (share_P.detach() * len(present) / share_P.detach().sum()).tolist()
    omega = [0.0] * len(OBJECTIVES)
    for m, value in zip(present, normalised, strict=True):
        omega[m] = value
    inter = sum(m < len(VIEWS) for m in present)
    sizes = [inter] * len(VIEWS) + [len(present) - inter] * (len(OBJECTIVES) - len(VIEWS))
    return Learned(
        weights=[value / max(size, 1) for value, size in zip(omega, sizes, strict=True)],
        omega=omega,
        unlikelihood=-share_P.clamp(min=torch.finfo(share_P.dtype).tiny).log().mean(),
    )
