"""Finds near-duplicate products and leaks between splits."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def duplicates(catalog: Input[Dataset], params: str, found: Output[Dataset], metrics: Output[Metrics]) -> None:
    """Finds near-duplicate products by picture and by title, and what leaks between splits.

    Args:
        catalog: The catalogue.
        params: Section "duplicates" as JSON.
        found: Groups of near-duplicates, and the leaks.
        metrics: How many there are.
    """
    from pathlib import Path

    from moon.config import DuplicatesParams, from_json
    from moon.steps import duplicates as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    given = from_json(DuplicatesParams, params)
    result = step.run(catalog=Path(catalog.path), params=given, out=Path(found.path))
    found.metadata.update(origin(catalog.metadata, duplicates=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
