"""Embeds a share of the products."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def embed(
    trained: Input[Model],
    catalog: Input[Dataset],
    regions: Input[Dataset],
    params: str,
    embedded: Output[Dataset],
    metrics: Output[Metrics],
    shard: str = "",
) -> None:
    """Embeds products and sampled queries, and makes the small pictures of the search page.

    Args:
        trained: Model in "model".
        catalog: The catalogue.
        regions: Core regions of its pictures.
        params: Section "serving" as JSON.
        embedded: Vectors and pictures of the share.
        metrics: How many, and how long it took.
        shard: i/n for the i-th of n shares of the products, which `index` puts together; empty for all of them.
    """
    from pathlib import Path

    from moon.config import ServingParams, from_json
    from moon.steps import embed as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    result = step.run(
        model=Path(trained.path) / "model",
        catalog=Path(catalog.path),
        regions=Path(regions.path),
        params=from_json(ServingParams, params),
        out=Path(embedded.path),
        shard=shard,
    )
    embedded.metadata.update(origin(catalog.metadata, serving=params), model_revision=result.model_revision)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
