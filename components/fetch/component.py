"""Copies one version of a catalogue and verifies it."""

from kfp.dsl import Dataset, Output

from components.base import component


@component
def fetch(source: str, version: str, catalog: Output[Dataset]) -> str:
    """Gives the rest of the pipeline a verified copy of the data, and its digest.

    Args:
        source: Folder of a catalogue.
        version: Digest that the copy must have; empty takes any.
        catalog: The copy.
    """
    from pathlib import Path

    from moon.steps import fetch as step

    result = step.run(source=Path(source), version=version, out=Path(catalog.path))
    catalog.metadata.update(source=source, digest=result.digest, bytes=result.bytes, files=result.files)
    return str(result.digest)
