from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from moon.catalog.readers import READERS
from moon.catalog.store import Catalog
from moon.config import CatalogParams
from moon.steps import import_catalog, outcome


@pytest.fixture
def table(tmp_path: Path) -> Path:
    Image.new("RGB", (12, 9), "teal").save(tmp_path / "a.png")
    path = tmp_path / "shop.csv"
    path.write_text("id,title,image,query\np1,Mug,a.png,mug\np2,,a.png,\n", encoding="utf-8")
    return path


def test_a_table_becomes_a_catalogue(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = import_catalog.run(params=CatalogParams(source=f"table:{table}"), out=out)
    assert (result.products, result.images, result.interactions, result.rejected) == (1, 1, 1, 1)
    assert result.digest == Catalog.open(out).digest()
    assert outcome.read(out) == dataclasses.asdict(result)
    assert (out / "README.md").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "shop.csv", "out"}


def test_pictures_may_live_elsewhere(table: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "pictures" / "a.png")
    params = CatalogParams(source=f"table:{table}", images=str(tmp_path / "pictures"))
    assert import_catalog.run(params=params, out=tmp_path / "out").images == 1


def test_an_import_replaces_a_catalogue_but_no_other_folder(table: Path, tmp_path: Path) -> None:
    params, out = CatalogParams(source=f"table:{table}"), tmp_path / "out"
    first = import_catalog.run(params=params, out=out)
    assert import_catalog.run(params=params, out=out) == first
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="something else than a catalogue .thesis.txt"):
        import_catalog.run(params=params, out=precious)
    assert (precious / "thesis.txt").read_text() == "years"


def test_a_failed_import_leaves_the_earlier_catalogue(table: Path, tmp_path: Path) -> None:
    params, out = CatalogParams(source=f"table:{table}"), tmp_path / "out"
    first = import_catalog.run(params=params, out=out)
    table.write_text("id,title\n1,Mug\n")
    with pytest.raises(ValueError, match="no column for 'images'"):
        import_catalog.run(params=params, out=out)
    assert Catalog.open(out).digest() == first.digest
    assert not list(tmp_path.glob(".*"))


def test_a_missing_picture_folder_is_refused(table: Path, tmp_path: Path) -> None:
    params = CatalogParams(source=f"table:{table}", images=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="not a folder"):
        import_catalog.run(params=params, out=tmp_path / "out")


@pytest.mark.parametrize("source", ["render", "excel:folder", "table:", "grocery-store", "fashion:"])
def test_unknown_sources_are_refused_with_the_known_ones(source: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=".*".join(f"{kind}:{reader.place}" for kind, reader in READERS.items())):
        import_catalog.run(params=CatalogParams(source=source), out=tmp_path / "out")


@pytest.mark.parametrize("kind", READERS)
def test_every_kind_of_source_says_what_it_misses(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        import_catalog.run(params=CatalogParams(source=f"{kind}:{tmp_path / 'nowhere'}"), out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
