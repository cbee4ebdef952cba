"""Gives a model that passed the gate a version."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.base import component


@component
def register(
    trained: Input[Model],
    catalog: Input[Dataset],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    registry: str,
    recipe_digest: str,
    params: str,
    entry: Output[Artifact],
    run_id: str = "",
    images: str = "",
) -> str:
    """Registers the model with what it came from; the same model keeps its version.

    Args:
        trained: Output of the train component.
        catalog: The data it was trained on, which names its origin.
        evaluation: Output of the evaluate component.
        decision: Output of the gate component.
        registry: Registry folder.
        recipe_digest: Version of the parameters.
        params: Section "serving" as JSON.
        entry: The registry's answer and the rendered InferenceService.
        run_id: Name of the run.
        images: JSON object from name to container image.
    """
    from pathlib import Path

    from moon.config import ServingParams, from_json
    from moon.steps import register as step

    result = step.run(
        model=Path(trained.path) / "model",
        catalog=Path(catalog.path),
        evaluation=Path(evaluation.path),
        gate=Path(decision.path),
        registry=Path(registry),
        lineage={"recipe": recipe_digest, "run": run_id},
        images=images,
        params=from_json(ServingParams, params),
        out=Path(entry.path),
    )
    entry.metadata.update(name=result.name, version=result.version, uri=result.uri, **result.lineage)
    return str(result.version)
