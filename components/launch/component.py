"""Trains the model on several machines."""

from functools import partial

from kfp.dsl import (
    Dataset,
    Input,
    Metrics,
    Model,
    Output,
    TaskConfig,
    TaskConfigField,
    TaskConfigPassthrough,
)

from components.base import component

# Resources and placement of the task are those of the training machines, not of the pod that launches them.
_PASSED_ON = [
    TaskConfigField.RESOURCES,
    TaskConfigField.KUBERNETES_TOLERATIONS,
    TaskConfigField.KUBERNETES_NODE_SELECTOR,
    TaskConfigField.KUBERNETES_AFFINITY,
    TaskConfigPassthrough(field=TaskConfigField.ENV, apply_to_task=True),
    TaskConfigPassthrough(field=TaskConfigField.KUBERNETES_VOLUMES, apply_to_task=True),
]


@partial(component, task_config_passthroughs=_PASSED_ON)
def launch(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    negatives: Input[Dataset],
    augmented: Input[Dataset],
    duplicates: Input[Dataset],
    start: Input[Model],
    params: str,
    objectives: str,
    launch: str,
    run_id: str,
    task_config: TaskConfig,
    trained: Output[Model],
    metrics: Output[Metrics],
    image: str = "",
) -> None:
    """Trains from a starting model in a job of its own, and joins that job when it is retried.

    Args:
        catalog: The catalogue.
        regions: Its core regions.
        negatives: Hard negatives.
        augmented: Edited pictures and enriched titles.
        duplicates: Near-duplicates, which are no negatives of each other.
        start: The model to start from.
        params: Section "training" as JSON.
        objectives: Section "objectives" as JSON.
        launch: Section "launch" as JSON.
        run_id: Of the pipeline run.
        task_config: Filled in by KFP with resources, placement, variables and volumes of the task.
        trained: The checkpoint in "model", beside it the training metrics.
        metrics: The last of them.
        image: Image that trains, instead of the one in "launch".
    """
    from pathlib import Path

    from moon.config import LaunchParams, ObjectivesParams, TrainingParams, from_json
    from moon.steps import launch as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    artifacts = {"catalog": catalog, "regions": regions, "negatives": negatives, "model": start}
    artifacts |= {"augmented": augmented, "duplicates": duplicates}
    result = step.run(
        **{name: Path(artifact.path) for name, artifact in artifacts.items()},
        params=from_json(TrainingParams, params),
        objectives=from_json(ObjectivesParams, objectives),
        launch=from_json(LaunchParams, launch),
        image=image,
        run_id=run_id,
        pod=vars(task_config),
        out=Path(trained.path),
    )
    trained.metadata.update(origin(catalog.metadata, training=params, objectives=objectives))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
