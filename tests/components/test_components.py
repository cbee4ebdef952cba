"""What holds for every component, and that its adapter calls its step as the step is."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.base import image
from moon import telemetry
from moon.config import Params

ROOT = Path(__file__).parents[2] / "components"
NAMES = sorted(path.parent.name for path in ROOT.glob("*/component.py"))


def component(name: str) -> Any:
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def function_of(name: str) -> ast.FunctionDef:
    tree = ast.parse((ROOT / name / "component.py").read_text())
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_short_typed_and_described(name: str) -> None:
    function = function_of(name)
    assert function.name == name
    assert function.end_lineno is not None and function.end_lineno - function.body[1].lineno < 25
    assert all(argument.annotation for argument in function.args.args)
    readme = (ROOT / name / "README.md").read_text()
    assert readme.startswith(f"# {name}\n")
    for argument in function.args.args:
        if argument.arg not in ("params", "regions_params"):
            assert f"`{argument.arg}`" in readme or argument.arg in readme, f"README does not name {argument.arg}"


@pytest.mark.parametrize("name", NAMES)
def test_a_component_installs_nothing_and_reports_nothing(name: str) -> None:
    container = component(name).component_spec.implementation.container
    assert container.image == image(name)
    assert container.env == telemetry.OFF
    assert "pip install" not in " ".join(container.command)


@pytest.mark.parametrize("name", NAMES)
def test_a_body_imports_only_moon_and_the_standard_library(name: str) -> None:
    modules = {node.module for node in ast.walk(function_of(name)) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules if module} <= {"moon", "pathlib"}


@pytest.mark.parametrize("name", NAMES)
def test_a_body_calls_its_step_with_arguments_that_the_step_has(name: str) -> None:
    body = function_of(name)
    step = next(alias.name for node in ast.walk(body) if isinstance(node, ast.ImportFrom) for alias in node.names
                if alias.asname == "step")  # fmt: skip
    module = importlib.import_module(f"moon.steps.{step}")
    calls = [node for node in ast.walk(body) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
             and isinstance(node.func.value, ast.Name) and node.func.value.id == "step"]  # fmt: skip
    assert calls
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        signature = inspect.signature(getattr(module, call.func.attr))
        given = {keyword.arg for keyword in call.keywords if keyword.arg}
        assert given <= set(signature.parameters)


def test_configure_hands_out_the_sections_that_the_steps_read(tmp_path: Path) -> None:
    from moon.steps import configure

    made = configure.run(recipe="{training: {steps: 3}, launch: {cpu: '6'}, pipeline: {shards: 2}}")
    more = {"cpu": "6", "memory": made.memory, "shards": ["1/2", "2/2"]}
    outputs = [one for one in component("configure").component_spec.outputs if one != "recipe_file"]
    file = dsl.Artifact(uri=str(tmp_path / "recipe"))
    given = component("configure").python_func(recipe=made.text, recipe_file=file)
    assert given == tuple({**made.sections, **more}[one] for one in outputs)
    assert (tmp_path / "recipe").read_text() == made.text and file.metadata["recipe_digest"] == made.sections["digest"]
    assert set(outputs) - {"digest", *more} <= set(Params.__dataclass_fields__)
    assert configure.run(recipe="").sections["digest"] != made.sections["digest"]
    assert configure.run(recipe=f"{made.text} # another spelling").sections["digest"] == made.sections["digest"]
