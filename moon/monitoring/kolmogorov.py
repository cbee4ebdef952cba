"""Two-sample Kolmogorov-Smirnov test of one number: the largest gap between the two cumulative shares."""

from __future__ import annotations

import numpy as np

from moon.monitoring.permutation import Statistic


def ks_statistic(values: np.ndarray) -> Statistic:
    """The test of one column.

    Args:
        values: [N] floats; NaN marks rows the test leaves out.

    Returns:
        The gap D times sqrt(n0 n1 / n), which keeps dealings with different counts of known rows comparable.
    """
    order, ends = _sorted_rows(values)

    def statistic(labels_NB: np.ndarray) -> np.ndarray:
        gap_B, spread_B = _gap(labels_NB[order], ends)
        return np.asarray(gap_B * np.sqrt(spread_B))

    return statistic


def ks_distance(values: np.ndarray, labels: np.ndarray) -> float:
    """The largest gap between the cumulative shares, 0 (same) to 1 (disjoint)."""
    order, ends = _sorted_rows(values)
    return float(_gap(labels[order, None].astype(np.float64), ends)[0][0])


def _sorted_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known rows in the order of their values, and the last position of each run of equal values."""
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True)) if len(order) else order
    return order, ends


def _gap(labels_NB: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest gap D of each column of labels in value order, and n0 n1 / n.

    With k rows up to a value, b of them of label 1: b / n1 - (k - b) / n0 = (b - k n1 / n) / (n0 n1 / n).
    """
    count = max(len(labels_NB), 1)
    ones_B = labels_NB.sum(axis=0, dtype=np.float64)
    spread_B = ones_B * (count - ones_B) / count
    excess_EB = np.cumsum(labels_NB, axis=0, dtype=np.float64)[ends]
    excess_EB -= (ends[:, None] + 1) * (ones_B / count)
    largest_B = np.abs(excess_EB, out=excess_EB).max(axis=0, initial=0.0)
    return np.asarray(largest_B / np.where(spread_B > 0, spread_B, 1.0)), spread_B
