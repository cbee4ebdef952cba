from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import write_table
from moon.config import ValidationParams
from moon.steps import outcome, validate

pytest.importorskip("great_expectations")


def test_a_rendered_catalogue_passes(tiny_catalog: Path, tmp_path: Path) -> None:
    result = validate.run(catalog=tiny_catalog, params=ValidationParams(), out=tmp_path)
    assert (result.passed, result.failures, result.rejected) == (True, [], {})
    (warning,) = result.warnings
    assert "of 32 rows of products are alone in their category" in warning  # there are 25 categories
    assert result.checks > 90
    assert result.rows["products"] == 32 and result.rows["interactions"] > 100
    assert (tmp_path / result.docs).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert outcome.read(tmp_path) == dataclasses.asdict(result)


def test_a_failed_validation_is_a_result_and_replaces_old_docs(tmp_path: Path) -> None:
    rejected = [{"table": "products", "row_id": "p1", "reason": "no_title", "detail": ""}] * 2
    for name, schema in CATALOG_TABLES.items():
        write_table(tmp_path / "c" / name, schema, rejected if name == "rejected" else [])
    stale = tmp_path / "out" / "docs" / "stale.html"
    stale.parent.mkdir(parents=True)
    stale.touch()
    result = validate.run(catalog=tmp_path / "c", params=ValidationParams(), out=tmp_path / "out")
    assert not result.passed and result.rejected == {"products.no_title": 2}
    assert len(result.failures) == 3  # no products, no interactions, everything rejected
    assert not stale.exists()


def test_a_folder_that_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a catalogue"):
        validate.run(catalog=tmp_path, params=ValidationParams(), out=tmp_path / "out")
