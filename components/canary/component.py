"""Judges the version that is tried."""

from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from components.base import component


@component
def canary(
    version: str,
    windows: Input[Dataset],
    registry: str,
    deployment: str,
    params: str,
    pipeline: str,
    judgement: Output[Artifact],
    reasons: Output[Markdown],
) -> str:
    """Decides "promote" or "roll back".

    Args:
        version: The version that is tried.
        windows: Output of the replay component that asked it.
        registry: Registry folder.
        deployment: Folder of the deployment.
        params: Section "serving" as JSON.
        pipeline: Section "pipeline" as JSON.
        judgement: The verdict.
        reasons: The verdict in words.
    """
    from pathlib import Path

    from moon.steps import rollout as step

    target = step.Target.of(registry, deployment, params, pipeline)
    result = step.judge(target=target, version=version, replay=Path(windows.path), out=Path(judgement.path))
    title = f"# {result.canary}: {result.verdict}"
    Path(reasons.path).write_text("\n".join([title, "", *(f"- {one}" for one in result.reasons), ""]))
    judgement.metadata.update(verdict=result.verdict, stable=result.stable, canary=result.canary)
    return str(result.verdict)
