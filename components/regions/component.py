"""Finds the core region of every picture."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def regions(
    catalog: Input[Dataset], params: str, found: Output[Dataset], metrics: Output[Metrics], shard: str = ""
) -> None:
    """Finds the box of the thing being sold in every picture.

    Args:
        catalog: The catalogue.
        params: Section "regions" as JSON.
        found: One box a picture.
        metrics: Detectors used, and scores where the true boxes are known.
        shard: i/n for the i-th of n shares of the pictures, which `merge_regions` joins; empty for all of them.
    """
    from pathlib import Path

    from moon.config import RegionsParams, from_json
    from moon.steps import regions as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    given = from_json(RegionsParams, params)
    result = step.run(catalog=Path(catalog.path), params=given, out=Path(found.path), shard=shard)
    found.metadata.update(origin(catalog.metadata, regions=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
