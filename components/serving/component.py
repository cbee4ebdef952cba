"""Tells which version of the model serves."""

from components.base import component


@component
def serving(registry: str, deployment: str, params: str, pipeline: str) -> str:
    """Gives the version that serves now, or an empty text.

    Args:
        registry: Registry folder.
        deployment: Folder of the deployment.
        params: Section "serving" as JSON.
        pipeline: Section "pipeline" as JSON.
    """
    from moon.steps import rollout as step

    return str(step.serves(target=step.Target.of(registry, deployment, params, pipeline)))
