from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.config import Params

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def outputs(stage: dict[str, Any]) -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_the_chain_has_its_stages() -> None:
    assert list(STAGES) == [
        "validate",
        "duplicates",
        "regions",
        "init",
        "mine",
        "augment",
        "train",
        "evaluate",
        "report",
    ]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_what_exists_or_is_made_before_it(name: str) -> None:
    before = [name_ for name_ in list(STAGES)[: list(STAGES).index(name)]]
    made = [Path(path) for stage in before for path in outputs(STAGES[stage])]
    for dependency in map(Path, STAGES[name]["deps"]):
        if dependency.parts[0] == "runs":
            assert any(dependency == path or path in dependency.parents for path in made), dependency
        else:
            assert dependency == Path("data") or (ROOT / dependency).exists(), dependency
    assert set(STAGES[name].get("params", [])) <= set(Params.__dataclass_fields__)
    assert all(path.startswith(f"runs/dvc/{name}") for path in outputs(STAGES[name]))


class Checkout:
    """A copy of the repository's tracked form with a small catalogue."""

    def __init__(self, root: Path, catalog: Path) -> None:
        self.root = root
        for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "moon"):
            (root / name).symlink_to(ROOT / name) if name == "moon" else (root / name).write_text(
                (ROOT / name).read_text()
            )
        (root / ".dvc").mkdir()
        config = (ROOT / ".dvc" / "config").read_text()
        (root / ".dvc" / "config").write_text(f"{config}    site_cache_dir = {root / '.dvc' / 'site'}\n")
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        self.catalog = catalog

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)

    def ran(self, *arguments: str) -> list[str]:
        ended = self.dvc("repro", *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return [line.split("'")[1] for line in ended.stdout.splitlines() if line.startswith("Running stage")]


@pytest.fixture
def checkout(tmp_path: Path, tiny_catalog: Path) -> Checkout:
    checkout = Checkout(tmp_path, tiny_catalog)
    (tmp_path / "data").symlink_to(tiny_catalog)
    return checkout


@pytest.mark.slow
def test_only_what_depends_on_a_change_runs_again(checkout: Checkout) -> None:
    assert checkout.ran("regions") == ["validate", "regions"]
    assert checkout.ran("regions") == []
    params = checkout.root / "params.yaml"
    params.write_text(params.read_text().replace("  pad: 0.05\n", "  pad: 0.1\n"))
    assert checkout.ran("regions") == ["regions"]
    shown = checkout.dvc("metrics", "show").stdout
    assert "runs/dvc/regions/metrics.json" in shown and "fallback_share" in shown
