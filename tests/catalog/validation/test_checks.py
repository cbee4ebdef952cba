from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog
from moon.config import ValidationParams
from tests.catalog.validation.faults import FAULTS
from tests.catalog.validation.sound import Tables, rejected, tables, write

checks = pytest.importorskip("moon.catalog.validation.checks")
from moon.catalog.validation.suites import SUITES  # noqa: E402 (after the skip)

RULES = {rule.name: (suite, rule) for suite in SUITES for rule in suite.rules(ValidationParams())}


def check(root: Path, rows: Tables, **params: Any) -> Any:
    return checks.check_catalog(write(root / "c", rows), ValidationParams(**params), root / "docs")


def broken(root: Path, rows: Tables, name: str, **params: Any) -> list[Any]:
    """Results of one suite that are not passed."""
    (suite,) = (suite for suite in SUITES if suite.name == name)
    read = checks.Tables(write(root / "c", rows))
    results = checks.check_suite(checks.docs_context(root / "docs"), suite, read, ValidationParams(**params))
    return [result for result in results if result.state != "passed"]


def test_a_sound_catalogue_passes_every_check(tmp_path: Path) -> None:
    found = check(tmp_path, tables())
    assert (found.failures, found.warnings) == ([], [])
    assert [result.rule.name for result in found.results] == list(RULES)


def test_every_check_has_a_planted_fault_and_a_row_in_the_docs() -> None:
    assert set(FAULTS) | {"schema"} == set(RULES)
    page = (Path(__file__).parents[3] / "docs" / "validation.md").read_text(encoding="utf-8")
    assert [name for name in RULES if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_by_its_check_alone(name: str, tmp_path: Path) -> None:
    suite, rule = RULES[name]
    rows, fault = tables(), FAULTS[name]
    fault.plant(rows)
    states = {result.rule.name: result for result in broken(tmp_path, rows, suite.name, **fault.params)}
    assert set(states) == {name} | fault.also
    assert states[name].state == ("failed" if rule.severity == "fail" else "warned")
    sentence, asked = states[name].sentence, states[name].rule
    assert sentence.endswith(asked.advice)
    assert (f"at least {asked.arguments['min_value']} are needed" if name.endswith("-rows") else asked.says) in sentence


def test_a_small_share_warns_and_a_large_one_fails(tmp_path: Path) -> None:
    for count, state in ((6, "warned"), (7, "failed")):
        rows = tables()
        for row in rows["products"][:count]:
            row.update(category_path=[])
        (found,) = broken(tmp_path / state, rows, "products")
        assert found.state == state
        says = f"{count} of 120 rows of products have no category, such as p0 (0), p1 (0), p2 (0):"
        assert found.sentence.startswith(says)


def test_a_blemish_below_the_threshold_is_let_pass(tmp_path: Path) -> None:
    rows = tables()
    rows["products"][5]["title"] = "4711"
    assert len(broken(tmp_path / "one", rows, "products")) == 1
    assert broken(tmp_path / "two", rows, "products", warn_unexpected_share=0.01) == []


def test_what_is_asked_of_a_catalogue_without_rows(tmp_path: Path) -> None:
    found = check(tmp_path, {"rejected": rejected("images", 3)})
    assert len(found.failures) == 3  # no products, no interactions, everything rejected
    assert found.warnings == []
    assert "interactions has 0 rows, at least 16 are needed" in found.failures[1]
    assert "catalog.columns.query_text" in found.failures[1]


@pytest.mark.parametrize("all_rows", [False, True])
def test_nulls_anywhere_are_findings_and_not_crashes(all_rows: bool, tmp_path: Path) -> None:
    rows = tables()
    for table in rows.values():
        for number, column in enumerate(table[0]):
            for row in table if all_rows else table[number : number + 1]:
                row[column] = None
    if not all_rows:
        rows["products"][30]["attributes"] = [None]
        rows["products"][31]["attributes"] = [{"key": None, "values": None}]
        rows["products"][32]["attributes"] = [{"key": "colour", "values": [None]}]
        rows["products"][33]["image_ids"] = [None]
        rows["products"][34]["category_path"] = [None, "Mugs"]
        rows["images"][40]["image"] = {"bytes": None, "path": None}
    assert len(check(tmp_path, rows).failures) > 15


def test_evenly_spaced_times_say_nothing_about_order(tmp_path: Path) -> None:
    rows = tables()
    FAULTS["trained-later"].plant(rows)
    start = rows["interactions"][0]["timestamp"]
    for number, row in enumerate(rows["interactions"]):
        row["timestamp"] = start + datetime.timedelta(hours=number)
    assert broken(tmp_path, rows, "leakage") == []


def test_a_column_of_another_type_fails_before_the_rows_are_read(tmp_path: Path) -> None:
    rows = tables()
    write(tmp_path / "c", rows)
    schema = CATALOG_TABLES["images"]
    index = schema.get_field_index("width")
    wrong = schema.set(index, pa.field("width", pa.string())).append(pa.field("extra", pa.int8()))
    for row in rows["images"]:
        row["width"] = str(row["width"])
    pq.write_table(pa.Table.from_pylist(rows["images"], schema=wrong), tmp_path / "c" / "images" / "part-00000.parquet")
    found = checks.check_catalog(Catalog.open(tmp_path / "c"), ValidationParams(), tmp_path / "docs")
    (failure,) = found.failures
    assert "2 of 33 columns are not as the schema says" in failure
    assert "images.width (string instead of int32)" in failure and "images.extra" in failure
    assert len(found.results) == 1


def test_the_pages_need_no_network_and_escape_what_sources_say(tmp_path: Path) -> None:
    rows = tables()
    rows["products"][5]["title"] = "<script>alert(1)</script>"
    rows["products"][6]["product_id"] = "<img src=x>"
    found = check(tmp_path, rows)
    assert found.failures  # p6 is still bought
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert len(pages) == 2 * len(SUITES) + 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "http" not in text and "<script" not in text and "<img" not in text, page
    index = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert "title-damaged" in index and "&lt;script&gt;" in index
    for suite in SUITES:
        (page,) = (tmp_path / "docs" / "validations" / suite.name).rglob("*.html")
        assert page.relative_to(tmp_path / "docs").as_posix() in index
