"""Stops the deployed model, whatever happened before."""

from kfp.dsl import PipelineTaskFinalStatus

from components.base import component


@component
def stop(status: PipelineTaskFinalStatus, deployment: str) -> None:
    """Exit handler of a run whose deployment is not to outlive it.

    Args:
        status: How the run ended; given by KFP.
        deployment: Name of the deployment.
    """
    from pathlib import Path

    from moon.steps import deploy as step

    step.stop(Path(deployment))
