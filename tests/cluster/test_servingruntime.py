from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from moon.cluster.inferenceservice import to_yaml
from moon.cluster.servingruntime import serving_runtime
from moon.config import ServingParams
from tests.manifests.rendering import MANIFESTS

BASE = MANIFESTS / "base" / "servingruntime.yaml"


def container(params: ServingParams) -> dict[str, Any]:
    [one] = serving_runtime(params)["spec"]["containers"]
    return dict(one)


def test_the_base_manifest_is_what_the_code_renders() -> None:
    rendered = serving_runtime(ServingParams())
    assert yaml.safe_load(BASE.read_text()) == rendered, f"replace {BASE} with:\n{to_yaml(rendered)}"


def test_parameters_reach_the_manifest() -> None:
    params = ServingParams(namespace="shop", image="registry/x@sha256:1", startup_seconds=600)
    assert serving_runtime(params)["metadata"]["namespace"] == "shop"
    one = container(params)
    assert one["image"] == "registry/x@sha256:1"
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= 600


def test_variables_are_named_once_and_kserve_takes_them() -> None:
    names = [variable["name"] for variable in container(ServingParams())["env"]]
    assert "PYTHONPATH" not in names  # KServe's webhook refuses it
    assert len(set(names)) == len(names)


def test_the_server_knows_the_flags_of_the_manifest(tmp_path: Path) -> None:
    """With a model folder that does not exist the server ends with its own error, not that of its flags."""
    one = container(ServingParams())
    _, *command = one["command"]
    arguments = [argument.replace("/mnt/models", str(tmp_path / "none")) for argument in one["args"]]
    done = subprocess.run([sys.executable, *command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "unrecognized arguments" not in done.stderr, done.stderr
    assert str(tmp_path / "none") in done.stderr
