"""The domain classifier: can a linear classifier tell the window's embeddings from the reference's?

The p-value comes from the classifier fitted on all rows, which needs one factorisation for all dealings of the
labels and finds more than held-out accuracy does; the effect is the AUC on held-out folds, which a reader can judge.

All tests of a window share one matrix of features; a test of some rows, such as those of one category, holds no copy.

Legend: N rows, K rows of one test, G groups, D embedding dimensions, F features, B dealings of the labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from moon.monitoring.permutation import Statistic

_COMPONENTS: Final = 256
"""Leading principal coordinates that are features; longer embeddings vary little beyond."""
_SPREAD_FEATURES: Final = 32
"""Leading principal components whose distance from the mean is a feature too: it shows a change of spread that
leaves the mean where it was."""
_RIDGE: Final = 0.1
"""Ridge penalty as a share of the features' mean variance."""
_FOLDS: Final = 5
_CHUNK: Final = 8192
"""Rows that are worked on at once."""
_DECIMALS: Final = 4
"""The features are float32; what differs less than this between dealings is rounding."""


def domain_features(vectors_ND: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The classifier's features, blind to the labels: principal coordinates and their absolute values, float32 [N, F].

    Args:
        vectors_ND: L2-normalised embeddings.
        strata: [N] group of each row; features are centred in each group, so that a change in the mix of the groups
            alone tells the classifier nothing.
    """
    codes, means_GD = _group_means(vectors_ND, np.arange(len(vectors_ND)), strata)
    covariance_DD = np.zeros((vectors_ND.shape[1], vectors_ND.shape[1]))
    for chunk in _chunks(np.arange(len(vectors_ND))):
        part = (vectors_ND[chunk] - means_GD[codes[chunk]]).astype(np.float32)
        covariance_DD += part.T @ part
    axes_DC = np.linalg.eigh(covariance_DD)[1][:, ::-1][:, :_COMPONENTS].astype(np.float32)
    kept, spread = axes_DC.shape[1], min(_SPREAD_FEATURES, axes_DC.shape[1])
    features_NF = np.empty((len(vectors_ND), kept + spread), np.float32)
    for chunk in _chunks(np.arange(len(vectors_ND))):
        features_NF[chunk, :kept] = (vectors_ND[chunk] - means_GD[codes[chunk]]).astype(np.float32) @ axes_DC
        features_NF[chunk, kept:] = np.abs(features_NF[chunk, :spread])
    features_NF[:, :kept] /= max(float(np.sqrt(np.trace(covariance_DD) / vectors_ND.size)), 1e-9)
    for column in range(kept, kept + spread):
        deviation = float(features_NF[:, column].std(dtype=np.float64))
        features_NF[:, column] /= deviation if deviation > 1e-9 else 1.0
    return features_NF


def domain_statistic(features_NF: np.ndarray, rows: np.ndarray, strata: np.ndarray) -> Statistic:
    """The labels' variance within the groups that a ridge fit on the features explains, as a share, times the rows.

    Args:
        features_NF: features of all rows.
        rows: [K] the rows of this test.
        strata: [N] group of each row; the features are centred in each group, so they see of the labels only what
            differs within the groups.
    """
    codes, means_GF = _group_means(features_NF, rows, strata)
    lower_FF = np.linalg.cholesky(_gram(features_NF, rows, codes, means_GF))
    sizes_G1 = np.bincount(codes)[:, None].astype(np.float64)

    def statistic(labels_NB: np.ndarray) -> np.ndarray:
        products_FB = np.zeros((features_NF.shape[1], labels_NB.shape[1]))
        ones_GB = np.zeros((len(sizes_G1), labels_NB.shape[1]))
        for place in _chunks(np.arange(len(rows))):
            labels_KB = labels_NB[rows[place]].astype(np.float32, copy=False)
            products_FB += features_NF[rows[place]].T @ labels_KB
            ones_GB += _members(codes[place], len(sizes_G1)).T @ labels_KB
        products_FB -= means_GF.T @ ones_GB
        explained_B = (np.linalg.solve(lower_FF, products_FB) ** 2).sum(axis=0)
        variance_B = (ones_GB * (1 - ones_GB / sizes_G1)).sum(axis=0)
        return np.round(len(rows) * explained_B / np.where(variance_B > 0, variance_B, 1.0), _DECIMALS)

    return statistic


def domain_auc(
    features_NF: np.ndarray, rows: np.ndarray, labels: np.ndarray, strata: np.ndarray, rng: np.random.Generator
) -> float:
    """Cross-validated AUC of the classifier on ``rows``: 0.5 cannot tell (as does less), 1 always tells.

    Pairs of a reference row and a window row count within their group; 0.5 where no group has both. Equal rows share
    a fold: a request that came in both windows would otherwise teach its own held-out copy the wrong label.
    """
    features_KF, groups = features_NF[rows], strata[rows]
    known = labels[rows]
    folds = _folds(features_KF, rng)
    scores = np.empty(len(rows))
    for fold in range(_FOLDS):
        held = folds == fold
        train = np.flatnonzero(~held)
        codes, means_GF = _group_means(features_KF, train, groups)
        target = known[train] - (np.bincount(codes, weights=known[train]) / np.bincount(codes))[codes]
        products_F = sum(
            features_KF[train[place]].T @ target[place].astype(np.float32) for place in _chunks(np.arange(len(train)))
        )
        weights_F = np.linalg.solve(_gram(features_KF, train, codes, means_GF), products_F)
        scores[held] = features_KF[held] @ weights_F
    won = pairs = 0.0
    for group in np.unique(groups):
        members = groups == group
        group_won, group_pairs = _pairs_won(scores[members], known[members] == 1)
        won, pairs = won + group_won, pairs + group_pairs
    return won / pairs if pairs else 0.5


def _folds(features_KF: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fold for each row; rows that agree to three decimals have one value on a random axis, and one fold."""
    axis_F = rng.integers(1, 2**31, features_KF.shape[1])
    keys = np.empty(len(features_KF), np.int64)
    for place in _chunks(np.arange(len(keys))):
        keys[place] = np.rint(1000 * features_KF[place]).astype(np.int64) @ axis_F
    _, same = np.unique(keys, return_inverse=True)
    return np.asarray(rng.permutation(int(same.max()) + 1)[same] % _FOLDS)


def _pairs_won(scores: np.ndarray, positive: np.ndarray) -> tuple[float, int]:
    """Pairs of a positive and a negative that the scores order right, ties half, and the number of pairs."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], side="left")
    not_above = np.searchsorted(negatives, scores[positive], side="right")
    return float((below + not_above).sum()) / 2, len(negatives) * int(positive.sum())


def _gram(features_NF: np.ndarray, rows: np.ndarray, codes: np.ndarray, means_GF: np.ndarray) -> np.ndarray:
    """Products of the centred features, with the ridge penalty, float64 [F, F]."""
    gram_FF = np.zeros((features_NF.shape[1], features_NF.shape[1]))
    for place in _chunks(np.arange(len(rows))):
        centred = features_NF[rows[place]] - means_GF[codes[place]].astype(np.float32)
        gram_FF += centred.T @ centred
    penalty = _RIDGE * max(float(np.trace(gram_FF)) / len(gram_FF), 1e-9)
    return np.asarray(gram_FF + penalty * np.eye(len(gram_FF)))


def _group_means(values_NF: np.ndarray, rows: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the group of each of ``rows`` [K], and the groups' means over them, float64 [G, F]."""
    names, codes = np.unique(strata[rows], return_inverse=True)
    totals_GF = np.zeros((len(names), values_NF.shape[1]))
    for place in _chunks(np.arange(len(rows))):
        totals_GF += _members(codes[place], len(names)).T @ values_NF[rows[place]].astype(np.float64)
    return codes, totals_GF / np.bincount(codes)[:, None]


def _members(codes: np.ndarray, groups: int) -> np.ndarray:
    return (codes[:, None] == np.arange(groups)).astype(np.float32)


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
