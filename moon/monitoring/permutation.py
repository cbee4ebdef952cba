"""Permutation tests that share their permutations, and the step-down that adjusts them for one another.

If the two windows come from the same traffic, every way of dealing the labels "reference" and "window" to the rows
is as likely as the one observed. A test is any function of the labels whose large values speak for drift; its
p-value is the share of dealings that give at least the observed value. All tests see the same dealings, so the
largest score over all tests has a known distribution too, whatever the dependence between the tests.

Legend: N rows, B dealings in a block, P dealings in all (the first one observed), T tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Labels [N, B] of 0 (reference) and 1 (window) -> statistics [B]; larger speaks for drift."""

_BLOCK_CELLS: Final = 4_000_000
"""Labels held at once; bounds memory whatever the number of rows."""
_DECIMALS: Final = 9
"""Statistics closer than this are ties, so that rounding in a sum never decides a p-value."""


def permuted_statistics(
    statistics: Sequence[Statistic], labels: np.ndarray, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Every statistic on the observed labels and on ``permutations`` shuffles of them.

    Args:
        statistics: the tests.
        labels: [N] of 0 and 1.
        permutations: number of shuffles.
        rng: decides the shuffles.

    Returns:
        float64 [T, 1 + permutations]; column 0 is the observed one.
    """
    blocks = [
        np.stack([statistic(block) for statistic in statistics]) for block in _label_blocks(labels, permutations, rng)
    ]
    return np.round(np.concatenate(blocks, axis=1), _DECIMALS)


def _label_blocks(labels: np.ndarray, permutations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Labels as float32 [N, B]; the first column of the first block is the observed one."""
    width = max(1, _BLOCK_CELLS // len(labels))
    for start in range(0, permutations + 1, width):
        block_BN = np.tile(labels.astype(np.uint8), (min(width, permutations + 1 - start), 1))
        skip = 1 if start == 0 else 0
        block_BN[skip:] = rng.permuted(block_BN[skip:], axis=1)
        yield np.ascontiguousarray(block_BN.T, dtype=np.float32)


def p_values(table_TP: np.ndarray) -> np.ndarray:
    """The p-value of every dealing under every test: the share of dealings with at least its statistic, [T, P]."""
    count = table_TP.shape[1]
    return np.stack([(count - np.searchsorted(np.sort(row), row, side="left")) / count for row in table_TP])


def scores(table_TP: np.ndarray) -> np.ndarray:
    """Every statistic on one scale, about standard normal over the dealings, [T, P].

    Wilson and Hilferty's cube root for a gamma variable of the row's mean and variance. p-values would not do: with
    999 shuffles none is below 1/1000, and the smallest of twenty is that by chance in one case of fifty.
    Mean and variance are those of all dealings, so the columns stay exchangeable.
    """
    mean_T1, variance_T1 = table_TP.mean(axis=1, keepdims=True), table_TP.var(axis=1, keepdims=True)
    varies = (mean_T1 > 0) & (variance_T1 > 1e-12 * mean_T1**2)
    spread_T1 = np.where(varies, variance_T1, 1.0) / (9 * np.where(varies, mean_T1, 1.0) ** 2)
    roots_TP = np.cbrt(table_TP / np.where(varies, mean_T1, 1.0))
    return np.round(np.where(varies, (roots_TP - (1 - spread_T1)) / np.sqrt(spread_T1), 0.0), _DECIMALS)


def step_down(scores_TP: np.ndarray) -> np.ndarray:
    """Adjusted p-values [T] of the observed dealing (column 0) by the step-down maxT procedure.

    Rejecting where the adjusted value is at most alpha gives a false alarm in at most a share alpha of the windows
    that are like the reference: exact for any sample size, since column 0 is then one of P exchangeable columns
    (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 4.1).

    Args:
        scores_TP: larger speaks for drift, and means as much in each row.
    """
    order = np.argsort(-scores_TP[:, 0], kind="stable")
    largest_TP = np.maximum.accumulate(scores_TP[order][::-1], axis=0)[::-1]
    stepped = (largest_TP >= scores_TP[order, :1]).mean(axis=1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted
