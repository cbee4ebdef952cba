from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moon.catalog.readers import json_entries as module
from moon.catalog.readers.json_entries import json_entries

SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=9)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    table=st.dictionaries(st.text(max_size=5), VALUES, max_size=6),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_entries_equal_those_of_the_whole_object(
    tmp_path: Path, table: dict[str, Any], indent: int | None, ascii_only: bool, chunk: int
) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(json.dumps(table, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            with pytest.raises(ValueError, match="is not UTF-8"):
                list(json_entries(path))
            return
        assert list(json_entries(path)) == list(table.items())


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1', '{"a": 1 "b": 2}', '{"a" 1}', "{1: 2}", '{"a": tru}', '{"a":}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"items\.json is no JSON object"):
        list(json_entries(path))


def test_entries_before_the_damage_are_given(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text('\ufeff{"a": {"x": [1, 2]}, "b": 2, "c"', encoding="utf-8")
    entries = json_entries(path)
    assert [next(entries), next(entries)] == [("a", {"x": [1, 2]}), ("b", 2)]
    with pytest.raises(ValueError, match="near character"):
        next(entries)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    with path.open("w") as file:
        file.write("{" + ",".join(f'"{n}": {{"title": "{"x" * 500}"}}' for n in range(4000)) + "}")
    with path.open(encoding="utf-8") as file:
        scanner = module._Scanner(path, file)
        held = max(len(scanner._text) for _ in scanner.entries())
    assert path.stat().st_size > 2_000_000 and held < 4 * module._CHUNK
