"""The floors of the house, and what no file may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"moon.config", "moon.progress", "moon.telemetry", "moon.threads", "moon.vision"},
    {"moon.model", "moon.catalog", "moon.retrieval", "moon.cluster"},
    {"moon.items"},
    {"moon.training", "moon.evaluation", "moon.serving", "moon.monitoring"},
    {"moon.steps"},
    {"moon.cli", "components"},
    {"pipelines"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Plain helpers of floor 1 that the rooms beside them use too.
OPEN = {"moon", "moon.config", "moon.progress", "moon.telemetry", "moon.threads"}
SOURCES = sorted(path for folder in ("moon", "components", "pipelines") for path in (ROOT / folder).rglob("*.py"))


def room_of(module: str) -> str:
    """moon.vision.boxes -> moon.vision, components.fetch.component -> components."""
    parts = module.split(".")
    return parts[0] if parts[0] in ("components", "pipelines") else ".".join(parts[:2])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            name = node.module or ""
            # `from moon import x` and `from moon.steps import x` name a module by their last part.
            yield from (f"{name}.{alias.name}" if name in ("moon", "moon.steps") else name for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "moon":
        return
    for name in imports(path):
        other = room_of(name)
        if other.split(".")[0] not in ("moon", "components", "pipelines") or other in OPEN or other not in FLOOR_OF:
            assert not other.startswith("moon.") or other in OPEN or other == "moon.__version__", (
                f"unknown room {other}"
            )
            continue
        assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{room} may not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_do_not_print(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module_of(path)) for path in SOURCES} - {"moon"}
    assert rooms == set(FLOOR_OF)


def test_no_file_asks_for_a_moving_image_or_installs_at_run_time() -> None:
    files = [path for path in ROOT.rglob("*") if path.suffix in (".py", ".yaml", ".yml", ".toml", ".lock")]
    tracked = [
        path for path in files if not {".venv", ".uv", "runs", "data", "tests"} & set(path.relative_to(ROOT).parts)
    ]
    assert len(tracked) > 50
    for path in tracked:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"image:? .*:latest|packages_to_install", text), path
        assert not re.search(r"(pypi\.org|pythonhosted\.org|download\.pytorch\.org|index-url|find-links)", text), path
