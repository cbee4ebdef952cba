"""Renders overlays as `kubectl apply -k` would."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (MANIFESTS / "components").iterdir())


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
    return list(yaml.safe_load_all(render(folder)))


def with_component(component: str, tmp_path: Path) -> list[dict[str, Any]]:
    """The base with one component."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    overlay = tmp_path / "manifests" / "overlays" / "one"
    overlay.mkdir()
    kustomization = {"resources": ["../../base"], "components": [f"../../components/{component}"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return bodies(overlay)


def only(kind: str, found: list[dict[str, Any]], name: str = "") -> dict[str, Any]:
    """The one object of a kind, or of a kind and name."""
    [one] = [body for body in found if body["kind"] == kind and name in ("", body["metadata"]["name"])]
    return one


def validate(schemas: Path, manifest: Path) -> None:
    """Checks a manifest against the custom resources and the core kinds."""
    command = [sys.executable, str(schemas / "crd2schema.py"), "validate", str(schemas), str(manifest)]
    done = subprocess.run([*command, "--core", "1.37"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
