"""Tries a registered version beside the one that serves."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.base import component


@component
def deploy(
    version: str,
    search: Input[Artifact],
    catalog: Input[Dataset],
    regions: Input[Dataset],
    registry: str,
    deployment: str,
    params: str,
    pipeline: str,
    metrics: Output[Metrics],
) -> str:
    """Starts a canary, waits until it is ready, asks it a text, a photo and both, and gives the folder of its answers.

    Args:
        version: Registered version of the model.
        search: Output of the index component.
        catalog: The catalogue, whose queries are asked.
        regions: Core regions of its pictures.
        registry: Registry folder.
        deployment: Folder of the deployment: artefacts, and on this machine servers and what serves.
        params: Section "serving" as JSON.
        pipeline: Section "pipeline" as JSON.
        metrics: Seconds until ready.
    """
    from pathlib import Path

    from moon.steps import rollout as step
    from moon.steps.flat import write_numbers

    target = step.Target.of(registry, deployment, params, pipeline)
    data = {"catalog": Path(catalog.path), "regions": Path(regions.path)}
    result = step.start(target=target, version=version, artefact=Path(search.path) / "artefact", **data)
    metrics.metadata.update(write_numbers({"ready_seconds": result.ready_seconds}, Path(metrics.path)))
    metrics.metadata.update(url=result.url, version=version)
    return str(target.server(version))
