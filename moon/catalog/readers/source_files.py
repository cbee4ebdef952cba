"""Files of public data sets: which there are, their rows, and what their names say about the split."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.rows import RowError
from moon.catalog.readers.table_files import Rows, TableFile, json_row
from moon.catalog.readers.table_values import split_of
from moon.catalog.schema import SPLITS
from moon.progress import follow

_SPLIT_WORDS: Final = (*SPLITS, "training", "valid", "validation", "dev")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """A row and where it stands."""

    path: Path
    name: str
    """Its file below the source and its line; unique within the source."""
    found: Mapping[str, Any] | RowError

    @property
    def values(self) -> Mapping[str, Any]:
        """Values by column.

        Raises:
            RowError: the row is malformed.
        """
        if isinstance(self.found, RowError):
            raise self.found
        return self.found


def files_of(source: Path, patterns: Iterable[str], form: str, *, single: bool = False) -> list[Path]:
    """The files of a folder that match one of the patterns, by name.

    Args:
        source: the folder.
        patterns: what to look for below it.
        form: the format's name, for errors.
        single: whether ``source`` may also be one such file.

    Raises:
        ValueError: there is none.
    """
    if single and source.is_file():
        return [source]
    wanted = tuple(patterns)
    found = sorted({path for pattern in wanted for path in source.glob(pattern) if path.is_file()})
    if not found:
        problem = f"no {', '.join(wanted)} there" if source.is_dir() else "no such folder"
        raise ValueError(f"{source} is not in the {form} format: {problem}; docs/formats.md says what is read")
    return found


def root_of(source: Path) -> Path:
    """The folder that relative picture paths start from."""
    return source.parent if source.is_file() else source


def row_name(path: Path, source: Path, line: int) -> str:
    """The name of a row: its file below the source and its line."""
    return f"{path.relative_to(root_of(source)).as_posix()}:{line}"


def source_rows(path: Path, source: Path, needed: Sequence[str], form: str) -> Iterator[SourceRow]:
    """Rows of a table, one at a time and in file order.

    Args:
        path: the file; ``.jsonl.gz`` besides what `TableFile` reads.
        source: what the file is named from.
        needed: columns that the first readable row must have.
        form: the format's name, for errors.

    Raises:
        ValueError: the file cannot be read, or lacks a needed column.
    """
    checked = False
    for line, found in rows_of(path):
        if not checked and not isinstance(found, RowError):
            _check_columns(found, needed, path, form)
            checked = True
        yield SourceRow(path=path, name=row_name(path, source, line), found=found)


def rows_of(path: Path) -> Rows:
    """Rows of a table with their line numbers; a malformed one is a `RowError` in its place.

    Raises:
        ValueError: the file cannot be read.
    """
    if _is_gzip(path):
        return ((number, json_row(line, number)) for number, line in lines_of(path))
    return TableFile(path).rows()


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines of a text file or a gzipped one that are not blank, with their numbers, behind a progress bar.

    Raises:
        ValueError: the gzip file is damaged.
    """
    try:
        with path.open("rb") as raw, gzip.open(raw) if _is_gzip(path) else nullcontext(raw) as file:
            for number, line in enumerate(follow(file, f"reading {path.name}", path.stat().st_size, raw.tell), start=1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); get it again") from None


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _check_columns(row: Mapping[str, Any], needed: Sequence[str], path: Path, form: str) -> None:
    missing = [name for name in needed if name not in row]
    if missing:
        raise ValueError(
            f"{path} is not in the {form} format: no column {', '.join(missing)} among {', '.join(map(str, row))}"[:400]
        )


def split_named(path: Path, source: Path) -> str:
    """The split that stands in a file's name or in a folder's above it, the nearest first; empty where none does."""
    inside = path.relative_to(root_of(source))
    for part in reversed(inside.parts):
        words = [word for word in re.split(r"[^a-z]+", part.lower()) if word in _SPLIT_WORDS]
        if words:
            return split_of(words[-1])
    return ""
