"""Results as flat names and values, the form in which tables and metric artefacts show them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def flatten(result: Any) -> dict[str, Any]:
    """A result dataclass or mapping with its nested names joined by dots; lists stay values."""
    tree = dataclasses.asdict(result) if dataclasses.is_dataclass(result) and not isinstance(result, type) else result
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": leaf for inner, leaf in flatten(value).items()})
        else:
            flat[str(name)] = value
    return flat


def numbers(result: Any) -> dict[str, float]:
    """The finite numbers among the leaves of `flatten`; true and false count as 1 and 0."""
    leaves = {name: float(value) for name, value in flatten(result).items() if isinstance(value, int | float)}
    return {name: value for name, value in leaves.items() if math.isfinite(value)}


def write_numbers(result: Any, path: Path) -> dict[str, float]:
    """Writes `numbers` as JSON and returns them.

    KFP keeps metrics as metadata and needs no file, but its local cache takes an artefact without one for lost.
    """
    found = numbers(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found
