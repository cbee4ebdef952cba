"""Where the data, the code and the model of a registered version came from, as a run itself can tell."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from moon.catalog.store import Catalog
from moon.cluster.lineage import IMAGE
from moon.steps import outcome
from moon.steps.git import asked
from moon.steps.provenance import GIT_SHA, git_sha

_PACKAGE: Final = Path(__file__).parents[1]
_FETCHED: Final = {"source": "source", "dvc": "revision", "path": "path", "md5": "md5"}
"""Fact -> entry of a fetch step's result."""


def of_catalog(catalog: Path) -> dict[str, str]:
    """``data`` of a catalogue folder, and where it came from as far as it is known for certain.

    What the fetch step noted in the folder holds if the content still is what it brought. A folder with its DVC file
    beside it is named by the commit of that file, if both are unchanged since.
    """
    digest = Catalog.open(catalog).digest()
    fetched = _noted(catalog)
    if fetched.get("digest") == digest and "source" in fetched:
        return {"data": digest, **{ours: str(fetched.get(theirs, "")) for ours, theirs in _FETCHED.items()}}
    return {"data": digest, **_tracked(catalog)}


def of_training(model: Path) -> dict[str, str]:
    """``data`` and ``start`` of a model folder that lies where the train step put it; else nothing."""
    noted = _noted(model.parent)
    return {name: str(noted[name]) for name in ("data", "start") if noted.get(name)}


def revision_of(model: Path) -> str:
    """The revision that the train step noted; empty where the folder lies elsewhere."""
    return str(_noted(model.parent).get("revision", ""))


def of_code() -> dict[str, str]:
    """``git``: the commit of the running code, from the image or the checkout; empty where neither tells."""
    commit = git_sha()
    changed = commit and not os.environ.get(GIT_SHA) and asked(_PACKAGE, "status", "--porcelain", "--", ".")
    return {"git": f"{commit}-dirty" if changed else commit}


def of_images(text: str) -> dict[str, str]:
    """``image.NAME`` of those images that are named by digest; a tag may come to mean another image.

    Args:
        text: JSON object from name to image; empty is none.

    Raises:
        ValueError: it is no JSON object of texts.
    """
    try:
        images = json.loads(text or "{}")
    except ValueError:
        images = None
    if not isinstance(images, Mapping) or not all(isinstance(one, str) for one in images.values()):
        raise ValueError(f"images: got {text[:200]!r}, expected a JSON object such as {{'train': 'NAME@sha256:...'}}")
    return {f"{IMAGE}{name}": image for name, image in images.items() if "@sha256:" in image}


def _noted(folder: Path) -> dict[str, Any]:
    """A step's result; empty where there is none, or none that can be read."""
    try:
        return outcome.read(folder)
    except ValueError:
        return {}


def _tracked(catalog: Path) -> dict[str, str]:
    """Where Git and DVC track a folder; empty where they do not, or do not name what it holds now."""
    pointer = catalog.resolve().with_name(f"{catalog.resolve().name}.dvc")
    folder = pointer.parent
    if not pointer.is_file() or asked(folder, "status", "--porcelain", "--", pointer.name) != "":
        return {}
    root = asked(folder, "rev-parse", "--show-toplevel")
    commit = asked(folder, "log", "-1", "--format=%H", "--", pointer.name)
    md5 = _unchanged(pointer) if root and commit else ""
    if not root or not commit or not md5:
        return {}
    origin = asked(folder, "remote", "get-url", "origin")
    path = pointer.with_suffix("").relative_to(Path(root).resolve()).as_posix()
    return {"source": _public(origin) if origin else root, "dvc": commit, "path": path, "md5": md5}


def _unchanged(pointer: Path) -> str:
    """The MD5 in a DVC file, if what it tracks still has it; else empty."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(pointer.parent)) as repo:
            (out,) = repo.find_outs_by_path(str(pointer.with_suffix("")))
            return "" if out.status() else str(out.hash_info.value)
    except (DvcException, ValueError):
        return ""


def _public(url: str) -> str:
    """An address without the user and the token that some keep in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
