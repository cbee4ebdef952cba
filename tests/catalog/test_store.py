"""Tables on disk: shards, versions, random access, what `datasets` makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.schema import CATALOG_TABLES, IMAGES, REJECTED
from moon.catalog.store import (
    Catalog,
    CatalogError,
    ImageStore,
    TableWriter,
    attributes_dict,
    attributes_list,
    check_replaceable,
    read_table,
    replacing,
    write_table,
)
from moon.config import RenderParams
from moon.steps import render


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "catalog"
    render.run(params=RenderParams(products=30, interactions=17, image_size=32), out=out, shard_rows=4, workers=1)
    return out


def _rejected(number: int) -> dict[str, str]:
    return {"table": "images", "row_id": str(number), "reason": "truncated", "detail": ""}


@pytest.mark.parametrize(("rows", "shards"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_rows_come_back_from_shards_in_order(tmp_path: Path, rows: int, shards: int) -> None:
    with TableWriter(tmp_path, REJECTED, shard_rows=4) as writer:
        for number in range(rows):
            writer.add(_rejected(number))
    assert writer.count == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-{i:05d}.parquet" for i in range(shards)]
    assert read_table(tmp_path).column("row_id").to_pylist() == [str(number) for number in range(rows)]


def test_a_shorter_table_leaves_no_shard_of_the_longer(tmp_path: Path) -> None:
    write_table(tmp_path, REJECTED, [_rejected(i) for i in range(9)], shard_rows=2)
    write_table(tmp_path, REJECTED, [_rejected(0)], shard_rows=2)
    assert read_table(tmp_path).num_rows == 1


def test_an_error_writes_no_half_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TableWriter(tmp_path, REJECTED, shard_rows=4) as writer:
        writer.add(_rejected(0))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    table = pa.table({"row_id": ["1"]}).replace_schema_metadata({"moon.schema_version": "99"})
    pq.write_table(table, tmp_path / "part-00000.parquet")
    with pytest.raises(CatalogError, match="schema version 99"):
        read_table(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CatalogError, match="part-00000"):
        read_table(tmp_path)


def test_a_missing_catalogue_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="moon render"):
        Catalog.open(tmp_path / "nothing")


def test_attributes_survive(folder: Path) -> None:
    attributes = {"colour": ["red", "blue"], "size": []}
    assert attributes_dict(attributes_list(attributes)) == attributes
    assert all(set(row["attributes"]) >= {"colour", "brand"} for row in Catalog.open(folder).rows("products"))


def test_any_picture_can_be_fetched(folder: Path) -> None:
    catalog = Catalog.open(folder)
    store = catalog.image_store()
    streamed = list(catalog.images())
    assert len(streamed) > 64
    for image_id, data in reversed(streamed):
        assert store[image_id] == data
    assert "nothing" not in store
    with pytest.raises(KeyError):
        store["nothing"]


def test_few_groups_are_kept_and_all_are_found(tmp_path: Path) -> None:
    rows = [{"image_id": str(i), "image": {"bytes": bytes([i]), "path": None}} for i in range(200)]
    write_table(tmp_path, IMAGES, rows, shard_rows=100)
    store = ImageStore(tmp_path, cached_groups=1)
    assert [store[str(i)] for i in range(0, 200, 7)] == [bytes([i]) for i in range(0, 200, 7)]


def test_the_digest_is_of_the_tables(folder: Path, tmp_path: Path) -> None:
    catalog = Catalog.open(folder)
    before = catalog.digest()
    (folder / "notes.txt").write_text("not data")
    assert catalog.digest() == before
    (folder / "notes.txt").unlink()


def test_datasets_reads_every_table_that_holds_rows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra 'data'")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    cache = str(tmp_path)
    catalog = Catalog.open(folder)
    assert datasets.load_dataset(str(folder), cache_dir=cache)["train"].num_rows == 30
    for name in CATALOG_TABLES:
        if not catalog.table(name).num_rows:  # `datasets` loads no empty split
            continue
        rows = datasets.load_dataset(str(folder), name, split="train", cache_dir=cache)
        assert rows.num_rows == catalog.table(name).num_rows
    pictures = datasets.load_dataset(str(folder), "images", split="train", cache_dir=cache)
    assert pictures[0]["image"].size == (pictures[0]["width"], pictures[0]["height"])


def test_a_damaged_shard_is_named_by_every_way_of_reading_pictures(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "catalog")
    shard = damaged / "images" / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:500])
    for read in (lambda catalog: list(catalog.images()), Catalog.image_store, lambda catalog: catalog.table("images")):
        with pytest.raises(CatalogError, match="part-00000.parquet is not a readable"):
            read(Catalog.open(damaged))


def test_only_a_catalogue_or_its_remains_may_be_replaced(folder: Path, tmp_path: Path) -> None:
    half = shutil.copytree(folder, tmp_path / "half")
    shutil.rmtree(half / "boxes")
    check_replaceable(half)
    check_replaceable(tmp_path / "new")
    (half / "notes.txt").write_text("mine")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "README.md").write_text("dear")
    for out in (half, tmp_path / "letters", half / "notes.txt"):
        with pytest.raises(CatalogError):
            check_replaceable(out)


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "catalog"
    (out / "boxes").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), replacing(out) as partial:
        (partial / "images").mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["catalog"]
    assert [path.name for path in out.iterdir()] == ["boxes"]
