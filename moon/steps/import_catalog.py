"""Step import: a public format or the user's own table becomes a catalogue folder."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from moon.catalog.readers.grocery_store import read_grocery_store
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.table import read_table
from moon.catalog.store import Catalog, write_card
from moon.catalog.summary import CatalogSummary, summarise
from moon.config import CatalogParams
from moon.steps import outcome

FORMS = ("grocery-store:DIR", "table:FILE")
"""What ``catalog.source`` may name for this step."""


def run(*, params: CatalogParams, out: Path) -> CatalogSummary:
    """Reads ``params.source`` and leaves a catalogue in ``out``, which appears when it is whole.

    An earlier catalogue in ``out`` is replaced. The same source gives the same bytes.

    Raises:
        ValueError: an unknown form of source, an unreadable source, or ``out`` holds something else.
    """
    read = _reader(params)
    _check_replaceable(out)
    partial = out.absolute().with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        sink = CatalogSink(partial, max_image_pixels=params.max_image_pixels, shard_rows=params.shard_rows)
        with sink:
            read(sink)
        write_card(partial)
        result = outcome.save(partial, summarise(Catalog.open(partial)))
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result


def _reader(params: CatalogParams) -> Callable[[CatalogSink], None]:
    """The reader of a source, with its source bound."""
    form, colon, place = params.source.partition(":")
    source = Path(place)
    if form == "grocery-store" and place:
        return functools.partial(read_grocery_store, source)
    if form == "table" and place:
        images = Path(params.images) if params.images else source.parent
        if not images.is_dir():
            raise ValueError(f"catalog.images '{images}' is not a folder; name the one that picture paths start from")
        return functools.partial(read_table, source, images, params.columns)
    raise ValueError(
        f"cannot import catalog.source '{params.source}': expected {' or '.join(FORMS)}; "
        "a rendered catalogue is made by 'moon render'"
    )


def _check_replaceable(out: Path) -> None:
    """Refuses to replace a folder that is not a catalogue."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        Catalog.open(out)
    except ValueError:
        raise ValueError(f"{out} exists and is not a catalogue; choose another output folder or remove it") from None
