from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from moon.catalog.store import Catalog
from moon.config import Params, parse_params
from moon.steps import render
from pipelines.catalogue import prepare


def params(*changes: str) -> Params:
    return parse_params("render: {products: 4, interactions: 12, image_size: 96}", changes)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_rendered_catalogue_goes_to_data_and_is_not_made_twice(tmp_path: Path, out: Path) -> None:
    data = tmp_path / "data"
    assert prepare(params(), out, data) == data
    made = data.stat().st_ino
    assert prepare(params(), out, data) == data
    assert data.stat().st_ino == made
    assert not (out / "catalog").exists()


def test_changed_parameters_replace_what_was_made_here(tmp_path: Path, out: Path) -> None:
    data = tmp_path / "data"
    prepare(params(), out, data)
    before = Catalog.open(data).digest()
    assert prepare(params("render.seed=8"), out, data) == data
    assert Catalog.open(data).digest() != before


def test_what_someone_else_put_into_data_is_left_alone(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    render.run(params=params("render.seed=9").render, out=data)
    theirs = Catalog.open(data).digest()
    with caplog.at_level(logging.WARNING):
        assert prepare(params(), out, data) == out / "catalog"
    assert "left alone" in caplog.text
    assert Catalog.open(data).digest() == theirs


def test_the_same_catalogue_made_by_the_command_line_is_used(tmp_path: Path, out: Path) -> None:
    data = tmp_path / "data"
    render.run(params=params().render, out=data)
    made = data.stat().st_ino
    assert prepare(params(), out, data) == data
    assert data.stat().st_ino == made
    assert json.loads((out / "catalog.json").read_text())["folder"] == str(data)


def test_a_finished_catalogue_is_taken_as_it_is(tiny_catalog: Path, out: Path) -> None:
    assert prepare(params(f"catalog.source={tiny_catalog}"), out) == tiny_catalog
    with pytest.raises(ValueError, match="is not a catalogue"):
        prepare(params(f"catalog.source={out}"), out)


def test_an_import_is_made_again_when_its_files_change(tmp_path: Path, out: Path) -> None:
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "cup.jpg")
    table = tmp_path / "items.jsonl"
    table.write_text(json.dumps({"product_id": "p1", "title": "Cup", "images": ["cup.jpg"]}) + "\n")
    mine = params(f"catalog.source=table:{table}")
    assert prepare(mine, out) == out / "catalog"
    first = (out / "catalog.json").read_text()
    prepare(mine, out)
    assert (out / "catalog.json").read_text() == first
    table.write_text(json.dumps({"product_id": "p2", "title": "Plate", "images": ["cup.jpg"]}) + "\n")
    prepare(mine, out)
    assert (out / "catalog.json").read_text() != first
