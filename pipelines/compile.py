"""Compiles the pipelines for a cluster: ``python -m pipelines.compile [--check]``.

The YAML is committed. ``--check`` compares it, as data, with what the pipelines compile to now. The images are those
of ``components/images.yaml``; the variable MOON_IMAGE puts another in their place.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from pipelines.local import with_image
from pipelines.monitor import moon_monitor
from pipelines.train import moon_train

COMPILED = Path(__file__).parent / "compiled"
PIPELINES = {"moon-train": moon_train, "moon-monitor": moon_monitor}


def compile_pipeline(pipeline: Any, path: Path) -> None:
    """Writes one pipeline as the YAML that KFP takes."""
    image = os.environ.get("MOON_IMAGE")
    compiler.Compiler().compile(with_image(pipeline, image) if image else pipeline, str(path))


def check(folder: Path = COMPILED) -> list[str]:
    """Names of the pipelines whose YAML in ``folder`` is missing or says something else than the code."""
    with tempfile.TemporaryDirectory() as fresh:
        stale = []
        for name, pipeline in PIPELINES.items():
            compile_pipeline(pipeline, Path(fresh) / f"{name}.yaml")
            committed = folder / f"{name}.yaml"
            if not committed.is_file() or _read(committed) != _read(Path(fresh) / committed.name):
                stale.append(name)
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, or checks what is committed; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed YAML, write nothing")
    if parser.parse_args(arguments).check:
        if stale := check():
            sys.stderr.write(f"error: {', '.join(stale)} in {COMPILED} is not what the code says: run 'make compile'\n")
        return 1 if stale else 0
    COMPILED.mkdir(exist_ok=True)
    for name, pipeline in PIPELINES.items():
        compile_pipeline(pipeline, COMPILED / f"{name}.yaml")
        sys.stdout.write(f"{COMPILED / name}.yaml\n")
    return 0


def _read(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main())
