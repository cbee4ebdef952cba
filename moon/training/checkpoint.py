"""Checkpoints that survive a kill at any moment: a folder appears under its name only when it is whole.

    checkpoints/step-00000120/  state.pt, rank-0.pt, ... (and DeepSpeed's shards), checksums.json

The name is given last, by one rename, and ``checksums.json`` holds the SHA-256 of every file, so that a checkpoint that
a broken disk or a half-done copy has damaged is known for what it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moon.training.distributed import World

log = logging.getLogger(__name__)

_CHECKSUMS: Final = "checksums.json"
_KEEP: Final = 2


def save_checkpoint(folder: Path, step: int, write: Callable[[Path], None], world: World | None = None) -> None:
    """Writes ``folder/step-00000120`` and removes all but the newest two.

    Args:
        folder: where checkpoints lie; all processes must see it.
        step: optimiser steps done.
        write: called in every process with a folder to write its files to.
        world: the processes.
    """
    world = world or World()
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.partial"
    if world.first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    world.barrier()
    write(partial)
    world.barrier()
    if world.first:
        _seal(partial)
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
        _sync(folder)
        for stale in _checkpoints(folder)[:-_KEEP]:
            shutil.rmtree(stale)
    world.barrier()


def newest_checkpoint(folder: Path, world: World | None = None) -> Path | None:
    """The newest whole checkpoint, the same in every process, or None; a damaged one is reported and passed over."""
    world = world or World()
    return Path(found) if (found := world.from_first(_newest(folder) if world.first else None)) else None


def _newest(folder: Path) -> str | None:
    for path in reversed(_checkpoints(folder)):
        reason = _damage(path)
        if reason is None:
            return str(path)
        log.warning("checkpoint %s is damaged (%s); using the one before", path, reason)
    return None


def _seal(folder: Path) -> None:
    """Makes the files durable and notes what they hold."""
    sums = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            sums[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    with (folder / _CHECKSUMS).open("w", encoding="utf-8") as file:
        json.dump(sums, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync(folder)


def _damage(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, or None."""
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    return f"{name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None


def _sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
