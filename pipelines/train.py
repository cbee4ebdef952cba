"""The pipeline ``moon-train``: from a version of the data to a version of the model that serves, and a report."""

import json
from typing import Any

from kfp import dsl

from components.augment.component import augment
from components.base import images
from components.canary.component import canary
from components.challenge.component import challenge
from components.configure.component import configure
from components.deploy.component import deploy
from components.drift.component import drift
from components.duplicates.component import duplicates
from components.embed.component import embed
from components.evaluate.component import evaluate
from components.fetch.component import fetch
from components.finish.component import finish
from components.gate.component import gate
from components.index.component import index
from components.initialise.component import initialise
from components.launch.component import launch
from components.merge_regions.component import merge_regions
from components.mine.component import mine
from components.regions.component import regions
from components.register.component import register
from components.replay.component import replay
from components.report.component import report
from components.serving.component import serving
from components.settle.component import settle
from components.train.component import train
from components.validate.component import validate
from moon.config import Params, to_json
from pipelines.platform import (
    CLAIM,
    DEPLOYMENT,
    LARGE,
    MEDIUM,
    REGISTRY,
    SMALL,
    ask,
    ask_for_data,
    ask_for_training,
    pipeline,
)

RECIPE = to_json(Params())
"""The default parameters on one line: KFP puts defaults into the comments at the head of the compiled YAML."""


def build(launched: bool) -> Any:
    """The pipeline.

    Args:
        launched: Trains by `launch`, in a job of its own, instead of in the task, by `train`.
    """

    @pipeline(name="moon-train", description="Train, judge, register and roll out a product embedder.")
    def moon_train(
        data: str,
        path: str = "",
        revision: str = "",
        version: str = "",
        recipe: str = RECIPE,
        registry: str = REGISTRY,
        deployment: str = DEPLOYMENT,
        image: str = "",
        gpus: int = 1,
        node_selector: dict = {},  # type: ignore[type-arg] # noqa: B006
        tolerations: list = [],  # type: ignore[type-arg] # noqa: B006
        claim: str = CLAIM,
    ) -> None:
        """Pure tasks are cached by their inputs and images; what looks at or changes what serves always runs.

        Args:
            data: Folder of a catalogue; with path, Git repository whose data DVC tracks.
            path: Of the catalogue in the repository.
            revision: Commit, tag or branch of the repository.
            version: Digest that the catalogue must have; a changed one is what makes a folder be fetched again.
            recipe: Text of a parameter file.
            registry: Registry of models.
            deployment: Folder of search artefacts and of what serves.
            image: Image that trains, instead of launch.image of the recipe.
            gpus: Accelerators of a training machine.
            node_selector: Labels of the training machines' nodes.
            tolerations: Of the training machines' pods.
            claim: Volume claim that tasks share, mounted at /mnt/moon.
        """
        configured = ask(configure(recipe=recipe), SMALL)
        params = configured.outputs
        ended = finish(registry=registry, deployment=deployment, recipe=recipe)
        where = {"registry": registry, "deployment": deployment}
        target = {**where, "params": params["serving"], "pipeline": params["pipeline"]}
        with dsl.ExitHandler(ask(ended, SMALL, cached=False, claim=claim)):
            fetched = ask_for_data(fetch(source=data, path=path, revision=revision, version=version), claim)
            catalog = fetched.outputs["catalog"]
            checked = ask(validate(catalog=catalog, params=params["validation"]), MEDIUM, retries=1)
            start = ask(initialise(catalog=catalog, params=params["model"]).after(checked), MEDIUM).output
            found_twice = duplicates(catalog=catalog, params=params["duplicates"]).after(checked)
            twins = ask(found_twice, MEDIUM).outputs["found"]
            with dsl.ParallelFor(params["shards"], name="shares of the pictures") as shard:
                shared = regions(catalog=catalog, params=params["regions"], shard=shard).after(checked)
                ask(shared, MEDIUM)
            merged = merge_regions(catalog=catalog, parts=dsl.Collected(shared.outputs["found"]))
            inputs = {"catalog": catalog, "regions": ask(merged, MEDIUM).outputs["found"]}

            mined = ask(mine(**inputs, duplicates=twins, model=start, params=params["mining"]), LARGE)
            more = ask(augment(**inputs, model=start, params=params["augment"]), LARGE)
            material = {
                **inputs,
                "start": start,
                "negatives": mined.outputs["negatives"],
                "augmented": more.outputs["augmented"],
                "duplicates": twins,
                "params": params["training"],
                "objectives": params["objectives"],
            }
            if launched:
                job = {"launch": params["launch"], "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "image": image}
                training = launch(**material, **job)
            else:
                training = train(**material)
            placement = {"gpus": gpus, "node_selector": node_selector, "tolerations": tolerations, "claim": claim}
            ask_for_training(training, cpu=params["cpu"], memory=params["memory"], **placement)
            trained = training.outputs["trained"]

            evaluated = ask(evaluate(**inputs, trained=trained, baseline=start, params=params["evaluation"]), LARGE)
            evaluation = evaluated.outputs["evaluation"]
            serves = ask(serving(**target), SMALL, cached=False, claim=claim).output
            measures = {"params": params["evaluation"], "serving_params": params["serving"]}
            compared = challenge(**inputs, **measures, evaluation=evaluation, version=serves, registry=registry)
            comparison = ask(compared, LARGE, claim=claim).outputs["comparison"]
            judged = ask(gate(evaluation=evaluation, comparison=comparison, params=params["gate"]), SMALL)
            decision = judged.outputs["decision"]
            story = {
                **inputs,
                "validation": checked.outputs["validation"],
                "duplicates": twins,
                "negatives": mined.outputs["negatives"],
                "trained": trained,
                "evaluation": evaluation,
                "decision": decision,
            }

            with dsl.If(judged.outputs["Output"] == True, name="passed"):  # noqa: E712 - builds a condition
                registered = register(
                    trained=trained,
                    catalog=catalog,
                    evaluation=evaluation,
                    decision=decision,
                    registry=registry,
                    recipe_digest=params["digest"],
                    params=params["serving"],
                    run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                    images=json.dumps(images()) if launched else "",  # in one process here, no image runs
                )
                entry = ask(registered, MEDIUM, cached=False, claim=claim).outputs["Output"]
                with dsl.ParallelFor(params["shards"], name="shares of the products") as part:
                    embedded = ask(embed(**inputs, trained=trained, params=params["serving"], shard=part), LARGE)
                parts = dsl.Collected(embedded.outputs["embedded"])
                settings = {"params": params["serving"], "regions_params": params["regions"]}
                search = ask(index(catalog=catalog, parts=parts, **settings), MEDIUM).outputs["search"]
                tried = deploy(**inputs, **target, version=entry, search=search)
                answers = ask(tried, MEDIUM, cached=False, claim=claim).outputs["Output"]
                asked = replay(deployment=answers, catalog=catalog, params=params["drift"])
                windows = ask(asked, MEDIUM, cached=False, claim=claim).outputs["windows"]
                tested = ask(drift(windows=windows, params=params["drift"]), MEDIUM)
                decided = ask(canary(**target, version=entry, windows=windows), SMALL, cached=False, claim=claim)
                verdict = decided.outputs["Output"]
                settled = ask(settle(**target, version=entry, verdict=verdict), SMALL, cached=False, claim=claim)
                after = {"windows": windows, "drift": tested.outputs["decisions"], "deployment": answers}
                told = report(**story, **after, judgement=decided.outputs["judgement"]).after(settled)
                ask(told, MEDIUM, cached=False, claim=claim)
            with dsl.Else(name="refused"):
                ask(report(**story), MEDIUM, cached=False, claim=claim)

    return moon_train


moon_train = build(launched=True)
"""What is compiled for a cluster."""
moon_train_here = build(launched=False)
"""The same on one machine, where the training task trains by itself."""
