"""Step import: a public format or the user's own table becomes a catalogue folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from moon.catalog.readers.fashion import read_fashion
from moon.catalog.readers.grocery_store import read_grocery_store
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.table import read_table
from moon.catalog.store import Catalog, replacing, write_card
from moon.catalog.summary import CatalogSummary, summarise
from moon.config import CatalogParams
from moon.steps import outcome

FORMS = ("fashion:DIR", "grocery-store:DIR", "table:FILE")
"""What ``catalog.source`` may name for this step."""


def run(*, params: CatalogParams, out: Path) -> CatalogSummary:
    """Reads ``params.source`` and leaves a catalogue in ``out``, which appears when it is whole.

    An earlier catalogue in ``out`` is replaced. The same source gives the same bytes.

    Raises:
        ValueError: an unknown form of source, an unreadable source, or ``out`` holds something else.
    """
    read = _reader(params)
    with replacing(out) as folder:
        with CatalogSink(folder, max_image_pixels=params.max_image_pixels, shard_rows=params.shard_rows) as sink:
            read(sink)
        write_card(folder)
        return outcome.save(folder, summarise(Catalog.open(folder)))


def _reader(params: CatalogParams) -> Callable[[CatalogSink], None]:
    """The reader of a source, with its source bound."""
    form, colon, place = params.source.partition(":")
    source = Path(place)
    folders = {"fashion": read_fashion, "grocery-store": read_grocery_store}
    if form in folders and place:
        return functools.partial(folders[form], source)
    if form == "table" and place:
        images = Path(params.images) if params.images else source.parent
        if not images.is_dir():
            raise ValueError(f"catalog.images '{images}' is not a folder; name the one that picture paths start from")
        return functools.partial(read_table, source, images, params.columns)
    raise ValueError(
        f"cannot import catalog.source '{params.source}': expected {', '.join(FORMS[:-1])} or {FORMS[-1]}; "
        "a rendered catalogue is made by 'moon render'"
    )
