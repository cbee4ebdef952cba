"""Imports that go on after they were killed.

A reader is a function of its source, so an import that goes on runs it again from the start: rows that are in finished
shards are passed over, their pictures are neither read nor decoded nor fetched, and everything after them is written
as if nothing had happened. What is not a function of the source, how each fetch of a remote picture ended, is kept in
a journal.

    .NAME.partial/   the catalogue that is being written; holds whole shards only
    .NAME.journal/   recipe, lock, failures.jsonl, fetched/ (pictures that are not in a shard yet)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from moon import __version__
from moon.catalog.store import TableWriter, check_replaceable, folder_digest, take_place

_LOG = logging.getLogger(__name__)
_SHARDS = "*/part-*.parquet"
_READERS = Path(__file__).parent


class SourceChanged(ValueError):
    """The source no longer gives the rows that were read from it before."""


class Continued:
    """A table that is written again from its first row; rows of the shards that were kept are passed over."""

    def __init__(self, writer: TableWriter) -> None:
        self.writer = writer
        self._kept = writer.count

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds one row, unless it is there already."""
        if self._kept:
            self._kept -= 1
        else:
            self.writer.add(row)

    def check(self) -> None:
        """Refuses an end before the kept rows have come again.

        Raises:
            SourceChanged: fewer rows than before.
        """
        if self._kept:
            raise SourceChanged(
                f"the source gives {self._kept} rows fewer than when its import was stopped; import it anew"
            )


@dataclass
class Journal:
    """What an import remembers beside its tables.

    Attributes:
        folder: where it is kept.
        goes_on: whether an earlier import left shards to go on after.
        failed_urls: what the earlier import could not fetch.
    """

    folder: Path
    goes_on: bool
    failed_urls: set[str] = field(default_factory=set)
    _failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    _file: IO[str] | None = None

    @property
    def fetched(self) -> Path:
        """Folder of the pictures that were fetched and are in no shard yet."""
        return self.folder / "fetched"

    def failure(self, image_id: str) -> tuple[str, str] | None:
        """Reason and detail of a fetch that failed before; None where there was none."""
        return self._failures.get(image_id)

    def add_failure(self, image_id: str, url: str, reason: str, detail: str) -> None:
        """Remembers that a fetch failed, before a row says so."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps([image_id, url, reason, detail]) + "\n")
        self._file.flush()

    def load(self) -> None:
        """Reads what the earlier import has written; half a last line is cut off."""
        if not self._path.is_file():
            return
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            image_id, url, reason, detail = json.loads(line)
            self._failures[image_id] = reason, detail
            self.failed_urls.add(url)

    def close(self) -> None:
        """Closes its file."""
        if self._file is not None:
            self._file.close()

    @property
    def _path(self) -> Path:
        return self.folder / "failures.jsonl"


@contextmanager
def resumable(out: Path, recipe: str, *, resume: bool = True) -> Iterator[tuple[Path, Journal]]:
    """A folder beside ``out`` that takes its place when all went well, and its journal.

    Where it ends otherwise, however that is, folder and journal stay if they hold something to go on with. They are
    taken up by the next call with the same ``recipe``, and removed by one with another.

    Args:
        out: the catalogue folder.
        recipe: names everything that the rows depend on.
        resume: False starts anew.

    Raises:
        ValueError: ``out`` holds something else than a catalogue, or another import is writing to it.
    """
    check_replaceable(out)
    out = out.resolve()
    partial, folder = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.journal")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock", out):
        note = folder / "recipe"
        goes_on = resume and partial.is_dir() and note.is_file() and note.read_text(encoding="utf-8") == recipe
        if goes_on:
            _LOG.warning("going on where the last import into %s was stopped", out)
        else:
            _clear(partial, folder)
            partial.mkdir()
            note.write_text(recipe, encoding="utf-8")
        journal = Journal(folder, goes_on)
        worthless = True
        try:
            journal.load()
            yield partial, journal
            take_place(partial, out)
        except SourceChanged:
            raise
        except BaseException:
            worthless = not any(partial.glob(_SHARDS)) and not any(journal.fetched.glob("*"))
            raise
        finally:
            journal.close()
            if worthless:
                shutil.rmtree(partial, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)


def _clear(partial: Path, folder: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    for stale in folder.iterdir():
        if stale.is_dir():
            shutil.rmtree(stale)
        elif stale.name != "lock":
            stale.unlink()


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    """Holds a lock that goes with this process, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another import is writing to {out}; wait for it or choose another --out") from None
        yield


def files_digest(*sources: Path) -> str:
    """A digest of files and folders by the names, sizes and times of their files, so that none is read."""
    files = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file():
                state = path.stat()
                files.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
    return files.hexdigest()


def recipe_of(params: Mapping[str, Any], *sources: Path) -> str:
    """Everything that an import's rows depend on: parameters, this program, and the files of its sources.

    A source that is no path counts by its name in ``params``.
    """
    program = f"{__version__} {folder_digest(_READERS, '*.py')}"
    return json.dumps({"program": program, "params": dict(params), "files": files_digest(*sources)}, sort_keys=True)
