"""Reader of a Hugging Face data set: a name on the hub, a folder of its files, or a folder of ``save_to_disk``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.table import map_columns, read_rows
from moon.catalog.readers.table_files import Rows
from moon.catalog.readers.table_values import split_of
from moon.catalog.schema import SPLITS
from moon.progress import track


def read_hf(source: Path, images: Path, columns: Mapping[str, str], sink: CatalogSink) -> None:
    """Reads every split of a data set, row by row; nothing is downloaded beforehand.

    Columns are those of your own table (`read_table`), found or mapped in the same way; a column of pictures may hold
    the pictures themselves. A row's split is that of its ``split`` column, else the data set's where that is one of
    ours or a usual name for it, else by a hash of the product id. A query without an id is named by its row, counted
    through all splits.

    Args:
        source: ``NAME`` or ``NAME:CONFIG`` on the hub, or a folder.
        images: folder that picture paths start from.
        columns: our field -> their column.
        sink: where the rows go.

    Raises:
        ValueError: it cannot be loaded, has no rows, or ``columns`` names an unknown field or column.
    """
    parts, before = _load(source), 0
    only = len(parts) == 1
    for name, part in parts.items():
        names = list(part.column_names or next(iter(part), {}))
        if not names:
            raise ValueError(f"split '{name}' of {source} has no rows")
        split = split_of(name)
        # One split is called "train" whatever it holds, so it says nothing.
        known = split if split in SPLITS and not only else ""
        mapping = map_columns(columns, names, f"{source} ({name})")
        rows = _Numbered(part, f"reading {source.name} {name}", before)
        read_rows(rows.read(), mapping, source.name, images, sink, known)
        before = rows.last


def _load(source: Path) -> dict[str, Any]:
    """The splits of a data set as iterables of rows whose pictures are not decoded."""
    import datasets

    place, _, config = (str(source), "", "") if source.exists() else str(source).partition(":")
    try:
        if source.is_dir() and ((source / "dataset_info.json").is_file() or (source / "dataset_dict.json").is_file()):
            loaded = datasets.load_from_disk(str(source))
        else:
            loaded = datasets.load_dataset(place, config or None, streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot load the data set {source}: {error}") from None
    parts = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {name: _undecoded(part) for name, part in parts.items()}


def _undecoded(part: Any) -> Any:
    import datasets

    for name, feature in (part.features or {}).items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            part = part.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return part


class _Numbered:
    """Rows of one split with their numbers, which go on from those before."""

    def __init__(self, part: Any, shown: str, before: int) -> None:
        self._part, self._shown, self.last = part, shown, before

    def read(self) -> Rows:
        total = self._part.num_rows if hasattr(self._part, "num_rows") else None
        for row in track(self._part, self._shown, total=total):
            self.last += 1
            yield self.last, dict(row)
