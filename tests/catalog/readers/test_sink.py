from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from moon.catalog.readers.sink import CatalogSink, RowError, SourceProduct
from moon.catalog.readers.table_values import pictures_of
from moon.catalog.store import Catalog
from moon.config import CatalogParams
from moon.steps import import_catalog
from tests.catalog.readers.conftest import png


def product(name: str, **changes: object) -> SourceProduct:
    fields = {"description": "", "category_path": [], "attributes": {}, "pictures": {}, "split": "train"}
    return SourceProduct(**{"product_id": name, "title": name, **fields, **changes})  # type: ignore[arg-type]


def test_pictures_may_be_bytes_and_a_text_only_product_has_none(tmp_path: Path) -> None:
    with CatalogSink(tmp_path / "out", max_image_pixels=9999, shard_rows=4) as sink:
        sink.add_product(product("a", pictures={"a:0": png(1)}), tmp_path)
        sink.add_product(product("b"), tmp_path, needs_picture=False)
        with pytest.raises(RowError, match="names no picture"):
            sink.add_product(product("c"), tmp_path)
        assert sink.same_product(product("a", pictures={"a:0": png(1)}, split="test"))
        assert not sink.same_product(product("a", pictures={"a:0": png(2)}))
    catalog = Catalog.open(str(tmp_path / "out"))
    assert [row["image_ids"] for row in catalog.rows("products")] == [["a:0"], []]
    assert catalog.image_store()["a:0"] == png(1)


def test_boxes_and_relations_name_what_is_there(tmp_path: Path) -> None:
    with CatalogSink(tmp_path / "out", max_image_pixels=9999, shard_rows=4) as sink:
        for name in "ab":
            sink.add_product(product(name, pictures={name: png()}), tmp_path)
        sink.add_box("a", (1, 2, 3, 4))
        sink.add_relation("a", "b", "same")
        sink.add_relation("a", "b", "same", 0.5)
        sink.add_relation("b", "a", "same")
        for box in ((1, 2, 1, 4), (1, 4, 2, 4), (3, 0, 1, 1)):
            with pytest.raises(RowError, match="empty"):
                sink.add_box("a", box)
        with pytest.raises(RowError, match="not in the catalogue"):
            sink.add_box("c", (1, 2, 3, 4))
        with pytest.raises(RowError, match="not in the catalogue"):
            sink.add_relation("a", "c", "same")
        with pytest.raises(RowError, match="itself"):
            sink.add_relation("a", "a", "same")
    catalog = Catalog.open(tmp_path / "out")
    assert [(row["product_id"], row["other_id"], row["weight"]) for row in catalog.rows("relations")] == [
        ("a", "b", 1.0),
        ("b", "a", 1.0),
    ]
    assert catalog.table("boxes").num_rows == 1


def test_urls_are_parted_before_each_url_alone() -> None:
    one, two = "https://a.b/x,y;z.jpg?c=1|2", "s3://bucket/k.png"
    for text in (f"{one};{two}", f"{one} , {two}", f"{one}| {two}", [one, two], json.dumps([one, two])):
        assert pictures_of(text) == [one, two]
    assert pictures_of("a.jpg;b.jpg") == ["a.jpg", "b.jpg"] and pictures_of(f"a.jpg;{two}") == ["a.jpg", two]
    assert pictures_of({"bytes": b"x", "path": "p"}) == [b"x"] and pictures_of({"bytes": None, "path": "p"}) == ["p"]
    assert pictures_of([{"bytes": b"x", "path": None}, None, ""]) == [b"x"] and pictures_of(None) == []
    for wrong in ({"bytes": "x"}, {"url": "x"}, [["a"]]):
        with pytest.raises(RowError):
            pictures_of(wrong)


def test_memory_holds_ids_and_not_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())

    def peak(rows: int) -> int:
        table = tmp_path / f"{rows}.jsonl"
        with table.open("w") as file:
            for n in range(rows):
                text = f"{n} words " * 500
                file.write(
                    json.dumps({"id": f"p{n}", "title": "T", "description": text, "image": "a.png", "query": f"q{n}"})
                )
                file.write("\n")
        tracemalloc.start()
        import_catalog.run(params=CatalogParams(source=f"table:{table}", shard_rows=16), out=tmp_path / "out")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)  # imports and caches
    assert peak(500) - peak(100) < 400 * 1000  # bytes a row, of 5,000 in the source
