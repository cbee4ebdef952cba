"""Brings a registered model to where the run works."""

from kfp.dsl import Model, Output

from components.base import component


@component
def model(version: str, registry: str, params: str, registered: Output[Model]) -> None:
    """Copies a registered model.

    Args:
        version: Registered version.
        registry: Registry folder.
        params: Section "serving" as JSON.
        registered: The model in "model".
    """
    import shutil
    from pathlib import Path

    from moon.steps import rollout as step

    source = step.model_folder(registry=Path(registry), version=version, params=params)
    shutil.copytree(source, Path(registered.path) / "model", dirs_exist_ok=True)
    registered.metadata.update(version=version)
