"""What a model was made from, read from the files beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

FILE: Final = "lineage.json"
"""In a model folder: a JSON object of texts, such as ``{"data": ..., "dvc": ..., "recipe": ...}``."""
_REGISTERED: Final = "version.json"
"""Beside a model folder in the registry."""


def read(model: Path) -> dict[str, str]:
    """Versions of what the model was made from; empty where nothing says.

    ``lineage.json`` in the model folder is read and, of a model in the registry, ``version.json`` beside it. Usual keys
    are ``data`` and ``recipe`` (digests), ``dvc`` (the commit whose DVC files name the data) and ``version``.

    Args:
        model: a model folder.

    Raises:
        ValueError: a file is there and not of this form.
    """
    found: dict[str, str] = {}
    registered = model.resolve().parent / _REGISTERED
    if registered.is_file():
        version = _object(registered)
        found.update(_texts(version.get("metadata", {}).get("lineage", {}), registered))
        found["version"] = str(version.get("version", ""))
    own = model / FILE
    if own.is_file():
        found.update(_texts(_object(own), own))
    return {name: value for name, value in found.items() if value}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}; write it again or remove it") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, expected an object of texts")
    return value


def _texts(value: dict[str, Any], path: Path) -> dict[str, str]:
    if wrong := [name for name, one in value.items() if not isinstance(one, str)]:
        raise ValueError(f"{path}: '{wrong[0]}' is no text, expected an object of texts")
    return value
