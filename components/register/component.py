"""Gives a model that passed the gate a version."""

from kfp.dsl import Artifact, Input, Model, Output

from components.base import component


@component
def register(
    trained: Input[Model],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    registry: str,
    data_digest: str,
    recipe_digest: str,
    params: str,
    entry: Output[Artifact],
) -> str:
    """Registers the model with the data and the recipe it came from; the same model keeps its version.

    Args:
        trained: Output of the train component.
        evaluation: Output of the evaluate component.
        decision: Output of the gate component.
        registry: Registry folder.
        data_digest: Version of the data.
        recipe_digest: Version of the parameters.
        params: Section "serving" as JSON.
        entry: The registry's answer and the rendered InferenceService.
    """
    from pathlib import Path

    from moon.config import ServingParams, from_json
    from moon.steps import register as step

    inputs = {"evaluation": Path(evaluation.path), "gate": Path(decision.path), "registry": Path(registry)}
    result = step.run(
        model=Path(trained.path) / "model",
        **inputs,
        lineage={"data": data_digest, "recipe": recipe_digest},
        params=from_json(ServingParams, params),
        out=Path(entry.path),
    )
    entry.metadata.update(name=result.name, version=result.version, uri=result.uri)
    return str(result.version)
