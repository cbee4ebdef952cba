"""Step fetch: brings a version of the data to where the run works, and proves that it is that version."""

from __future__ import annotations

import filecmp
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from moon.catalog.store import Catalog, check_replaceable
from moon.progress import track
from moon.steps import outcome

_SHARDS = "*/part-*.parquet"
_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """What was brought."""

    digest: str
    """Version of the data: digest over all shards."""
    bytes: int
    files: int
    products: int


def run(*, source: Path, version: str, out: Path) -> FetchResult:
    """Copies the catalogue folder ``source`` into ``out`` and checks the copy's digest.

    Every file appears under its name when it is whole, and files that are there already are not copied again, so an
    interrupted fetch goes on where it stopped.

    Args:
        source: a catalogue folder.
        version: expected digest; empty takes what ``source`` holds.
        out: the folder that becomes the same catalogue.

    Raises:
        ValueError: ``source`` is no catalogue or not of this version, ``out`` holds something else, or the copy
            differs from its source.
    """
    expected = Catalog.open(source).digest()
    if version and expected != version:
        raise ValueError(
            f"{source} holds data version {expected}, expected {version}; "
            "fetch the data of that version or give the version you mean"
        )
    if source.resolve() != out.resolve():
        check_replaceable(out)
    wanted = sorted(path for path in source.glob(_SHARDS) if path.is_file())
    _remove_others(out, {path.relative_to(source) for path in wanted})
    for path in track(wanted, "fetch", total=len(wanted)):
        _copy(path, out / path.relative_to(source))
    if (source / _CARD).is_file():
        _copy(source / _CARD, out / _CARD)
    found = Catalog.open(out).digest()
    if found != expected:
        raise ValueError(f"the copy in {out} has digest {found}, its source {expected}; remove {out} and fetch again")
    products = Catalog.open(out).table("products", ["product_id"]).num_rows
    size = sum(path.stat().st_size for path in wanted)
    return outcome.save(out, FetchResult(digest=found, bytes=size, files=len(wanted), products=products))


def _remove_others(out: Path, wanted: set[Path]) -> None:
    """Removes shards of an earlier version that the wanted one does not have."""
    for path in list(out.glob(_SHARDS)):
        if path.relative_to(out) not in wanted:
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)
