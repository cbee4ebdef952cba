from __future__ import annotations

import json
from pathlib import Path

import pytest

from moon.cluster.registry import LocalRegistry
from moon.serving import lineage


def test_a_model_of_unknown_origin_has_none(tmp_path: Path) -> None:
    assert lineage.read(tmp_path) == {}


def test_a_registered_model_tells_its_version_data_and_recipe(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    registry = LocalRegistry(tmp_path / "registry")
    version = registry.register("moon", model, "digest", {"lineage": {"data": "d1", "recipe": "r1"}})
    stored = tmp_path / "registry" / "moon" / version.version / "model"
    told = {"name": "moon", "version": "v1", "digest": "digest", "data": "d1", "recipe": "r1"}
    assert lineage.read(stored) == told
    mounted = stored.rename(tmp_path / "mounted")  # a cluster has nothing but this folder
    assert lineage.read(mounted) == told


def test_the_models_own_file_wins(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "version.json").write_text(json.dumps({"version": "v3", "metadata": {"lineage": {"data": "d1"}}}))
    (model / lineage.FILE).write_text(json.dumps({"data": "d2", "dvc": "abc"}))
    assert lineage.read(model) == {"data": "d2", "dvc": "abc", "version": "v3"}


@pytest.mark.parametrize("text", ["{", "[]", '{"data": 1}'])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / lineage.FILE).write_text(text)
    with pytest.raises(ValueError, match=lineage.FILE):
        lineage.read(tmp_path)
