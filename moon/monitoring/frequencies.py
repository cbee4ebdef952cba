"""Chi-square test of one column of names: modality, category. By permutation, so rare names do no harm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moon.monitoring.permutation import Statistic


def chi_square_statistic(names: Sequence[str | None]) -> Statistic:
    """Pearson's chi-square of the names against the labels; None marks rows the test leaves out."""
    onehot_NC = _onehot(names)

    def statistic(labels_NB: np.ndarray) -> np.ndarray:
        return _chi_square(onehot_NC, labels_NB)

    return statistic


def cramers_v(names: Sequence[str | None], labels: np.ndarray) -> float:
    """Strength of the association between names and labels, 0 (none) to 1 (the name tells the window)."""
    onehot_NC = _onehot(names)
    known = onehot_NC.sum()
    return float(np.sqrt(_chi_square(onehot_NC, labels[:, None].astype(np.float64))[0] / known)) if known else 0.0


def _onehot(names: Sequence[str | None]) -> np.ndarray:
    known = sorted({name for name in names if name is not None})
    columns = {name: column for column, name in enumerate(known)}
    onehot_NC = np.zeros((len(names), len(known)), dtype=np.float32)
    for row, name in enumerate(names):
        if name is not None:
            onehot_NC[row, columns[name]] = 1.0
    return onehot_NC


def _chi_square(onehot_NC: np.ndarray, labels_NB: np.ndarray) -> np.ndarray:
    counts_C1 = onehot_NC.sum(axis=0, dtype=np.float64)[:, None]
    total = counts_C1.sum()
    ones_CB = (onehot_NC.T @ labels_NB).astype(np.float64)
    share_B = ones_CB.sum(axis=0) / max(total, 1.0)
    spread_B = share_B * (1 - share_B)
    deviation_B = ((ones_CB - counts_C1 * share_B) ** 2 / np.maximum(counts_C1, 1.0)).sum(axis=0)
    return np.asarray(deviation_B / np.where(spread_B > 0, spread_B, 1.0))
