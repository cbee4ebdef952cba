"""The pipeline ``moon-sweep``: trials over seeds and parameters, and the recipe of the best."""

from typing import Any

from kfp import dsl

from components.augment.component import augment
from components.choose.component import choose
from components.configure.component import configure
from components.duplicates.component import duplicates
from components.evaluate.component import evaluate
from components.fetch.component import fetch
from components.initialise.component import initialise
from components.launch.component import launch
from components.mine.component import mine
from components.regions.component import regions
from components.train.component import train
from components.trials.component import trials
from components.validate.component import validate
from pipelines.platform import CLAIM, LARGE, MEDIUM, SMALL, ask, ask_for_data, ask_for_training, pipeline
from pipelines.train import RECIPE

SPACE = '{"training.seed": [0, 1, 2], "training.learning_rate": [0.001, 0.003]}'
_AT_ONCE = 4
"""Trials that run at a time."""


def build(launched: bool) -> Any:
    """The pipeline.

    Args:
        launched: Trains by `launch`, in a job of its own, instead of in the task, by `train`.
    """

    @pipeline(name="moon-sweep", description="Try seeds and parameters, and rank them.")
    def moon_sweep(
        data: str,
        path: str = "",
        revision: str = "",
        version: str = "",
        recipe: str = RECIPE,
        space: str = SPACE,
        measure: str = "MRR",
        image: str = "",
        gpus: int = 1,
        node_selector: dict = {},  # type: ignore[type-arg] # noqa: B006
        tolerations: list = [],  # type: ignore[type-arg] # noqa: B006
        claim: str = CLAIM,
    ) -> None:
        """Everything before training is done once; each trial trains and is evaluated.

        Args:
            data: Folder of a catalogue; with path, Git repository whose data DVC tracks.
            path: Of the catalogue in the repository.
            revision: Commit, tag or branch of the repository.
            version: Digest that the catalogue must have.
            recipe: Text of a parameter file.
            space: JSON object, parameter of training or objectives -> list of values.
            measure: Of retrieval, by which trials are ranked.
            image: Image that trains, instead of launch.image of the recipe.
            gpus: Accelerators of a training machine.
            node_selector: Labels of the training machines' nodes.
            tolerations: Of the training machines' pods.
            claim: Volume claim that tasks share, mounted at /mnt/moon.
        """
        params = ask(configure(recipe=recipe), SMALL).outputs
        tried = ask(trials(recipe=recipe, space=space), SMALL)
        fetched = ask_for_data(fetch(source=data, path=path, revision=revision, version=version), claim)
        catalog = fetched.outputs["catalog"]
        checked = ask(validate(catalog=catalog, params=params["validation"]), MEDIUM, retries=1)
        start = ask(initialise(catalog=catalog, params=params["model"]).after(checked), MEDIUM).output
        found_twice = duplicates(catalog=catalog, params=params["duplicates"]).after(checked)
        twins = ask(found_twice, MEDIUM).outputs["found"]
        found = ask(regions(catalog=catalog, params=params["regions"]).after(checked), MEDIUM).outputs["found"]
        inputs = {"catalog": catalog, "regions": found}
        mined = ask(mine(**inputs, duplicates=twins, model=start, params=params["mining"]), LARGE)
        more = ask(augment(**inputs, model=start, params=params["augment"]), LARGE)
        material = {**inputs, "start": start, "duplicates": twins}
        material |= {"negatives": mined.outputs["negatives"], "augmented": more.outputs["augmented"]}
        with dsl.ParallelFor(tried.output, parallelism=_AT_ONCE, name="trials") as trial:
            varied = {"params": trial.training, "objectives": trial.objectives}
            if launched:
                job = {"launch": params["launch"], "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "image": image}
                training = launch(**material, **varied, **job)
            else:
                training = train(**material, **varied)
            placement = {"gpus": gpus, "node_selector": node_selector, "tolerations": tolerations, "claim": claim}
            ask_for_training(training, cpu=params["cpu"], memory=params["memory"], **placement)
            trained = training.outputs["trained"]
            measured = ask(evaluate(**inputs, trained=trained, baseline=start, params=trial.evaluation), LARGE)
        evaluations = dsl.Collected(measured.outputs["evaluation"])
        ask(choose(evaluations=evaluations, trials=tried.output, recipe=recipe, measure=measure), SMALL)

    return moon_sweep


moon_sweep = build(launched=True)
"""What is compiled for a cluster."""
moon_sweep_here = build(launched=False)
"""The same on one machine."""
