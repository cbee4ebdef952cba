"""The domain classifier: can a linear classifier tell the window's embeddings from the reference's?

The p-value comes from the classifier fitted on all rows, which needs one factorisation for all dealings of the
labels and finds more than held-out accuracy does; the effect is the AUC on held-out folds, which a reader can judge.

Legend: N rows, D embedding dimensions, F features, B dealings of the labels.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from moon.monitoring.permutation import Statistic

_SPREAD_FEATURES: Final = 32
"""Leading principal components whose distance from the mean is a feature too: it shows a change of spread that
leaves the mean where it was."""
_RIDGE: Final = 0.1
"""Ridge penalty as a share of the features' mean variance."""
_FOLDS: Final = 5


def domain_features(vectors_ND: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The classifier's features, blind to the labels: embeddings and their absolute principal coordinates, [N, F].

    Args:
        vectors_ND: L2-normalised embeddings.
        strata: [N] group of each row; features are centred in each group, so that a change in the mix of the groups
            alone tells the classifier nothing.
    """
    centred_ND = _centre(vectors_ND, strata)
    _, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    coordinates = np.abs(centred_ND @ axes_DD[:, ::-1][:, :_SPREAD_FEATURES])
    scale = coordinates.std(axis=0)
    spread = _centre(coordinates / np.where(scale > 1e-9, scale, 1.0), strata)
    return np.hstack([centred_ND / max(float(centred_ND.std()), 1e-9), spread])


def domain_statistic(features_NF: np.ndarray, strata: np.ndarray) -> Statistic:
    """Share of the labels' variance within the groups that a ridge fit on the features explains.

    The features are centred in each group, so they see of the labels only what differs within the groups.
    """
    whitened_NF = np.linalg.solve(np.linalg.cholesky(_gram(features_NF)), features_NF.T).T
    members_NG = (strata[:, None] == np.unique(strata)).astype(np.float64)
    sizes_G1 = members_NG.sum(axis=0)[:, None]

    def statistic(labels_NB: np.ndarray) -> np.ndarray:
        explained_B = ((whitened_NF.T @ labels_NB) ** 2).sum(axis=0)
        ones_GB = members_NG.T @ labels_NB
        variance_B = (ones_GB * (1 - ones_GB / sizes_G1)).sum(axis=0)
        return np.asarray(explained_B / np.where(variance_B > 0, variance_B, 1.0))

    return statistic


def domain_auc(features_NF: np.ndarray, labels: np.ndarray, strata: np.ndarray, rng: np.random.Generator) -> float:
    """Cross-validated AUC of the classifier: 0.5 cannot tell (as does less), 1 always tells.

    Pairs of a reference row and a window row count within their group; 0.5 where no group has both. Equal rows share
    a fold: a request that came in both windows would otherwise teach its own held-out copy the wrong label.
    """
    _, same = np.unique(features_NF.round(3), axis=0, return_inverse=True)
    folds = rng.permutation(int(same.max()) + 1)[same] % _FOLDS
    scores = np.empty(len(labels))
    for fold in range(_FOLDS):
        held = folds == fold
        train_NF, groups = features_NF[~held], strata[~held]
        target = _centre(labels[~held, None].astype(np.float64), groups)
        scores[held] = features_NF[held] @ np.linalg.solve(_gram(train_NF), train_NF.T @ target)[:, 0]
    won = pairs = 0.0
    for group in np.unique(strata):
        rows = strata == group
        group_won, group_pairs = _pairs_won(scores[rows], labels[rows] == 1)
        won, pairs = won + group_won, pairs + group_pairs
    return won / pairs if pairs else 0.5


def _pairs_won(scores: np.ndarray, positive: np.ndarray) -> tuple[float, int]:
    """Pairs of a positive and a negative that the scores order right, ties half, and the number of pairs."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], side="left")
    not_above = np.searchsorted(negatives, scores[positive], side="right")
    return float((below + not_above).sum()) / 2, len(negatives) * int(positive.sum())


def _gram(features_NF: np.ndarray) -> np.ndarray:
    gram = features_NF.T @ features_NF
    penalty = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9)
    return np.asarray(gram + penalty * np.eye(len(gram)))


def _centre(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Takes the mean of each group from its rows, column by column."""
    centred = np.array(values, dtype=np.float64)
    for group in np.unique(strata):
        rows = strata == group
        centred[rows] -= centred[rows].mean(axis=0)
    return centred
