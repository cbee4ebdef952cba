"""Puts the shares of an embedded catalogue together."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.base import component


@component
def index(
    catalog: Input[Dataset],
    parts: Input[list[Dataset]],
    params: str,
    regions_params: str,
    search: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Builds the search artefact that a server loads beside its model.

    Args:
        catalog: The catalogue.
        parts: Outputs of `embed` with the shares 1/n to n/n, in any order.
        params: Section "serving" as JSON.
        regions_params: Section "regions" as JSON, for the photos of queries.
        search: The search artefact in "artefact".
        metrics: Products, and the recall of the index.
    """
    from pathlib import Path

    from moon.config import RegionsParams, ServingParams, from_json
    from moon.steps import index as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    serving, regional = from_json(ServingParams, params), from_json(RegionsParams, regions_params)
    shares, out = [Path(part.path) for part in parts], Path(search.path)
    result = step.run(catalog=Path(catalog.path), parts=shares, params=serving, regions_params=regional, out=out)
    search.metadata.update(origin(catalog.metadata, serving=params, regions=regions_params))
    search.metadata.update(model_revision=result.model_revision, index_revision=result.index_revision)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
