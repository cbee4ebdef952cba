"""Rows of CSV, JSONL and Parquet files, one at a time, with the malformed ones told apart."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.readers.rows import RowError
from moon.progress import follow, track

Rows = Iterator[tuple[int, dict[str, Any] | RowError]]
"""Line or row number, from 1, with the row or what is wrong with it."""

_BATCH: Final = 256
_PEEKED_ROWS: Final = 100
_DELIMITERS: Final = ",;\t|"
_UNDECODABLE: Final = re.compile("[\udc80-\udcff]")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class TableFile:
    """A table on disk; its kind is told by the suffix: .csv .tsv .jsonl .ndjson .parquet.

    Text must be UTF-8, with or without a byte-order mark; a row with other bytes is a malformed row.

    Raises:
        ValueError: no such file, another suffix, or a file that cannot be read as its suffix says.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"no such file: {path}")
        readers = {
            ".csv": _csv_rows,
            ".tsv": _csv_rows,
            ".jsonl": _jsonl_rows,
            ".ndjson": _jsonl_rows,
            ".parquet": _parquet_rows,
        }
        if path.suffix.lower() not in readers:
            raise ValueError(f"{path} has suffix '{path.suffix}'; readable tables end in {', '.join(readers)}")
        with path.open("rb") as file:
            if file.read(2) in _UTF16:
                raise ValueError(f"{path} is UTF-16; save it as UTF-8 and read it again")
        self.path = path
        self._read = readers[path.suffix.lower()]

    def rows(self) -> Rows:
        """All rows in file order, behind a progress bar."""
        return self._read(self.path, f"reading {self.path.name}")

    def columns(self) -> list[str]:
        """Column names; of a JSONL file, all keys of its first rows."""
        rows = (row for _, row in itertools.islice(self._read(self.path, ""), _PEEKED_ROWS) if isinstance(row, dict))
        names = dict.fromkeys(name for row in rows for name in row)
        if not names:
            raise ValueError(f"{self.path} has no readable row among its first {_PEEKED_ROWS}")
        return list(names)


def _csv_rows(path: Path, shown: str) -> Rows:
    # Undecodable bytes become surrogates, so that one row of another encoding does not end the file.
    with (
        path.open("rb") as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        first = file.readline()
        if not first.isprintable() and not first.replace("\t", "").rstrip("\r\n").isprintable():
            raise ValueError(f"{path}: its header line is not UTF-8 text; save the file as UTF-8 CSV")
        delimiter = max(_DELIMITERS, key=first.count)
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter)
        header = [name.strip() for name in next(lines, [])]
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise ValueError(f"{path}: column '{twice[0]}' stands twice in its header line; rename or remove one")
        yield from follow(_csv_lines(lines, header), shown, path.stat().st_size, raw.tell)


def _csv_lines(lines: Any, header: list[str]) -> Rows:
    while True:
        try:
            values = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.line_num, RowError("bad_row", f"line {lines.line_num}: {error}")
            continue
        if values:
            yield lines.line_num, _csv_row(header, values, lines.line_num)


def _csv_row(header: list[str], values: list[str], line: int) -> dict[str, Any] | RowError:
    if len(values) != len(header):
        return RowError("bad_row", f"line {line} has {len(values)} values for {len(header)} columns")
    if any(map(_UNDECODABLE.search, values)):
        return RowError("bad_row", f"line {line} is not UTF-8")
    return dict(zip(header, values, strict=True))


def _jsonl_rows(path: Path, shown: str) -> Rows:
    with path.open("rb") as file:
        for number, line in enumerate(follow(file, shown, path.stat().st_size, file.tell), start=1):
            if line.strip():
                yield number, json_row(line, number)


def json_row(line: bytes, number: int) -> dict[str, Any] | RowError:
    """The object on a line of a JSON Lines file, or what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return RowError("bad_row", f"line {number}: {error}")
    return row if isinstance(row, dict) else RowError("bad_row", f"line {number} is a {type(row).__name__}, no object")


def _parquet_rows(path: Path, shown: str) -> Rows:
    try:
        file = pq.ParquetFile(path)
        rows = (row for batch in file.iter_batches(batch_size=_BATCH) for row in batch.to_pylist())
        yield from enumerate(track(rows, shown, total=file.metadata.num_rows) if shown else rows, start=1)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from None
