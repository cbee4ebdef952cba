"""Step import: a public format or the user's own table becomes a catalogue folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from moon.catalog.readers import READERS
from moon.catalog.readers.resume import recipe_of, resumable
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog, write_card
from moon.catalog.summary import CatalogSummary, summarise
from moon.config import CatalogParams, to_dict
from moon.steps import outcome

_HOW: Final = ("fetch_workers", "fetch_timeout", "fetch_retries", "resume")
"""Parameters that may change between an import that was stopped and the one that goes on."""


def run(*, params: CatalogParams, out: Path) -> CatalogSummary:
    """Reads ``params.source`` and leaves a catalogue in ``out``, which appears when it is whole.

    An earlier catalogue in ``out`` is replaced. The same source gives the same bytes. An import that was stopped,
    however that was, goes on where it stopped when the same is asked again.

    Raises:
        ValueError: an unknown form of source, an unreadable source, or ``out`` holds something else, or is written to
            by another import.
    """
    kind, _, place = params.source.partition(":")
    if kind not in READERS or not place:
        raise ValueError(
            f"cannot import catalog.source '{params.source}': expected {known_forms()}; "
            "a rendered catalogue is made by 'moon render'"
        )
    source = Path(place)
    images = Path(params.images or (source.parent if source.is_file() else source))
    if params.images and not images.is_dir():
        raise ValueError(f"catalog.images '{images}' is not a folder; name the one that picture paths start from")
    settings = {name: value for name, value in to_dict(params).items() if name not in _HOW}
    recipe = recipe_of(settings, source, *([images] if params.images else []))
    with resumable(out, recipe, resume=params.resume) as (folder, journal):
        limits = {"max_image_pixels": params.max_image_pixels, "shard_rows": params.shard_rows}
        with CatalogSink(folder, **limits, params=params, journal=journal) as sink:
            READERS[kind].read(source, images, params.columns, sink)
        write_card(folder)
        return outcome.save(folder, summarise(Catalog.open(folder)))


def known_forms() -> str:
    """What ``catalog.source`` may name for this step, as a phrase."""
    forms = [f"{kind}:{reader.place}" for kind, reader in READERS.items()]
    return f"{', '.join(forms[:-1])} or {forms[-1]}"
