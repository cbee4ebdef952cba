"""The catalogue that a local run starts from: rendered, imported or taken as it is, and not made twice."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from moon.catalog.readers import READERS
from moon.catalog.readers.resume import files_digest
from moon.catalog.store import Catalog, CatalogError, folder_digest
from moon.config import Params, to_dict
from moon.steps import import_catalog, render

_LOG = logging.getLogger(__name__)
_RENDERER = Path(render.__file__).parents[1] / "catalog" / "render"


def prepare(params: Params, out: Path, data: Path = Path("data")) -> Path:
    """The folder of the catalogue that ``params.catalog.source`` names; made where it is not there yet.

    A rendered catalogue goes to ``data``, where DVC and the command line look for it, unless ``data`` holds another
    one that was not made here; then, like an imported one, it goes to ``out``. What was made from what is kept in
    ``out/catalog.json``.

    Raises:
        ValueError: the source cannot be read or is no catalogue.
    """
    form, _, place = params.catalog.source.partition(":")
    if form != "render" and form not in READERS:
        return Catalog.open(Path(params.catalog.source)).root
    note = out / "catalog.json"
    recipe = _render_recipe(params) if form == "render" else _import_recipe(params, Path(place))
    made: dict[str, Any] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if made.get("recipe") == recipe and _digest(Path(made["folder"])) == made["digest"]:
        return Path(made["folder"])

    fresh = out / "catalog"
    if form == "render":
        render.run(params=params.render, out=fresh)
        folder = _settle(fresh, data, made)
    else:
        import_catalog.run(params=params.catalog, out=fresh)
        folder = fresh
    note.write_text(
        json.dumps({"recipe": recipe, "folder": str(folder), "digest": _digest(folder)}, indent=2), encoding="utf-8"
    )
    return folder


def _settle(fresh: Path, data: Path, made: dict[str, Any]) -> Path:
    """Moves a rendered catalogue to ``data`` unless that would take away something that we have not made."""
    there = _digest(data)
    if there == _digest(fresh):
        shutil.rmtree(fresh)
        return data
    ours = made.get("folder") == str(data) and made.get("digest") == there
    if data.exists() and not ours:
        _LOG.warning("%s holds something else and is left alone; this run uses %s", data, fresh)
        return fresh
    shutil.rmtree(data, ignore_errors=True)
    shutil.move(fresh, data)
    return data


def _digest(folder: Path) -> str | None:
    """The version of a catalogue; None where there is none."""
    try:
        return Catalog.open(folder).digest()
    except CatalogError:
        return None


def _render_recipe(params: Params) -> dict[str, Any]:
    return {"render": to_dict(params.render), "renderer": folder_digest(_RENDERER, "*.py")}


def _import_recipe(params: Params, source: Path) -> dict[str, Any]:
    """The parameters of an import, and the names, sizes and times of the files it reads."""
    sources = [source, *([Path(params.catalog.images)] if params.catalog.images else [])]
    return {"catalog": to_dict(params.catalog), "files": files_digest(*sources)}
