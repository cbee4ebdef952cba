"""What every step leaves behind: its result as ``metrics.json`` in its output folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

METRICS = "metrics.json"


def save(out: Path, result: T) -> T:
    """Writes a result dataclass as ``metrics.json`` and returns it."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(result), indent=2, sort_keys=True, default=str)  # type: ignore[call-overload]
    (out / METRICS).write_text(text + "\n", encoding="utf-8")
    return result


def read(out: Path, *needed: str) -> dict[str, Any]:
    """The ``metrics.json`` of a step's output folder, which must have the ``needed`` entries.

    Raises:
        ValueError: the step has not finished there, or another step wrote the file.
    """
    path = out / METRICS
    if not path.is_file():
        raise ValueError(f"no {METRICS} in {out}: run the step that writes it first")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): run the step that writes it again") from None
    absent = [name for name in needed if name not in result] if isinstance(result, dict) else ["JSON object"]
    if absent:
        raise ValueError(f"{path} has no {', '.join(absent)}: give the output folder of the step that writes that")
    return dict(result)
