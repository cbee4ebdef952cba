"""A window: the requests of one stretch of traffic as an Arrow table, one row a request.

A row keeps what a drift test needs and no picture or text of the user: numbers that describe the input, the
embedding that was served, and what the best answer was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from moon.monitoring.language import guess_language

MODALITIES: Final = ("text", "image", "both")
SCALARS: Final = (
    "text_length",
    "text_words",
    "image_width",
    "image_height",
    "brightness",
    "contrast",
    "sharpness",
    "top_score",
)
"""Columns compared as numbers; null where a request has no text, no picture or no answer."""
NAMES: Final = ("modality", "language", "category", "top_category")
"""Columns compared by how often each name comes; of a category path, its first level."""
ANSWERS: Final = ("top_score", "top_category", "hubness", "embedding")
"""Columns and tests of what the model makes: comparable only under one model revision."""
SCHEMA_VERSION: Final = "2"

_PATHS: Final = ("category", "top_category")
_VERSION_KEY: Final = b"moon.window_version"
_DIMENSION_KEY: Final = b"moon.window_dimension"
_LUMA_SIDE: Final = 128
"""Pictures are measured at this longer side, so that sharpness does not follow the resolution."""


class WindowError(ValueError):
    """A file is not a readable window; the message says what was expected."""


def window_schema(dim: int) -> pa.Schema:
    """The schema of a window whose embeddings have ``dim`` dimensions."""
    return pa.schema(
        [
            ("timestamp", pa.timestamp("us", tz="UTC")),
            ("modality", pa.string()),
            ("language", pa.string()),
            ("category", pa.list_(pa.string())),
            ("text_length", pa.int32()),
            ("text_words", pa.int32()),
            ("image_width", pa.int32()),
            ("image_height", pa.int32()),
            ("brightness", pa.float32()),
            ("contrast", pa.float32()),
            ("sharpness", pa.float32()),
            ("top_score", pa.float32()),
            ("top_product", pa.string()),
            ("top_category", pa.list_(pa.string())),
            ("latency_ms", pa.float32()),
            # Parquet holds no missing values in lists of a fixed size; the size is in the metadata.
            ("embedding", pa.list_(pa.float32())),
            ("model_revision", pa.string()),
        ],
        metadata={_VERSION_KEY: SCHEMA_VERSION.encode(), _DIMENSION_KEY: str(dim).encode()},
    )


def describe(text: str | None, image: Image.Image | None, has_image: bool = False) -> dict[str, Any]:
    """The input columns of one request.

    Brightness and contrast are the mean and the standard deviation of luma in 0..1; sharpness is the mean squared
    luma gradient. All three are taken at a longer side of at most 128 pixels.

    Args:
        text: the query text; None where there is none.
        image: the photo as RGB; None where there is none.
        has_image: whether there is a photo although ``image`` is None, such as one that cannot be decoded.

    Raises:
        ValueError: neither text nor image.
    """
    has_image = has_image or image is not None
    if text is None and not has_image:
        raise ValueError("a request needs a text, an image or both; got neither")
    row: dict[str, Any] = {"modality": "image" if text is None else "both" if has_image else "text"}
    if text is not None:
        row |= {"text_length": len(text), "text_words": len(text.split()), "language": guess_language(text)}
    if image is not None:
        luma = _luma(image)
        row |= {
            "image_width": image.width,
            "image_height": image.height,
            "brightness": float(luma.mean()),
            "contrast": float(luma.std()),
            "sharpness": _gradient_energy(luma),
        }
    return row


def window_table(rows: Sequence[Mapping[str, Any]], dim: int) -> pa.Table:
    """Rows as a window; a missing key is null.

    Raises:
        WindowError: a row has an unknown column or a value of the wrong type, such as another embedding length.
    """
    schema = window_schema(dim)
    unknown = sorted({key for row in rows for key in row} - set(schema.names))
    if unknown:
        raise WindowError(f"unknown window columns {', '.join(unknown)}; known are {', '.join(schema.names)}")
    vectors = [row["embedding"] for row in rows if row.get("embedding") is not None]
    if wrong := {len(vector) for vector in vectors} - {dim}:
        raise WindowError(f"a window with {dim}-dimensional embeddings cannot hold one of {min(wrong)} dimensions")
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise WindowError(f"a row does not fit a window: {error}") from None


def write_window(path: Path, window: pa.Table) -> None:
    """Writes a window as one Parquet file, which appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(window, partial, compression="zstd")
    partial.replace(path)


def read_window(path: Path) -> pa.Table:
    """Reads a window that `write_window` wrote.

    Raises:
        WindowError: no such file, not Parquet, another version, or a column that is missing or of another type.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise WindowError(f"no window at {path}: record one with 'moon replay' or from the server's log") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise WindowError(f"{path} is not a readable Parquet file: {error}") from None
    version = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if version != SCHEMA_VERSION:
        raise WindowError(f"{path} has window version {version}, this version of moon reads {SCHEMA_VERSION}")
    expected = window_schema(dimension(table))
    if not table.schema.equals(expected):
        wrong = [field.name for field in expected if field not in list(table.schema)] or ["columns out of order"]
        raise WindowError(f"{path} is not a window: missing or mistyped {', '.join(wrong)}")
    return table


def dimension(window: pa.Table) -> int:
    """Length of the embeddings of a window; 0 where it does not say."""
    return int((window.schema.metadata or {}).get(_DIMENSION_KEY, b"0"))


def embeddings(window: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings that a window holds.

    Returns:
        float32 [K, dim], L2-normalised, and the positions [K] of their rows; a row has none where the server was not
        asked for it.

    Raises:
        WindowError: a vector is zero, not finite or of another length.
    """
    column = window.column("embedding").combine_chunks()
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if flat.size != len(rows) * dimension(window):
        raise WindowError(f"embeddings must all have {dimension(window)} dimensions")
    vectors = flat.reshape(len(rows), dimension(window))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise WindowError("embeddings must be finite and not zero")
    return np.asarray(vectors / lengths), rows


def revisions(*tables: pa.Table) -> list[str]:
    """The model revisions that the rows name, sorted; some protocols name none."""
    return sorted({str(name) for table in tables for name in table["model_revision"].drop_null().unique().to_pylist()})


def first_levels(window: pa.Table, name: str) -> list[str | None]:
    """A column of names; of a category path its first level, so that a window has rows for each name."""
    values = window[name].to_pylist()
    return [value[0] if value else None for value in values] if name in _PATHS else list(values)


def _luma(image: Image.Image) -> np.ndarray:
    scale = min(1.0, _LUMA_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), dtype=np.float32) / 255


def _gradient_energy(luma: np.ndarray) -> float:
    steps = [np.diff(luma, axis=axis) ** 2 for axis in (0, 1) if luma.shape[axis] > 1]
    return float(sum(step.mean() for step in steps))
