from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKED = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_lock_holds_exact_versions_and_nothing_else() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in LOCKED)
    assert all(re.fullmatch(r"[0-9][\w.]*", version) for version in LOCKED.values())
    assert LOCKED["torch"] == "2.13.0"


def test_every_dependency_is_locked_at_a_version_it_allows() -> None:
    asked = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(LOCKED[requirement.name]), str(requirement)


def test_a_plain_install_brings_no_torch() -> None:
    assert not {"torch", "transformers", "kfp"} & {Requirement(one).name for one in PROJECT["dependencies"]}
