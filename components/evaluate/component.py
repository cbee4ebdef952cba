"""Measures the trained model beside the one it started from."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def evaluate(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    trained: Input[Model],
    baseline: Input[Model],
    params: str,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Measures retrieval in five directions and label prediction.

    Args:
        catalog: The catalogue.
        regions: Core regions of its pictures.
        trained: Output of the train component.
        baseline: Model to compare with.
        params: Section "evaluation" as JSON.
        evaluation: All measures, examples for the report, and the products' embeddings.
        metrics: All measures.
    """
    from pathlib import Path

    from moon.config import EvaluationParams, from_json
    from moon.steps import evaluate as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    result = step.run(
        catalog=Path(catalog.path),
        regions=Path(regions.path),
        model=Path(trained.path) / "model",
        baseline=Path(baseline.path),
        params=from_json(EvaluationParams, params),
        out=Path(evaluation.path),
    )
    evaluation.metadata.update(origin(catalog.metadata, evaluation=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
