from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.base import image
from pipelines import compile as compiling

SIDE_EFFECTS = {"register", "deploy", "replay", "report", "report-2", "stop"}


def compiled(name: str) -> dict[str, Any]:
    documents = list(yaml.safe_load_all((compiling.COMPILED / f"{name}.yaml").read_text()))
    assert len(documents) == 1
    return dict(documents[0])


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All container tasks of a pipeline, those in groups too."""
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    named = {name: task for dag in dags for name, task in dag["tasks"].items()}
    return {
        name: task
        for name, task in named.items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


def test_the_committed_yaml_is_what_the_code_says() -> None:
    assert compiling.check() == []


def test_a_stale_or_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compiling.COMPILED, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "moon-train.yaml"
    path.write_text("# a comment changes nothing\n" + path.read_text())
    assert compiling.check(tmp_path) == []
    path.write_text(path.read_text().replace("schemaVersion: 2.1.0", "schemaVersion: 2.0.0"))
    (tmp_path / "moon-monitor.yaml").unlink()
    assert compiling.check(tmp_path) == ["moon-train", "moon-monitor"]
    monkeypatch.setenv("MOON_IMAGE", "registry.local/moon-python:test")
    assert compiling.check() == ["moon-train", "moon-monitor"]


@pytest.mark.parametrize("name", compiling.PIPELINES)
def test_the_api_server_would_take_it(name: str) -> None:
    spec = json_format.ParseDict(compiled(name), pipeline_spec_pb2.PipelineSpec())  # refuses an unknown field
    assert (spec.schema_version, spec.pipeline_info.name) == ("2.1.0", name)
    assert len(spec.root.input_definitions.parameters) <= 12


@pytest.mark.parametrize("name", compiling.PIPELINES)
def test_every_task_runs_our_image_and_installs_nothing(name: str) -> None:
    for label, executor in compiled(name)["deploymentSpec"]["executors"].items():
        component = re.sub(r"^exec-|-\d+$", "", label).replace("-", "_")
        assert executor["container"]["image"] == image(component)
        assert "pip install" not in " ".join(executor["container"]["command"])
        assert {"name": "DO_NOT_TRACK", "value": "1"} in executor["container"]["env"]


@pytest.mark.parametrize("name", compiling.PIPELINES)
def test_pure_tasks_are_cached_and_no_others(name: str) -> None:
    uncached = {task for task, one in tasks(compiled(name)).items() if not one["cachingOptions"].get("enableCache")}
    assert uncached == (SIDE_EFFECTS if name == "moon-train" else set())


def test_nothing_is_trained_on_data_that_failed_and_nothing_served_that_did_not_pass() -> None:
    spec = compiled("moon-train")
    main = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert "validate" in main["regions"]["dependentTasks"] and "validate" in main["initialise"]["dependentTasks"]
    groups = [one["dag"]["tasks"] for one in spec["components"].values() if "dag" in one]
    assert [sorted(group) for group in groups if "register" in group] == [
        ["deploy", "drift", "register", "replay", "report"]
    ]
    branches = spec["components"]["comp-condition-branches-2"]["dag"]["tasks"].values()
    conditions = sorted(branch["triggerPolicy"]["condition"] for branch in branches)
    passed = "inputs.parameter_values['pipelinechannel--gate-Output'] == true"
    assert conditions == [f"!({passed})", passed]


def test_the_defaults_of_the_recipe_are_the_default_parameters() -> None:
    from moon.config import Params, parse_params

    inputs = compiled("moon-train")["root"]["inputDefinitions"]["parameters"]
    assert parse_params(inputs["recipe"]["defaultValue"]) == Params()
    assert {name for name, one in inputs.items() if "defaultValue" not in one} == {"data", "registry", "deployment"}
