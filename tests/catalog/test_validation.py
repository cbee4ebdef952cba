from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, write_table
from moon.config import ValidationParams

checks = pytest.importorskip("moon.catalog.validation.checks")

Tables = dict[str, list[dict[str, Any]]]
ROWS = 40
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def tables() -> Tables:
    """A sound catalogue: as many products, pictures and interactions."""
    products, images, interactions = [], [], []
    for n in range(ROWS):
        products.append(
            {
                "product_id": f"p{n}",
                "title": f"Mug {n}",
                "description": "",
                "category_path": ["Home", "Mugs"],
                "attributes": [],
                "image_ids": [f"i{n}"],
                "split": "train",
            }
        )
        images.append(
            {
                "image_id": f"i{n}",
                "image": {"bytes": b"", "path": None},
                "width": 10,
                "height": 10,
                "sha256": hashlib.sha256(bytes([n])).hexdigest(),
            }
        )
        interactions.append(
            {
                "query_id": f"q{n}",
                "query_text": "mug" if n % 2 else None,
                "query_image_id": None if n % 2 else f"i{n}",
                "product_id": f"p{n}",
                "event": "purchase",
                "timestamp": START + datetime.timedelta(hours=n),
                "split": "train" if n % 4 else "test",
            }
        )
    return {"products": products, "images": images, "interactions": interactions}


def check(root: Path, rows: Tables, params: ValidationParams | None = None) -> Any:
    for name, schema in CATALOG_TABLES.items():
        write_table(root / name, schema, rows.get(name, []))
    return checks.check_catalog(Catalog.open(root), params or ValidationParams(), root.parent / "docs")


def rejected(table: str, count: int) -> list[dict[str, str]]:
    return [{"table": table, "row_id": f"r{n}", "reason": "no_title", "detail": ""} for n in range(count)]


def test_a_sound_catalogue_passes_and_leaves_docs(tmp_path: Path) -> None:
    found = check(tmp_path / "c", tables())
    assert (found.failures, found.warnings) == ([], [])
    index = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    for suite in ("schema", "products", "images", "interactions", "rejected"):
        assert suite in index
        assert list((tmp_path / "docs" / "validations" / suite).rglob("*.html"))
    page = (tmp_path / "docs" / "expectations" / "products.html").read_text(encoding="utf-8")
    assert "No rows that have no category" in page


SAYS = {
    "products": {
        "share their product_id with another row, such as p1": {"product_id": "p1"},
        "have no product_id": {"product_id": None},
        "have no title": {"title": None},
        "name a picture that is not in the images table": {"image_ids": ["i0", "gone"]},
        "have a split other than train, val, test": {"split": "holdout"},
    },
    "images": {
        "share their image_id with another row": {"image_id": "i1"},
        "have no image_id": {"image_id": None},
        "are less than 2 pixels wide": {"width": 1},
        "are less than 2 pixels high": {"height": 0},
        "have a malformed sha256": {"sha256": "xyz"},
        "have no sha256": {"sha256": None},
    },
    "interactions": {
        "share their query_id with another row": {"query_id": "q1"},
        "have no query_id": {"query_id": None},
        "have neither a query text nor a query picture": {"query_text": "  ", "query_image_id": None},
        "bought a product that is not in the products table": {"product_id": "gone"},
        "ask with a picture that is not in the images table": {"query_image_id": "gone"},
        "have no timestamp": {"timestamp": None},
        "have no event": {"event": None},
        "have a split other than": {"split": ""},
    },
}
"""Table -> what is said -> the change of one row that makes it true."""


def test_every_suite_catches_its_planted_faults_and_nothing_else(tmp_path: Path) -> None:
    rows = tables()
    for n in range(2, 20):  # broken rows are not referred to
        rows["products"][n]["image_ids"] = ["i39"]
        rows["interactions"][n].update(query_text="mug", query_image_id=None, product_id="p39")
    for table, faults in SAYS.items():
        for n, change in enumerate(faults.values(), start=2):
            rows[table][n].update(change)
    rows["rejected"] = rejected("images", 20)
    found = check(tmp_path / "c", rows)
    expected = [f"rows of {table} {says}" for table, faults in SAYS.items() for says in faults]
    expected.append("20 of 60 rows of images were rejected, more than 20.0%: no_title 20")
    missed = [says for says in expected if not any(says in failure for failure in found.failures)]
    assert (missed, len(found.failures), found.warnings) == ([], len(expected), [])
    assert any(failure.endswith("pixels wide, such as i4") for failure in found.failures)


def test_no_interactions_at_all_says_how_to_get_them(tmp_path: Path) -> None:
    (failure,) = check(tmp_path / "c", tables() | {"interactions": []}).failures
    assert failure.startswith("interactions has 0 rows, at least 16 are needed") and "query_text" in failure


def test_few_products_fail(tmp_path: Path) -> None:
    found = check(tmp_path / "c", tables(), ValidationParams(min_products=41))
    assert found.failures == ["products has 40 rows, at least 41 are needed: give a catalogue with more products"]


def test_a_small_share_warns_and_a_large_one_fails(tmp_path: Path) -> None:
    faults = {
        "have a title of less than 2 characters": {"title": "x"},
        "have no category": {"category_path": []},
        "have no picture": {"image_ids": []},
    }
    for count, name in ((2, "warnings"), (3, "failures")):
        rows = tables()
        for place, change in enumerate(faults.values()):
            for row in rows["products"][10 * place : 10 * place + count]:
                row.update(change)
        found = check(tmp_path / name / "c", rows)
        expected = [f"{count} of 40 rows of products {says}, such as p{10 * n}" for n, says in enumerate(faults)]
        assert [", ".join(sentence.split(", ")[:2]) for sentence in getattr(found, name)] == expected
        assert len(found.failures) + len(found.warnings) == len(faults)


def test_rejected_rows_and_no_held_out_query_warn(tmp_path: Path) -> None:
    rows = tables()
    rows["rejected"] = rejected("images", 2)
    for row in rows["interactions"]:
        row["split"] = "train"
    found = check(tmp_path / "c", rows)
    assert found.failures == [] and len(found.warnings) == 2
    assert found.warnings[0].startswith("2 of 42 rows of images were rejected, more than 1.0%: no_title 2;")
    assert "nothing to evaluate" in found.warnings[1]


def test_a_column_of_another_type_fails_before_the_rows_are_read(tmp_path: Path) -> None:
    rows = tables()
    check(tmp_path / "c", rows)
    schema = CATALOG_TABLES["images"]
    index = schema.get_field_index("width")
    wrong = schema.set(index, pa.field("width", pa.string())).append(pa.field("extra", pa.int8()))
    for row in rows["images"]:
        row["width"] = str(row["width"])
    pq.write_table(pa.Table.from_pylist(rows["images"], schema=wrong), tmp_path / "c" / "images" / "part-00000.parquet")
    found = checks.check_catalog(Catalog.open(tmp_path / "c"), ValidationParams(), tmp_path / "docs2")
    (failure,) = found.failures
    assert "2 of 33 rows of schema are not as the schema says" in failure
    assert "images.width" in failure and "images.extra" in failure
