"""Compiles the pipelines for a cluster: ``python -m pipelines.compile [--check]``.

Each is written in two forms: for upload through the API (``NAME.yaml``), and as Pipeline and PipelineVersion resources
for a KFP that keeps its pipelines in Kubernetes (``native/NAME.yaml``). Both are committed. ``--check`` compares them,
as data, with what the pipelines compile to now. The images are those of ``components/images.yaml``; the variable
MOON_IMAGE puts another in their place.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from moon.cluster.kfp_package import read_package
from pipelines.embed import moon_embed
from pipelines.local import with_image
from pipelines.monitor import moon_monitor
from pipelines.sweep import moon_sweep
from pipelines.train import moon_train

COMPILED: Final = Path(__file__).parent / "compiled"
NATIVE: Final = "native"
NAMESPACE: Final = "kubeflow"
"""Where a KFP that keeps pipelines in Kubernetes looks for them."""
PIPELINES: Final = {
    "moon-train": moon_train,
    "moon-embed": moon_embed,
    "moon-monitor": moon_monitor,
    "moon-sweep": moon_sweep,
}


def compile_pipeline(pipeline: Any, path: Path) -> None:
    """Writes one pipeline as the YAML that KFP takes.

    Raises:
        ValueError: the API server would refuse it.
    """
    image = os.environ.get("MOON_IMAGE")
    compiler.Compiler().compile(with_image(pipeline, image) if image else pipeline, str(path))
    read_package(path)


def compile_native(pipeline: Any, package: Path, path: Path) -> None:
    """Writes one pipeline as Kubernetes resources; the version is named as that of ``package``, by its content."""
    image = os.environ.get("MOON_IMAGE")
    read = read_package(package)
    options = KubernetesManifestOptions(
        pipeline_name=read.name,
        pipeline_version_name=read.version,
        pipeline_version_display_name=read.version,
        namespace=NAMESPACE,
        include_pipeline_manifest=True,
    )
    compiler.Compiler().compile(
        with_image(pipeline, image) if image else pipeline,
        str(path),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )


def write(folder: Path) -> Iterator[Path]:
    """Writes all pipelines in both forms; gives each file."""
    (folder / NATIVE).mkdir(parents=True, exist_ok=True)
    for name, pipeline in PIPELINES.items():
        package, native = folder / f"{name}.yaml", folder / NATIVE / f"{name}.yaml"
        compile_pipeline(pipeline, package)
        yield package
        compile_native(pipeline, package, native)
        yield native


def check(folder: Path = COMPILED) -> list[str]:
    """Files in ``folder`` that are missing, say something else than the code, or are of no pipeline any more."""
    with tempfile.TemporaryDirectory() as fresh:
        made = {path.relative_to(fresh): path for path in write(Path(fresh))}
        stale = [
            str(name)
            for name, path in made.items()
            if not (folder / name).is_file() or _read(folder / name) != _read(path)
        ]
    kept = {path.relative_to(folder) for path in folder.rglob("*.yaml")}
    return stale + sorted(str(name) for name in kept - set(made))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, or checks what is committed; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed YAML, write nothing")
    parser.add_argument("--out", type=Path, default=COMPILED, help="folder of the YAML")
    options = parser.parse_args(arguments)
    if options.check:
        if stale := check(options.out):
            sys.stderr.write(
                f"error: {', '.join(stale)} in {options.out}: not what the code says; run 'make compile'\n"
            )
        return 1 if stale else 0
    for path in write(options.out):
        sys.stdout.write(f"{path}\n")
    return 0


def _read(path: Path) -> list[Any]:
    return list(yaml.load_all(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


if __name__ == "__main__":
    sys.exit(main())
