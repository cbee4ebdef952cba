"""Gives what serves a new search artefact."""

from kfp.dsl import Artifact, Input

from components.base import component


@component
def swap(version: str, search: Input[Artifact], registry: str, deployment: str, params: str, pipeline: str) -> None:
    """Puts the artefact in place; servers change over to it between two requests.

    Args:
        version: The version that serves, by which the artefact was made.
        search: Output of the index component.
        registry: Registry folder.
        deployment: Folder of the deployment.
        params: Section "serving" as JSON.
        pipeline: Section "pipeline" as JSON.
    """
    from pathlib import Path

    from moon.steps import rollout as step

    target = step.Target.of(registry, deployment, params, pipeline)
    result = step.swap(target=target, version=version, artefact=Path(search.path) / "artefact")
    search.metadata.update(serving=result.version)
