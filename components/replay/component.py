"""Sends the deployed model windows of traffic."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def replay(
    deployment: str, catalog: Input[Dataset], params: str, windows: Output[Dataset], metrics: Output[Metrics]
) -> None:
    """Sends reference, steady and shifted traffic to the running server and keeps what it saw.

    Args:
        deployment: Name of the deployment.
        catalog: The catalogue whose queries are sent.
        params: Section "drift" as JSON.
        windows: One table a window.
        metrics: Requests, errors and latencies.
    """
    from pathlib import Path

    from moon.config import DriftParams, from_json
    from moon.steps import replay as step
    from moon.steps.flat import write_numbers

    data, drift = Path(catalog.path), from_json(DriftParams, params)
    result = step.run(deployment=Path(deployment), catalog=data, params=drift, out=Path(windows.path))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
