"""Cleans up after a run and reports how it ended."""

from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from components.base import component


@component
def finish(
    status: PipelineTaskFinalStatus, registry: str, deployment: str, recipe: str, summary: Output[Markdown]
) -> None:
    """Takes back a version that was left on trial, whatever happened before, and writes down what serves.

    Args:
        status: How the run ended; given by KFP.
        registry: Registry folder.
        deployment: Folder of the deployment.
        recipe: Text of a parameter file.
        summary: How the run ended.
    """
    from pathlib import Path

    from moon.steps import rollout as step

    ended = {"state": status.state, "error": status.error_message}
    text = step.finish(registry=Path(registry), deployment=Path(deployment), recipe=recipe, **ended)
    Path(summary.path).write_text(text, encoding="utf-8")
