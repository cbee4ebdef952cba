"""Where tokens and patches stand, computed from the sizes of the pictures alone and kept for each size.

The backbones derive the same numbers with a Python loop over every picture of every batch; a catalogue has few sizes.

Shapes: S tokens of an item's pictures, P patches, V merged patches, of one picture or of all pictures of a batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of a picture, in patches or merged patches."""


@lru_cache(maxsize=4096)
def token_positions(grids: tuple[Grid, ...]) -> tuple[NDArray[np.int64], int]:
    """Rotary positions (time, row, column) of pictures one after another, each with its start and end token.

    Args:
        grids: rows and columns of each picture in merged patches.

    Returns:
        (3, S) positions and the position of the token that follows.
    """
    parts: list[NDArray[np.int64]] = [np.empty((3, 0), np.int64)]
    place = 0
    for rows, columns in grids:
        end = place + 1 + max(rows, columns)
        parts += [
            np.full((3, 1), place),
            np.indices((1, rows, columns)).reshape(3, -1) + place + 1,
            np.full((3, 1), end),
        ]
        place = end + 1
    return np.concatenate(parts, axis=1), place


@dataclass(frozen=True)
class VisionLayout:
    """The order in which a vision tower reads the patches of a batch, and which of them attend to each other."""

    position_ids_P2: Tensor
    """Row and column of each patch, in the tower's order."""
    window_index_V: Tensor
    """The merged patches in the tower's order; a window's stand together."""
    pictures: Tensor
    """Bounds of the pictures, in patches, ascending from 0; int32."""
    windows: Tensor
    """Bounds of the windows, likewise."""
    reordered: bool
    """Whether ``window_index_V`` changes anything."""


def vision_layout(grids: Sequence[Grid], merge: int, window: int) -> VisionLayout:
    """The layout of pictures one after another.

    Args:
        grids: rows and columns of each picture in patches, multiples of ``merge``.
        merge: side of a merged patch, in patches.
        window: side of an attention window, in merged patches; 0 makes each picture one window.
    """
    positions, orders, pictures, windows = [], [], [], []
    seen = 0
    for grid, group in itertools.groupby(grids):
        number = len(list(group))
        position_P2, order_V, lengths = _picture(*grid, merge, window)
        starts = seen + len(order_V) * np.arange(number)[:, None]
        positions.append(np.tile(position_P2, (number, 1)))
        orders.append((order_V + starts).ravel())
        pictures += [len(position_P2)] * number
        windows += list(lengths) * number
        seen += len(order_V) * number
    index_V = np.concatenate(orders)
    return VisionLayout(
        position_ids_P2=torch.from_numpy(np.concatenate(positions)),
        window_index_V=torch.from_numpy(index_V),
        pictures=_bounds(pictures),
        windows=_bounds(windows),
        reordered=bool((np.diff(index_V) != 1).any()),
    )


@lru_cache(maxsize=4096)
def _picture(
    rows: int, columns: int, merge: int, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, ...]]:
    """Positions of the patches and order of the merged patches of one picture, and the lengths of its windows."""
    tall, wide = rows // merge, columns // merge
    index = np.arange(tall * wide).reshape(tall, wide)
    side = window or max(tall, wide)
    blocks = [
        index[row : row + side, column : column + side].ravel()
        for row in range(0, tall, side)
        for column in range(0, wide, side)
    ]
    order_V = np.concatenate(blocks)
    places = np.indices((rows, columns)).reshape(2, tall, merge, wide, merge).transpose(1, 3, 2, 4, 0)
    position_P2 = places.reshape(tall * wide, merge * merge, 2)[order_V].reshape(-1, 2)
    return position_P2, order_V, tuple(len(block) * merge * merge for block in blocks)


def _bounds(lengths: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32))
