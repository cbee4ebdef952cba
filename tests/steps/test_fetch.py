from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, write_card, write_table
from moon.steps import fetch, outcome
from tests.catalog.dvc_repository import SHARD, Repository, write_catalog


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


def test_an_unfinished_fetch_has_no_result(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    fetch.run(source=catalog, out=out)
    write_table(catalog / "products", CATALOG_TABLES["products"], [{"product_id": "other"}], 2)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="disk full"):
        fetch.run(source=catalog, out=out)
    with pytest.raises(ValueError, match="no metrics.json"):
        outcome.read(out)


def test_a_revision_comes_with_its_names_and_replaces_another(tmp_path: Path) -> None:
    repository, out = Repository(tmp_path), tmp_path / "out"
    made = [repository.snapshot(write_catalog(tmp_path / tag, size), tag) for tag, size in (("one", 5), ("two", 3))]
    repository.forget()
    for tag, version in zip(("one", "two"), made, strict=True):
        result = fetch.run(source=repository.folder, revision=tag, path="data", version=version.digest, out=out)
        assert (result.revision, result.md5, result.digest) == (version.commit, version.md5, version.digest)
        assert (result.source, result.path) == (str(repository.folder), "data")
        assert Catalog.open(out).digest() == Catalog.open(tmp_path / tag).digest()
        assert result.bytes == sum(path.stat().st_size for path in (tmp_path / tag).glob("*/*.parquet"))
    assert result.products == 3
    with pytest.raises(ValueError, match=rf"holds data version {made[0].digest}, expected {made[1].digest}"):
        fetch.run(source=repository.folder, revision="one", path="data", version=made[1].digest, out=out)


def test_only_the_catalogue_of_a_tracked_folder_is_brought(tmp_path: Path) -> None:
    repository, drop = Repository(tmp_path), write_catalog(tmp_path / "repository" / "data", 5)
    (drop / "notes.txt").write_text("ours")
    (drop / "deep" / "products").mkdir(parents=True)
    (drop / "deep" / SHARD).write_bytes(b"no table")
    repository.snapshot(drop)
    fetch.run(source=str(repository.folder), path="data", out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*CATALOG_TABLES, "README.md", "metrics.json"}


def test_a_revision_needs_the_path_in_its_repository(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="revision 'v1'.*give the path"):
        fetch.run(source=tmp_path, revision="v1", out=tmp_path / "out")


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
