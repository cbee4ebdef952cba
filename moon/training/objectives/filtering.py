"""Dynamic sample filtering (MOON2.0): queries whose positive does not stand out count for less, most of all early on.

    phi = sigmoid( kappa * (s_qp - s_qn - margin) )         w = 1 where phi >= threshold, else phi

``s_qn`` is the similarity to the hardest mined negative of the query or, where it has none, to its hardest negative.
[R]: kappa, the cosine fall of the margin, and the weight of a filtered query; the paper gives the threshold, 0.6, and
says that the margin decays and that filtered queries are down-weighted. w multiplies the loss of the query in both
directions and, unlike a mean over weights, leaves the other queries theirs.

Legend: A query entries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moon.config import ObjectivesParams
from moon.training.objectives.infonce import Contrast


def filter_margin(params: ObjectivesParams, progress: float) -> float:
    """The margin after a share ``progress`` (0 to 1) of training: ``filter_margin`` first, 0 at the end."""
    return params.filter_margin * 0.5 * (1 + math.cos(math.pi * progress))


def filter_weights(scored: Contrast, params: ObjectivesParams, progress: float) -> Tensor:
    """(A,) weight w of each query entry, without gradient; 1 for an entry that has no negative."""
    negative_A = torch.where(scored.mined_A.isfinite(), scored.mined_A, scored.hardest_A)
    lead_A = scored.positive_A - negative_A - filter_margin(params, progress)
    phi_A = torch.sigmoid(params.filter_kappa * lead_A)
    return torch.where(phi_A >= params.filter_threshold, 1.0, phi_A)
