"""One JSON Lines file in a folder whose rows enter one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moon.catalog.readers.rows import RowError
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.table_files import TableFile
from moon.catalog.readers.table_values import text_of

Add = Callable[[Mapping[str, Any], Path, CatalogSink], None]


def read_items(source: Path, name: str, form: str, sink: CatalogSink, add: Add) -> None:
    """Gives every row of ``source/name`` to ``add``; a row that it refuses is rejected under its image_id or line.

    Args:
        source: the folder.
        name: the file in it.
        form: what the folder's format is called.
        sink: where the rows go.
        add: takes a row, the folder and the sink.

    Raises:
        ValueError: no such file.
    """
    if not (source / name).is_file():
        raise ValueError(f"{source} is not in the {form} format: no {name} there")
    for line, row in TableFile(source / name).rows():
        row_id = f"{name}:{line}"
        try:
            if isinstance(row, RowError):
                raise row
            row_id = text_of(row.get("image_id")) or row_id
            add(row, source, sink)
        except RowError as error:
            sink.reject("products", row_id, error)
