"""Renders overlays as `kubectl apply -k` would."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (MANIFESTS / "components").iterdir())
CLUSTER = [MANIFESTS / "cluster", MANIFESTS / "cluster" / "kueue"]
"""What concerns the whole cluster."""
APPLIED = [
    *(MANIFESTS / "overlays" / name for name in OVERLAYS),
    *CLUSTER,
    MANIFESTS / "standalone",
    MANIFESTS / "tools",
]
"""Everything that somebody applies."""
_OUR_SCHEMAS = Path(__file__).parent / "schemas"

_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@functools.cache
def _kustomize(folder: Path) -> str:
    return subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout


def render(folder: Path) -> str:
    """A rendered folder; the test is skipped without kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return _kustomize(folder)


def bodies(folder: Path) -> list[dict[str, Any]]:
    """The objects of a rendered folder."""
    return copy.deepcopy(_parsed(render(folder)))


@functools.cache
def _parsed(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def with_component(component: str, tmp_path: Path) -> list[dict[str, Any]]:
    """The base with one component."""
    return copy.deepcopy(_parsed(_with_component(component, tmp_path)))


_rendered: dict[str, str] = {}


def _with_component(component: str, tmp_path: Path) -> str:
    if component not in _rendered:
        shutil.copytree(MANIFESTS, tmp_path / "manifests")
        overlay = tmp_path / "manifests" / "overlays" / "one"
        overlay.mkdir()
        kustomization = {"resources": ["../../base"], "components": [f"../../components/{component}"]}
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        _rendered[component] = render(overlay)
    return _rendered[component]


def only(kind: str, found: list[dict[str, Any]], name: str = "") -> dict[str, Any]:
    """The one object of a kind, or of a kind and name."""
    [one] = [body for body in found if body["kind"] == kind and name in ("", body["metadata"]["name"])]
    return one


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number."""
    number, unit = re.fullmatch(r"([\d.]+)([a-zA-Z]*)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def validate(schemas: Path, *manifests: Path) -> None:
    """Checks manifests against the custom resources, ours among them, and the core kinds."""
    done = validated(schemas, *manifests)
    assert done.returncode == 0, done.stdout + done.stderr


def validated(schemas: Path, *manifests: Path) -> subprocess.CompletedProcess[str]:
    """What the validator says: a line for each object, beginning with OK or BAD."""
    with tempfile.TemporaryDirectory() as both:
        for schema in (*schemas.glob("*.json"), *_OUR_SCHEMAS.glob("*.json")):
            (Path(both) / schema.name).symlink_to(schema)
        command = [sys.executable, str(schemas / "crd2schema.py"), "validate", both, *map(str, manifests)]
        return subprocess.run([*command, "--core", "1.37"], capture_output=True, text=True)
