"""Makes the model that training starts from."""

from kfp.dsl import Dataset, Input, Model, Output

from components.base import component


@component
def initialise(catalog: Input[Dataset], params: str, model: Output[Model]) -> None:
    """Builds a tiny random model and its tokenizer, or takes up a checkpoint.

    Args:
        catalog: The catalogue, whose text trains a tokenizer.
        params: Section "model" as JSON.
        model: Model folder.
    """
    from pathlib import Path

    from moon.config import ModelParams, from_json
    from moon.steps import initialise as step
    from moon.steps.flat import numbers
    from moon.steps.provenance import origin

    result = step.run(catalog=Path(catalog.path), params=from_json(ModelParams, params), out=Path(model.path))
    model.metadata.update(origin(catalog.metadata, model=params))
    model.metadata.update(numbers(result))
