"""Whether a set of embeddings still tells things apart, and how far text and pictures lie from each other.

Ranks alone do not show a collapse: ties are ordered, so a dead model merely looks bad. For N unit vectors x:

    mean cosine     (|sum x|^2 - N) / (N (N - 1))
    effective rank  exp(H(p)),  p = singular values of the centred vectors over their sum (Roy and Vetterli, 2007)
    uniformity      log mean over pairs of exp(-2 |x - y|^2), 0 for one point, lower is more even (Wang and Isola, 2020)
    modality gap    |mean text - mean picture| (Liang et al., 2022)

[R]: the thresholds below. A mean cosine of .99 is no collapse by itself: untrained language models have it, and what is
left of the vectors after their mean may rank well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

CONSTANT: Final = 0.9999
"""Mean cosine from which all vectors count as one."""
FLAT: Final = 2.0
"""Effective rank up to which they count as lying on a line."""
_SAMPLE: Final = 2000
_DECIMALS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Health:
    """What one set of vectors looks like."""

    vectors: int
    dim: int
    distinct: float
    """Share of different vectors, at six decimals. Equal titles give equal vectors, so this alone is no sign."""
    mean_cosine: float
    effective_rank: float
    """At most min(N - 1, D)."""
    uniformity: float
    collapsed: bool
    reasons: list[str]
    """One sentence for each sign of a collapse."""


def health(vectors_ND: Vectors, seed: int = 0) -> Health | None:
    """Measures a set of vectors, a sample of 2,000 where there are more; None for fewer than two.

    Zero vectors, which stand for what could not be embedded, are left out.
    """
    vectors_ND = vectors_ND[np.any(vectors_ND != 0, axis=1)]
    if len(vectors_ND) < 2:
        return None
    total = len(vectors_ND)
    if total > _SAMPLE:
        vectors_ND = vectors_ND[np.random.default_rng(seed).choice(total, _SAMPLE, replace=False)]
    unit_ND = vectors_ND.astype(np.float64)
    unit_ND /= np.linalg.norm(unit_ND, axis=1, keepdims=True)
    count = len(unit_ND)
    cosine = float((np.square(unit_ND.sum(axis=0)).sum() - count) / (count * (count - 1)))
    rank = _effective_rank(unit_ND)
    reasons = [
        sentence
        for sign, sentence in (
            (cosine >= CONSTANT, f"all vectors are nearly one: mean cosine {cosine:.5f}"),
            (
                rank <= FLAT < min(count, unit_ND.shape[1]) / 2,
                f"all vectors lie near a line: effective rank {rank:.2f}",
            ),
        )
        if sign
    ]
    return Health(
        vectors=total,
        dim=unit_ND.shape[1],
        distinct=len(np.unique(np.round(unit_ND, _DECIMALS), axis=0)) / count,
        mean_cosine=cosine,
        effective_rank=rank,
        uniformity=_uniformity(unit_ND),
        collapsed=bool(reasons),
        reasons=reasons,
    )


def modality_gap(text_ND: Vectors, image_ND: Vectors) -> dict[str, float] | None:
    """Distance of the means, and the mean cosine of matched and of mismatched pairs; row i of both is one product.

    None for fewer than two products that have both.
    """
    both = np.any(text_ND != 0, axis=1) & np.any(image_ND != 0, axis=1)
    count = int(both.sum())
    if count < 2:
        return None
    text, image = text_ND[both].astype(np.float64), image_ND[both].astype(np.float64)
    matched = float(np.einsum("nd,nd->n", text, image).mean())
    every = float(text.mean(axis=0) @ image.mean(axis=0))
    return {
        "distance": float(np.linalg.norm(text.mean(axis=0) - image.mean(axis=0))),
        "matched_cosine": matched,
        "mismatched_cosine": (every * count - matched) / (count - 1),
    }


def _effective_rank(unit_ND: npt.NDArray[np.float64]) -> float:
    centred_ND = unit_ND - unit_ND.mean(axis=0)
    wide = centred_ND.shape[0] < centred_ND.shape[1]
    squares = np.linalg.eigvalsh(centred_ND @ centred_ND.T if wide else centred_ND.T @ centred_ND)
    values = np.sqrt(np.clip(squares, 0, None))
    total = values.sum()
    if total < 1e-6:
        return 0.0
    share = values[values > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def _uniformity(unit_ND: npt.NDArray[np.float64]) -> float:
    count = len(unit_ND)
    kernel = np.exp(4 * (np.clip(unit_ND @ unit_ND.T, -1, 1) - 1))  # -2 |x - y|^2 = 4 (x.y - 1)
    return float(np.log((kernel.sum() - np.trace(kernel)) / (count * (count - 1))))
