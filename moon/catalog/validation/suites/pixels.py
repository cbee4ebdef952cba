"""The pictures themselves: stored at all, by the Parquet footers, and in a small sample what the table says.

Nothing else of the validation reads pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.store import reading
from moon.catalog.validation.rules import BETWEEN, FAIL, NOTHING, WARN, Rule, Suite
from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams
from moon.vision.decode import ImageError, decode

_BYTES: Final = "image.bytes"
_GROUPS: Final = 8
"""Row groups that the sample is read from."""
_THUMBNAIL: Final = (32, 32)
_FLAT: Final = 2.0
"""Standard deviation of grey levels, of 256, below which a picture shows nothing."""


def _shards(tables: Tables) -> list[Path]:
    return sorted((tables.catalog.root / "images").glob("part-*.parquet"))


def _shard_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a shard of the images table: pictures whose bytes are null, from its footer."""
    rows = []
    for shard in _shards(tables):
        with reading(shard):
            metadata = pq.read_metadata(shard)
        missing = 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
            statistics = columns[_BYTES].statistics if _BYTES in columns else None
            missing += statistics.null_count or 0 if statistics is not None else 0
        rows.append({"shard": shard.name, "without_bytes": missing})
    return pd.DataFrame(rows, columns=["shard", "without_bytes"]).set_index("shard")


def _sample_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a sampled picture."""
    rows = [_looked_at(row) for row in _sample(_shards(tables), params.sample_pictures)]
    columns = ["image_id", "digest", "unreadable", "size", "contrast"]
    return pd.DataFrame(rows, columns=columns).astype({"contrast": float}).set_index("image_id")


def _sample(shards: list[Path], count: int) -> Iterator[dict[str, Any]]:
    """About ``count`` rows from a few row groups, the same ones every time."""
    groups = [(shard, place) for shard in shards for place in range(pq.read_metadata(shard).num_row_groups)]
    chosen = np.random.default_rng(0).permutation(len(groups))[: min(_GROUPS, count)]
    for number, place in enumerate(sorted(chosen.tolist())):
        shard, group = groups[place]
        wanted = (count * (number + 1)) // len(chosen) - (count * number) // len(chosen)
        with reading(shard):
            table = pq.ParquetFile(shard).read_row_group(group)
        every = max(table.num_rows // max(wanted, 1), 1)
        rows = np.arange(0, table.num_rows, every)[:wanted]
        yield from table.take(pa.array(rows)).to_pylist()


def _looked_at(row: Mapping[str, Any]) -> dict[str, Any]:
    data = (row["image"] or {}).get("bytes") or b""
    found: dict[str, Any] = {"image_id": row["image_id"], "digest": None, "unreadable": None, "size": None}
    if row["sha256"] and hashlib.sha256(data).hexdigest() != row["sha256"]:
        found["digest"] = row["image_id"]
    try:
        picture = decode(data)
    except ImageError as error:
        return found | {"unreadable": str(error), "contrast": np.nan}
    if row["width"] and row["height"] and picture.size != (row["width"], row["height"]):
        found["size"] = f"{picture.width} x {picture.height}, not {row['width']} x {row['height']}"
    return found | {"contrast": float(np.asarray(picture.convert("L").resize(_THUMBNAIL), float).std())}


def _shard_rules(params: ValidationParams) -> list[Rule]:
    return [
        FAIL(
            "picture-stored",
            BETWEEN,
            "hold pictures without bytes",
            "a catalogue carries its pictures, a path is not read; import the source again",
            column="without_bytes",
            max_value=0,
        )
    ]


def _sample_rules(params: ValidationParams) -> list[Rule]:
    redo = "write the images table again from the files"
    return [
        FAIL("picture-readable", NOTHING, "cannot be decoded", redo, column="unreadable"),
        FAIL("picture-digest", NOTHING, "do not have the sha256 that the table says", redo, column="digest"),
        FAIL("picture-size", NOTHING, "do not have the width and height that the table says", redo, column="size"),
        WARN(
            "picture-flat",
            BETWEEN,
            "show next to nothing: one even tone",
            "probably placeholders or failed exports; leave them out",
            column="contrast",
            min_value=_FLAT,
        ),
    ]


PICTURE_SHARDS: Final = Suite(name="picture-shards", things="shards of images", frame=_shard_frame, rules=_shard_rules)
PICTURE_SAMPLE: Final = Suite(
    name="picture-sample", things="sampled pictures", frame=_sample_frame, rules=_sample_rules
)
