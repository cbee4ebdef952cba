"""Starts the model server and tries it."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def deploy(
    trained: Input[Model],
    catalog: Input[Dataset],
    regions: Input[Dataset],
    version: str,
    deployment: str,
    params: str,
    regions_params: str,
    metrics: Output[Metrics],
) -> str:
    """Starts the server on a registered model, waits until it is ready and asks it a text, a photo and both.

    Args:
        trained: Output of the train component.
        catalog: The catalogue to search in.
        regions: Core regions of its pictures.
        version: Registered version of the model.
        deployment: Name of the deployment; in the local form the folder that holds its state.
        params: Section "serving" as JSON.
        regions_params: Section "regions" as JSON, for the photos of queries.
        metrics: Seconds until ready.
    """
    from pathlib import Path

    from moon.config import RegionsParams, ServingParams, from_json
    from moon.steps import deploy as step

    data = {"catalog": Path(catalog.path), "regions": Path(regions.path)}
    serving, regional = from_json(ServingParams, params), from_json(RegionsParams, regions_params)
    model, out = Path(trained.path) / "model", Path(deployment)
    result = step.run(**data, model=model, params=serving, regions_params=regional, out=out)
    metrics.metadata.update(ready_seconds=result.ready_seconds, url=result.url, version=version)
    return deployment
