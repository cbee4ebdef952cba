"""Compares the new model with the one that serves."""

from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from components.base import component


@component
def challenge(
    evaluation: Input[Artifact],
    catalog: Input[Dataset],
    regions: Input[Dataset],
    version: str,
    registry: str,
    params: str,
    serving_params: str,
    comparison: Output[Artifact],
    table: Output[Markdown],
) -> None:
    """Evaluates the serving model on the same queries, and tests the differences.

    Args:
        evaluation: Output of the evaluate component for the new model.
        catalog: The catalogue.
        regions: Core regions of its pictures.
        version: That serves; empty where none does.
        registry: Registry folder.
        params: Section "evaluation" as JSON.
        serving_params: Section "serving" as JSON, which names the model.
        comparison: Verdict of every direction.
        table: Differences with their intervals.
    """
    import shutil
    from pathlib import Path

    from moon.config import EvaluationParams, from_json
    from moon.steps import challenge as step
    from moon.steps.provenance import origin
    from moon.steps.rollout import model_folder

    data = {"catalog": Path(catalog.path), "regions": Path(regions.path), "evaluation": Path(evaluation.path)}
    model = model_folder(registry=Path(registry), version=version, params=serving_params) if version else None
    given, out = from_json(EvaluationParams, params), Path(comparison.path)
    step.run(model=model, version=version, **data, params=given, out=out)
    comparison.metadata.update(origin(catalog.metadata, evaluation=params), serving=version)
    shutil.copyfile(out / step.TABLE, table.path)
