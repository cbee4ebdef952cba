"""Finds hard negatives."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def mine(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    model: Input[Model],
    params: str,
    negatives: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Finds products of the same category that the model takes for the bought one.

    Args:
        catalog: The catalogue.
        regions: Core regions of its pictures.
        model: The model whose embeddings are searched.
        params: Section "mining" as JSON.
        negatives: Negatives of each query.
        metrics: How many were found.
    """
    from pathlib import Path

    from moon.config import MiningParams, from_json
    from moon.steps import mine as step
    from moon.steps.flat import write_numbers

    inputs = {"catalog": Path(catalog.path), "regions": Path(regions.path), "model": Path(model.path)}
    result = step.run(**inputs, params=from_json(MiningParams, params), out=Path(negatives.path))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
