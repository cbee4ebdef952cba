"""Checks the catalogue against its thresholds."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.base import component


@component
def validate(catalog: Input[Dataset], params: str, validation: Output[Artifact], metrics: Output[Metrics]) -> None:
    """Fails where the data breaks a threshold, so that nothing is trained on it.

    Args:
        catalog: The catalogue.
        params: Section "validation" as JSON.
        validation: Result and Great Expectations Data Docs.
        metrics: Rows and shares.
    """
    from pathlib import Path

    from moon.config import ValidationParams, from_json
    from moon.steps import validate as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    out = Path(validation.path)
    result = step.run(catalog=Path(catalog.path), params=from_json(ValidationParams, params), out=out)
    validation.metadata.update(origin(catalog.metadata, validation=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
    if not result.passed:
        raise ValueError("the catalogue failed validation: " + "; ".join(result.failures))
