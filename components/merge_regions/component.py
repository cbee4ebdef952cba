"""Joins the regions of all shares of the pictures."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def merge_regions(
    catalog: Input[Dataset], parts: Input[list[Dataset]], found: Output[Dataset], metrics: Output[Metrics]
) -> None:
    """Joins what `regions` found in each share, as if it had run over all pictures at once.

    Args:
        catalog: The catalogue.
        parts: Outputs of `regions` with the shares 1/n to n/n, in any order.
        found: One box a picture.
        metrics: Detectors used, and scores where the true boxes are known.
    """
    from pathlib import Path

    from moon.steps import regions_merge as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    result = step.run(catalog=Path(catalog.path), parts=[Path(part.path) for part in parts], out=Path(found.path))
    found.metadata.update(origin(catalog.metadata))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
