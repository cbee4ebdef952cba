"""The best k of many scores as sorted integers: a score and its row in one 64-bit key.

Keys order as results do: score descending, then row ascending. So a partial sort of keys needs no second look at ties,
and the best of several disjoint parts of a gallery merge into exactly the best of the whole.

Legend: Q queries, K results a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

EMPTY = np.iinfo(np.int64).min
"""Key of no result; below every other."""
MAX_ROWS = 2**32 - 1
_LOW = np.int64(0xFFFFFFFF)
_MAGNITUDE = np.int32(0x7FFFFFFF)


def encode(scores: Scores, rows: Rows) -> Keys:
    """Scores and rows (below `MAX_ROWS`) as keys."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 makes -0 equal 0
    ordered = bits ^ ((bits >> 31) & _MAGNITUDE)
    return (ordered.astype(np.int64) << 32) | (_LOW - rows)


def decode(keys: Keys) -> tuple[Scores, Rows]:
    """The scores and rows of keys; `EMPTY` is score -inf and row -1."""
    ordered = (keys >> 32).astype(np.int32)
    scores = (ordered ^ ((ordered >> 31) & _MAGNITUDE)).view(np.float32)
    rows = _LOW - (keys & _LOW)
    empty = keys == EMPTY
    return np.where(empty, np.float32(-np.inf), scores), np.where(empty, np.int64(-1), rows)


def best(keys_QC: Keys, k: int) -> Keys:
    """The k largest keys of each row, largest first; `EMPTY` where a row has fewer."""
    missing = k - keys_QC.shape[1]
    if missing > 0:
        keys_QC = np.pad(keys_QC, ((0, 0), (0, missing)), constant_values=EMPTY)
    elif missing < 0:
        keys_QC = np.partition(keys_QC, -missing, axis=1)[:, -missing:]
    return np.sort(keys_QC, axis=1)[:, ::-1]


def merge(parts: Sequence[tuple[Scores, Rows]], k: int) -> tuple[Scores, Rows]:
    """The k best of several disjoint parts of a gallery.

    Args:
        parts: scores (Q, K) and rows (Q, K) of each part; rows count over the whole gallery, -1 is no result.
        k: results a query.

    Returns:
        Scores (Q, k) and rows (Q, k), as one search of the whole gallery gives them.
    """
    keys = [np.where(rows < 0, EMPTY, encode(scores, rows)) for scores, rows in parts]
    return decode(best(np.concatenate(keys, axis=1), k))
