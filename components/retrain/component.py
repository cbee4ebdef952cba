"""Starts the training that a window asks for."""

from kfp.dsl import Metrics, Output

from components.base import component


@component
def retrain(
    root: str, service: str, window: str, host: str, arguments: dict[str, str], recipe: str, metrics: Output[Metrics]
) -> str:
    """Starts moon-train for a window, at most once, and gives the id of its run; empty where none was started.

    Args:
        root: Folder of decisions and claims, on a volume.
        service: Name of the InferenceService.
        window: Name of the window, whose decision is "retrain".
        host: API of Kubeflow Pipelines.
        arguments: Arguments of moon-train.
        recipe: Text of a parameter file.
        metrics: Whether a run was started.
    """
    from pathlib import Path

    from moon.config import parse_params
    from moon.steps import trigger as step
    from moon.steps.flat import write_numbers

    result = step.run_in_cluster(
        root=Path(root),
        service=service,
        window=window,
        host=host,
        arguments=arguments,
        params=parse_params(recipe).drift,
        out=Path(metrics.path).parent / "retrain",
    )
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
    return str(result.run_id)
