"""Fits the learned detector: a linear map from a picture's description to the IoU of every candidate box.

The target is the measure itself: for each candidate box the IoU with the best matching true box. Ridge regression on
the leading principal components of these targets (reduced-rank regression, Izenman 1975) has a closed form, needs
numpy only, and takes seconds for thousands of pictures. [R]: the features, the candidates and the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from moon.vision.detectors.features import SIZE, part_weights
from moon.vision.detectors.learned import LearnedWeights, best_overlap, candidates

Array = npt.NDArray[np.float32]

RIDGES: Final = (0.001, 0.003, 0.01, 0.03)
"""Ridge strengths tried, as shares of the number of rows."""
RANK: Final = 64
"""Principal components of the targets that are fitted."""
_FOLDS: Final = 3
_BASIS_ROWS: Final = 1500
_MIN_PICTURES: Final = 20


def mirrored(boxes: Array) -> Array:
    """Relative boxes [N, 4] of the mirrored picture."""
    flipped: Array = boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], dtype=np.float32)
    return flipped + np.array([1, 0, 1, 0], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Weights, and how the ridge strength was chosen."""

    weights: LearnedWeights
    ridge: float
    held_out_iou: float
    """Mean IoU of the best candidates of held-out pictures."""


def fit(descriptions: Array, truths: Sequence[Array], groups: Sequence[str]) -> Fitted:
    """Fits on pictures with known boxes; the ridge strength is chosen by cross-validation over the groups.

    Args:
        descriptions: [N, 2, D], of each picture and of its mirror image.
        truths: true boxes of each picture, [T, 4] as shares of its sides.
        groups: pictures of one group are never on both sides of a fold.

    Raises:
        ValueError: too few pictures.
    """
    if len(descriptions) < _MIN_PICTURES:
        raise ValueError(
            f"{len(descriptions)} pictures with known boxes, expected at least {_MIN_PICTURES} to learn from"
        )
    boxes = candidates()
    targets = np.stack(
        [np.stack([best_overlap(boxes, truth), best_overlap(boxes, mirrored(truth))]) for truth in truths]
    )
    fold = fold_of(groups, _FOLDS)
    if len(set(fold.tolist())) < _FOLDS:
        raise ValueError(f"{len(set(groups))} groups of pictures that differ, expected at least {_FOLDS} to learn from")
    overlap = np.zeros(len(RIDGES))
    for held in range(_FOLDS):
        test = fold == held
        for place, weights in enumerate(_solve(descriptions[~test], targets[~test], RIDGES)):
            chosen = weights.predict(descriptions[test, 0]).argmax(axis=1)
            overlap[place] += float(targets[test, 0][np.arange(len(chosen)), chosen].sum())
    best = RIDGES[int(overlap.argmax())]
    weights = next(_solve(descriptions, targets, (best,)))
    return Fitted(weights=weights, ridge=best, held_out_iou=float(overlap.max()) / len(descriptions))


def fold_of(groups: Sequence[str], folds: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """A fold for each picture: whole groups, shuffled, the largest first into the emptiest fold."""
    names, place, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, chosen = np.zeros(folds, dtype=np.intp), np.zeros(len(names), dtype=np.intp)
    for group in order:
        chosen[group] = filled.argmin()
        filled[chosen[group]] += sizes[group]
    found: npt.NDArray[np.intp] = chosen[place]
    return found


def _solve(descriptions: Array, targets: Array, ridges: Sequence[float]) -> Iterator[LearnedWeights]:
    """The weights for each ridge strength."""
    x = descriptions.reshape(-1, SIZE)
    y = targets.reshape(len(x), -1)
    centre, average = x.mean(axis=0), y.mean(axis=0)
    scale = part_weights() / (x.std(axis=0) + 1e-6)
    basis = _principal(y - average)
    x_scaled = (x - centre) * scale
    y_reduced = (y - average) @ basis.T
    for weights in _ridge(x_scaled, y_reduced, ridges):
        yield LearnedWeights(centre=centre, weights=scale[:, None] * weights, basis=basis, average=average)


def _ridge(x: Array, y: Array, ridges: Sequence[float]) -> Iterator[Array]:
    """Ridge regression [D, R] of y [N, R] on x [N, D], by the Gram matrix of the shorter side of x."""
    wide = len(x) < x.shape[1]
    gram, right = (x @ x.T, y) if wide else (x.T @ x, x.T @ y)
    for ridge in ridges:
        solved = np.linalg.solve(gram + ridge * len(x) * np.eye(len(gram), dtype=gram.dtype), right)
        yield x.T @ solved if wide else solved


def _principal(y: Array) -> Array:
    """The leading principal directions of rows [N, K]: [rank, K]."""
    rows = y[:: max(1, len(y) // _BASIS_ROWS)]
    _, vectors = np.linalg.eigh(rows @ rows.T)
    leading = rows.T @ vectors[:, ::-1][:, : min(RANK, len(rows))]
    basis: Array = (leading / np.maximum(np.linalg.norm(leading, axis=0), 1e-6)).T
    return basis
