"""Promotes the version that was tried, or takes it back."""

from components.base import component


@component
def settle(version: str, verdict: str, registry: str, deployment: str, params: str, pipeline: str) -> str:
    """Leaves one version to serve, and gives it.

    Args:
        version: The version that was tried.
        verdict: "promote" or "roll back".
        registry: Registry folder.
        deployment: Folder of the deployment.
        params: Section "serving" as JSON.
        pipeline: Section "pipeline" as JSON.
    """
    from moon.steps import rollout as step

    target = step.Target.of(registry, deployment, params, pipeline)
    return str(step.settle(target=target, version=version, verdict=verdict).stable)
