"""Vectors in a ``.npy`` file: written a chunk at a time, opened as a memory map, read without keeping pages.

Legend: N vectors, D dimensions, n rows of a chunk.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_CHECK_ROWS = 8192


def write_vectors(path: Path, chunks: Iterable[Vectors]) -> Vectors:
    """Writes chunks of vectors one after the other and opens the file.

    Args:
        path: file to write.
        chunks: (n, D) vectors, any float type; at least one chunk.

    Returns:
        The (N, D) memory map of the file.

    Raises:
        ValueError: no chunk, chunks of different width, or a vector that is not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    rows, dim = 0, -1
    with partial.open("wb") as file:
        for chunk in chunks:
            if chunk.ndim != 2 or (dim >= 0 and chunk.shape[1] != dim):
                raise ValueError(
                    f"expected chunks of vectors with shape (n, {dim if dim >= 0 else 'D'}), got {chunk.shape}"
                )
            if not np.isfinite(chunk).all():
                raise ValueError(
                    f"the vectors of an index must be finite; one of rows {rows} to {rows + len(chunk)} is not"
                )
            if dim < 0:
                dim = chunk.shape[1]
                _header(file, 0, dim)
            np.ascontiguousarray(chunk, np.float32).tofile(file)
            rows += len(chunk)
        if dim < 0:
            raise ValueError(f"no vectors to write to {path}: the iterator gave no chunk")
        file.seek(0)
        _header(file, rows, dim)
    partial.replace(path)
    return open_vectors(path)


def _header(file: BinaryIO, rows: int, dim: int) -> None:
    """NumPy leaves room for the first axis to grow, so the header of the finished file fits over the first one."""
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, described)


def open_vectors(path: Path) -> Vectors:
    """The (N, D) memory map of a file of vectors.

    Raises:
        ValueError: it is none.
    """
    try:
        vectors: Vectors = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no vectors ({error}); build the index again") from None
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise ValueError(f"{path} must hold float32 vectors of shape (N, D), got {vectors.dtype} {vectors.shape}")
    return vectors


def read_rows(vectors_ND: Vectors, rows: NDArray[np.int64]) -> Vectors:
    """A float32 copy of some rows, given in ascending order; pages of a read-only memory map do not stay resident."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    copied = np.array(vectors_ND[first:last] if last - first == len(rows) else vectors_ND[rows], np.float32, order="C")
    if isinstance(vectors_ND, np.memmap) and vectors_ND.mode == "r":
        mapped = getattr(vectors_ND, "_mmap", None)
        if isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED)
    return copied


def check_finite(vectors_ND: Vectors, what: str) -> None:
    """Refuses vectors with an infinite or missing coordinate.

    Raises:
        ValueError: one is not finite.
    """
    for start in range(0, len(vectors_ND), _CHECK_ROWS):
        stop = min(start + _CHECK_ROWS, len(vectors_ND))
        if not np.isfinite(read_rows(vectors_ND, np.arange(start, stop))).all():
            raise ValueError(f"{what} must be finite; one of rows {start} to {stop - 1} is not")
