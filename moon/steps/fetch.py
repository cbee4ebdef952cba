"""Step fetch: brings a version of the data to where the run works, and proves that it is that version.

The data is a catalogue folder, or a folder that DVC tracks in a Git repository.
"""

from __future__ import annotations

import filecmp
import fnmatch
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from moon.catalog.dvc_folder import open_folder, transfer
from moon.catalog.store import Catalog, check_replaceable
from moon.progress import track
from moon.steps import outcome

_SHARDS = "*/part-*.parquet"
_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """What was brought, and from where."""

    digest: str
    """Version of the data: digest over all shards."""
    bytes: int
    files: int
    products: int
    source: str
    """Catalogue folder, or Git repository."""
    revision: str = ""
    """Commit of the repository."""
    path: str = ""
    """Of the folder in the repository."""
    md5: str = ""
    """DVC's name of the folder's content."""


def run(
    *, source: Path | str, version: str = "", revision: str = "", path: str = "", remote: str = "", out: Path
) -> FetchResult:
    """Brings the catalogue of ``source`` to ``out`` and checks what has arrived.

    Every file appears under its name when it is whole, and files that are there already are not brought again, so an
    interrupted fetch goes on where it stopped.

    Args:
        source: a catalogue folder; with ``path``, the URL or the folder of a Git repository.
        version: expected digest; empty takes what ``source`` holds.
        revision: commit, tag or branch of the repository; empty is its newest.
        path: of the catalogue in the repository, as DVC tracks it.
        remote: place of DVC's data; see `moon.catalog.dvc_folder.open_folder`.
        out: the folder that becomes the same catalogue.

    Raises:
        ValueError: ``source`` has no such catalogue or not of this version, ``out`` holds something else, or the copy
            differs from its source.
        moon.catalog.dvc_folder.TransferError: a file could not be brought.
    """
    if path:
        return _from_repository(str(source), version, revision, path, remote, out)
    if revision or remote:
        raise ValueError(
            f"revision '{revision}' and remote '{remote}' are of a Git repository, {source} is taken for a catalogue "
            "folder; give the path of the catalogue in the repository too, such as 'data'"
        )
    return _from_folder(Path(source), version, out)


def _from_folder(source: Path, version: str, out: Path) -> FetchResult:
    expected = Catalog.open(source).digest()
    if version and expected != version:
        raise ValueError(
            f"{source} holds data version {expected}, expected {version}; "
            "fetch the data of that version or give the version you mean"
        )
    copy(source, out)
    found = Catalog.open(out).digest()
    if found != expected:
        raise ValueError(f"the copy in {out} has digest {found}, its source {expected}; remove {out} and fetch again")
    return outcome.save(out, _result(out, found, str(source.resolve())))


def copy(source: Path, out: Path) -> None:
    """Makes ``out`` hold the tables and the card of the catalogue folder ``source``, and nothing else.

    Raises:
        ValueError: ``out`` holds something else than a catalogue.
    """
    wanted = sorted(one.relative_to(source) for one in source.glob(_SHARDS) if one.is_file())
    if source.resolve() != out.resolve():
        _make_room(out, {one.as_posix() for one in wanted})
    for one in track(wanted, "fetch", total=len(wanted)):
        _copy(source / one, out / one)
    if (source / _CARD).is_file():
        _copy(source / _CARD, out / _CARD)


def _from_repository(repository: str, version: str, revision: str, path: str, remote: str, out: Path) -> FetchResult:
    with open_folder(repository, revision, path, remote) as folder:
        wanted = {name for name in folder.files if name == _CARD or _is_shard(name)}
        _make_room(out, wanted)
        transfer(folder, wanted, out)
    found = Catalog.open(out).digest()
    if version and found != version:
        raise ValueError(
            f"'{path}' of {repository} at {folder.commit} holds data version {found}, expected {version}; "
            "give the revision of that version, or the version you mean"
        )
    return outcome.save(out, _result(out, found, repository, folder.commit, folder.path, folder.md5))


def _is_shard(name: str) -> bool:
    table, _, file = name.partition("/")
    return bool(table) and "/" not in file and fnmatch.fnmatchcase(file, _SHARDS.partition("/")[2])


def _result(out: Path, digest: str, source: str, revision: str = "", path: str = "", md5: str = "") -> FetchResult:
    sizes = [one.stat().st_size for one in out.glob(_SHARDS)]
    return FetchResult(
        digest=digest,
        bytes=sum(sizes),
        files=len(sizes),
        products=Catalog.open(out).table("products", ["product_id"]).num_rows,
        source=source,
        revision=revision,
        path=path,
        md5=md5,
    )


def _make_room(out: Path, wanted: Collection[str]) -> None:
    """Removes what an earlier version left in ``out`` and the wanted one does not have, and its result."""
    check_replaceable(out)
    (out / outcome.METRICS).unlink(missing_ok=True)
    for one in list(out.glob(_SHARDS)):
        if one.relative_to(out).as_posix() not in wanted:
            one.unlink()


def _copy(source: Path, target: Path) -> None:
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)
