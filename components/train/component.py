"""Trains the model on purchases."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def train(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    negatives: Input[Dataset],
    start: Input[Model],
    params: str,
    trained: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Trains from a starting model.

    Args:
        catalog: The catalogue.
        regions: Core regions of its pictures.
        negatives: Hard negatives.
        start: The model to start from.
        params: Section "training" as JSON.
        trained: The checkpoint in "model", beside it the training metrics.
        metrics: The last of them.
    """
    from pathlib import Path

    from moon.config import TrainingParams, from_json
    from moon.steps import train as step
    from moon.steps.flat import write_numbers

    paths = {"catalog": catalog, "regions": regions, "negatives": negatives, "model": start}
    inputs = {name: Path(artifact.path) for name, artifact in paths.items()}
    result = step.run(**inputs, params=from_json(TrainingParams, params), out=Path(trained.path))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
