from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from moon.catalog.readers.rows import RowError
from moon.catalog.readers.source_files import files_of, rows_of, split_named
from tests.catalog.readers.fixtures import write_lines


def test_gzip_and_plain_lines_are_the_same_rows(tmp_path: Path) -> None:
    lines = [{"a": 1}, "", "{broken", "[1]", {"a": "红"}]
    plain, packed = (write_lines(tmp_path / f"x.jsonl{end}", lines) for end in ("", ".gz"))
    found = [
        [(line, row if isinstance(row, dict) else row.reason) for line, row in rows_of(p)] for p in (plain, packed)
    ]
    assert found[0] == found[1] == [(1, {"a": 1}), (3, "bad_row"), (4, "bad_row"), (5, {"a": "红"})]


def test_rows_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    data = gzip.compress(b'{"a": 1}\n' + json.dumps({"long": list(range(300_000))}).encode() + b"\n")
    (tmp_path / "x.jsonl.gz").write_bytes(data[: len(data) // 2])
    rows = rows_of(tmp_path / "x.jsonl.gz")
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(ValueError, match="not a whole gzip file"):
        list(rows)


def test_what_is_no_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(b'{"a": 1}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz is not a whole gzip file"):
        list(rows_of(tmp_path / "x.jsonl.gz"))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("MBE_test.shuffled.jsonl", "test"),
        ("train-00000-of-00003.parquet", "train"),
        ("default/test/0000.parquet", "test"),
        ("train/dev.jsonl", "val"),
        ("contest.jsonl", ""),
        ("x.jsonl", ""),
    ],
)
def test_a_split_is_a_word_of_the_path(tmp_path: Path, path: str, split: str) -> None:
    assert split_named(tmp_path / path, tmp_path) == split


def test_a_folder_above_the_source_says_nothing_of_the_split(tmp_path: Path) -> None:
    source = tmp_path / "train"
    assert split_named(source / "x.jsonl", source) == ""


def test_files_come_once_and_by_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.jsonl", "a.txt"):
        write_lines(tmp_path / name, [])
    found = files_of(tmp_path, ("**/*.jsonl", "*.jsonl"), "X")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/c.jsonl", "b.jsonl"]
    assert files_of(tmp_path / "a.txt", ("*.jsonl",), "X", single=True) == [tmp_path / "a.txt"]
    for source in (tmp_path / "none", tmp_path / "a", tmp_path / "a.txt"):
        with pytest.raises(ValueError, match="not in the X format"):
            files_of(source, ("*.csv",), "X")


def test_malformed_rows_are_row_errors(tmp_path: Path) -> None:
    rows = dict(rows_of(write_lines(tmp_path / "x.jsonl.gz", ["{", "3", '{"a": "\\ud800"}'])))
    assert isinstance(rows[1], RowError) and isinstance(rows[2], RowError) and isinstance(rows[3], dict)
