from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, write_card, write_table
from moon.steps import fetch, outcome


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, schema in CATALOG_TABLES.items():
        write_table(root / name, schema, [{"product_id": f"p{n}"} for n in range(5)] if name == "products" else [], 2)
    write_card(root)
    return root


def test_the_copy_is_the_same_catalogue(catalog: Path, tmp_path: Path) -> None:
    digest = Catalog.open(catalog).digest()
    result = fetch.run(source=catalog, version=digest, out=tmp_path / "out")
    assert result.digest == Catalog.open(tmp_path / "out").digest() == digest
    assert (result.files, outcome.read(tmp_path / "out")["digest"]) == (8, digest)
    assert (tmp_path / "out" / "README.md").is_file()
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_an_interrupted_fetch_goes_on(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    fetch.run(source=catalog, version="", out=out)
    (out / "products" / "part-00001.parquet").write_bytes(b"torn")
    (out / "products" / "part-00007.parquet").write_bytes(b"of another version")
    copied: list[Path] = []
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda source, target: copied.append(source) or copy(source, target))
    fetch.run(source=catalog, version="", out=out)
    assert [path.name for path in copied] == ["part-00001.parquet"]
    assert Catalog.open(out).digest() == Catalog.open(catalog).digest()


def test_another_version_is_refused(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 0000"):
        fetch.run(source=catalog, version="0000", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a catalogue"):
        fetch.run(source=tmp_path, version="", out=tmp_path / "out")


def test_a_folder_of_something_else_is_not_touched(tiny_catalog: Path, tmp_path: Path) -> None:
    regions = tmp_path / "regions" / "part-00000.parquet"
    regions.parent.mkdir()
    regions.write_bytes(b"precious")
    with pytest.raises(ValueError, match="something else than a catalogue"):
        fetch.run(source=tiny_catalog, version="", out=tmp_path)
    assert regions.read_bytes() == b"precious"
