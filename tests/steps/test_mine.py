"""The mine step on a small catalogue, with an untrained model."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from moon.catalog.schema import SCHEMA_VERSION
from moon.catalog.store import Catalog, read_table
from moon.config import MiningParams
from moon.items import query_key
from moon.steps import mine


def negatives(out: Path) -> dict[str, dict[str, Any]]:
    return {row["query_id"]: row for row in read_table(out / "negatives").to_pylist()}


@pytest.fixture(scope="module")
def mined(tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mine")
    mine.run(
        catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, params=MiningParams(category_level=1), out=out
    )
    return out


def test_negatives_are_products_of_the_category_that_nobody_bought(tiny_catalog: Path, mined: Path) -> None:
    catalog = Catalog.open(tiny_catalog)
    products = {row["product_id"]: row for row in catalog.rows("products")}
    asked = [row for row in catalog.rows("interactions") if row["split"] == "train"]
    bought: dict[Any, set[str]] = {}
    for row in asked:
        bought.setdefault(query_key(row), set()).add(row["product_id"])
    found = negatives(mined)
    assert found.keys() == {row["query_id"] for row in asked}
    for row in asked:
        one = found[row["query_id"]]
        assert not bought[query_key(row)] & set(one["negative_ids"])
        for id_ in one["negative_ids"]:
            assert products[id_]["split"] == "train"
            assert products[id_]["category_path"][0] == products[row["product_id"]]["category_path"][0]
    assert any(one["negative_ids"] for one in found.values())


def test_the_queue_is_empty_without_a_threshold(mined: Path) -> None:
    assert read_table(mined / mine.RELABEL_TABLE).num_rows == 0
    assert "No pairs" in (mined / mine.SHEET).read_text()


@pytest.fixture(scope="module")
def calibrated(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[mine.MineResult, Path]:
    out = tmp_path_factory.mktemp("calibrated")
    params = MiningParams(category_level=0, positive_aware="calibrated", rejection_rate=0.3, pool=8, relabel=12)
    inputs = {"catalog": tiny_catalog, "regions": tiny_regions, "model": tiny_model}
    return mine.run(**inputs, params=params, out=out), out


def test_rejected_candidates_are_kept_to_look_through(calibrated: tuple[mine.MineResult, Path]) -> None:
    result, out = calibrated
    assert result.rejection_rate == pytest.approx(0.3, abs=0.01)
    queue = read_table(out / mine.RELABEL_TABLE).to_pylist()
    assert len(queue) == result.relabel == 12
    chosen = negatives(out)
    for row in queue:
        assert row["candidate_id"] not in chosen[row["query_id"]]["negative_ids"]
    above = [row["score"] - row["positive_score"] for row in queue]
    assert above == sorted(above, reverse=True)


def test_the_sheet_needs_nothing_from_outside(calibrated: tuple[mine.MineResult, Path]) -> None:
    page = (calibrated[1] / mine.SHEET).read_text()
    assert page.count("<article>") == 12 and "12 pairs" in page
    assert page.count('src="data:image/jpeg;base64,') >= 24
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page


def test_what_is_the_same_as_the_bought_product_is_no_negative(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, mined: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = {row["query_id"]: row for row in Catalog.open(tiny_catalog).rows("interactions")}
    before = next(row for row in negatives(mined).values() if row["negative_ids"])
    near = before["negative_ids"][0]
    folder = tmp_path / "duplicates" / "duplicates"
    folder.mkdir(parents=True)
    table = pa.table({"product_id": [before["product_id"], near], "group_id": ["g", "g"]})
    pq.write_table(
        table.replace_schema_metadata({"moon.schema_version": SCHEMA_VERSION}), folder / "part-00000.parquet"
    )
    inputs = {"catalog": tiny_catalog, "regions": tiny_regions, "model": tiny_model}
    params = MiningParams(category_level=1)
    result = mine.run(**inputs, params=params, out=tmp_path / "mine", duplicates=tmp_path / "duplicates")
    assert result.same_products >= 2
    after = negatives(tmp_path / "mine")
    key = query_key(asked[before["query_id"]])
    for query_id, row in after.items():
        if query_key(asked[query_id]) == key:
            assert near not in row["negative_ids"]
    with pytest.raises(ValueError, match="names no product"):
        other = table.set_column(0, "product_id", pa.array(["x", "y"]))
        pq.write_table(
            other.replace_schema_metadata({"moon.schema_version": SCHEMA_VERSION}), folder / "part-00000.parquet"
        )
        mine.run(**inputs, params=params, out=tmp_path / "mine", duplicates=tmp_path / "duplicates")


def test_the_table_says_how_its_negatives_were_chosen() -> None:
    params = MiningParams(category_level=0, sampling="semi_hard", positive_aware="calibrated")
    assert mine._miner(params) == "catalogue/semi_hard/calibrated"
    assert mine._miner(dataclasses.replace(MiningParams(), category_level=2)) == "category-2"
