"""InfoNCE: the positive of each anchor against its negatives.

    l = -log( exp(a.p/t) / (exp(a.p/t) + sum_n exp(a.n/t)) )

It is the loss of MOON (query -> product) and of both levels of MOON2.0 (inter- and intra-product). Anchors are scored
in chunks, and a chunk is scored again in the backward pass, so that memory grows with chunk x candidates only.

Legend: A anchors, X candidates, C anchors of a chunk, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from moon.training.objectives.negatives import Negatives

CHUNK_ROWS = 1024


class Contrast(NamedTuple):
    """What came out for each anchor; only the loss has a gradient."""

    loss_A: Tensor
    """InfoNCE; 0 for an anchor without negatives."""
    positive_A: Tensor
    """Similarity to its positive."""
    hardest_A: Tensor
    """Similarity to the most similar negative; -inf without one."""
    mined_A: Tensor
    """Similarity to the most similar of the mined negatives; -inf without one."""
    negatives_A: Tensor
    """Number of negatives."""


def contrast(
    anchors_AD: Tensor, candidates_XD: Tensor, target_A: Tensor, negatives: Negatives, temperature: Tensor
) -> Contrast:
    """Scores each anchor against its positive and its negatives.

    Args:
        anchors_AD: (A, D) float32 vectors; their dot products are the similarities.
        candidates_XD: (X, D) float32 vectors.
        target_A: (A,) column of each anchor's positive.
        negatives: of each anchor among the columns.
        temperature: scalar t above.
    """
    chunks = []
    for start in range(0, max(len(anchors_AD), 1), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        given = anchors_AD[rows], candidates_XD, target_A[rows], negatives, start, temperature
        whole = len(anchors_AD) <= CHUNK_ROWS
        chunks.append(
            _contrast(*given) if whole else checkpoint(_contrast, *given, use_reentrant=False, preserve_rng_state=False)
        )
    return Contrast(*(torch.cat(column) for column in zip(*chunks, strict=True)))


def _contrast(
    anchors_CD: Tensor, candidates_XD: Tensor, target_C: Tensor, negatives: Negatives, start: int, temperature: Tensor
) -> Contrast:
    target_C1 = target_C[:, None]
    allowed_CX, mined_CX = negatives.masks(start, start + len(anchors_CD), anchors_CD.device)
    logits_CX = (anchors_CD / temperature) @ candidates_XD.T
    seen_CX, t = logits_CX.detach(), temperature.detach()
    hardest_C = seen_CX.masked_fill(~allowed_CX, float("-inf")).amax(1)
    mined_C = seen_CX.masked_fill(~mined_CX, float("-inf")).amax(1)
    positive_C = seen_CX.gather(1, target_C1).squeeze(1)
    logits_CX = logits_CX.masked_fill((~allowed_CX).scatter(1, target_C1, False), float("-inf"))
    loss_C = functional.cross_entropy(logits_CX, target_C, reduction="none")
    return Contrast(loss_C, positive_C * t, hardest_C * t, mined_C * t, allowed_CX.sum(1))
