"""Checkpoints that survive a kill at any moment: a folder appears under its name only when it is whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

log = logging.getLogger(__name__)

_STATE = "state.pt"
_KEEP = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes ``folder/step-00000120`` and removes all but the newest two.

    Args:
        folder: where checkpoints lie.
        step: optimiser steps done.
        state: tensors and plain data.
    """
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with (partial / _STATE).open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
    for stale in _checkpoints(folder)[:-_KEEP]:
        shutil.rmtree(stale)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None; a broken one is reported and passed over."""
    for path in reversed(_checkpoints(folder)):
        try:
            return dict(torch.load(path / _STATE, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
            log.warning("checkpoint %s cannot be read (%s); using the one before", path, error)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
