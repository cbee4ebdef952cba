"""Trains the model on purchases."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def train(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    negatives: Input[Dataset],
    augmented: Input[Dataset],
    duplicates: Input[Dataset],
    start: Input[Model],
    params: str,
    objectives: str,
    trained: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Trains from a starting model.

    Args:
        catalog: The catalogue.
        regions: Its core regions.
        negatives: Hard negatives.
        augmented: Edited pictures and enriched titles.
        duplicates: Near-duplicates, which are no negatives of each other.
        start: The model to start from.
        params: Section "training" as JSON.
        objectives: Section "objectives" as JSON.
        trained: The checkpoint in "model", beside it the training metrics.
        metrics: The last of them.
    """
    from pathlib import Path

    from moon.config import ObjectivesParams, TrainingParams, from_json
    from moon.steps import train as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    artifacts = {"catalog": catalog, "regions": regions, "negatives": negatives, "model": start}
    artifacts |= {"augmented": augmented, "duplicates": duplicates}
    result = step.run(
        **{name: Path(artifact.path) for name, artifact in artifacts.items()},
        params=from_json(TrainingParams, params),
        objectives=from_json(ObjectivesParams, objectives),
        out=Path(trained.path),
    )
    trained.metadata.update(origin(catalog.metadata, training=params, objectives=objectives))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
