"""Finds hard negatives."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def mine(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    duplicates: Input[Dataset],
    model: Input[Model],
    params: str,
    negatives: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Finds products of the same category that the model takes for the bought one.

    Args:
        catalog: The catalogue.
        regions: Core regions of its pictures.
        duplicates: Its near-duplicates, which are no negatives of each other.
        model: The model whose embeddings are searched.
        params: Section "mining" as JSON.
        negatives: Negatives of each query, and candidates to look through.
        metrics: How many were found, starved queries, rejected share, recall of the index.
    """
    from pathlib import Path

    from moon.config import MiningParams, from_json
    from moon.steps import mine as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    artifacts = {"catalog": catalog, "regions": regions, "duplicates": duplicates, "model": model}
    inputs = {name: Path(artifact.path) for name, artifact in artifacts.items()}
    result = step.run(**inputs, params=from_json(MiningParams, params), out=Path(negatives.path))
    negatives.metadata.update(origin(catalog.metadata, mining=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
