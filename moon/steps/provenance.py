"""What an artefact of a pipeline was made from, as the metadata that goes with it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from moon import __version__

GIT_SHA: Final = "MOON_GIT_SHA"
"""Variable that an image sets to the commit that it was built from."""
_INHERITED: Final = ("data_digest", "data_revision")


def origin(*inputs: Mapping[str, Any], **params: str) -> dict[str, str]:
    """Code, data and parameters behind an artefact; what is not known is left out.

    Args:
        inputs: metadata of the artefacts that it was made from; the data's digest and revision are taken over.
        params: name of a section -> its canonical JSON.

    Returns:
        ``moon_version``, ``git_sha``, ``data_digest``, ``data_revision``, and ``recipe``, the start of the SHA-256 over
        the sections.
    """
    found = {"moon_version": __version__, "git_sha": git_sha()}
    for metadata in inputs:
        found.update({name: str(metadata[name]) for name in _INHERITED if metadata.get(name)})
    if params:
        text = "\0".join(f"{name}\0{value}" for name, value in sorted(params.items()))
        found["recipe"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {name: value for name, value in found.items() if value}


@cache
def git_sha() -> str:
    """The commit of this code: what the image says, else what Git says of the checkout; empty where neither does."""
    if said := os.environ.get(GIT_SHA):
        return said
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""
