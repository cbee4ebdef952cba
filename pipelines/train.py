"""The pipeline ``moon-train``: from a version of the data to a tried deployment and a report."""

from kfp import dsl

from components.augment.component import augment
from components.configure.component import configure
from components.deploy.component import deploy
from components.drift.component import drift
from components.duplicates.component import duplicates
from components.evaluate.component import evaluate
from components.fetch.component import fetch
from components.gate.component import gate
from components.initialise.component import initialise
from components.mine.component import mine
from components.regions.component import regions
from components.register.component import register
from components.replay.component import replay
from components.report.component import report
from components.stop.component import stop
from components.train.component import train
from components.validate.component import validate
from moon.config import Params, to_json

RECIPE = to_json(Params())
"""The default parameters on one line: KFP puts defaults into the comments at the head of the compiled YAML."""


@dsl.pipeline(name="moon-train", description="Train, judge, register and try a product embedder.")  # type: ignore[untyped-decorator]
def moon_train(data: str, registry: str, deployment: str, data_version: str = "", recipe: str = RECIPE) -> None:
    """Pure steps are cached by their inputs; what touches the registry or a server always runs.

    Args:
        data: Folder of a catalogue.
        registry: Registry of models.
        deployment: Name of the deployment, which is stopped when the run ends.
        data_version: Digest of the catalogue; a changed one is what makes the data be fetched again.
        recipe: Text of a parameter file.
    """
    with dsl.ExitHandler(stop(deployment=deployment).set_caching_options(False)):
        params = configure(recipe=recipe).outputs
        fetched = fetch(source=data, version=data_version)
        catalog = fetched.outputs["catalog"]
        checked = validate(catalog=catalog, params=params["validation"])
        start = initialise(catalog=catalog, params=params["model"]).after(checked).output
        twins = duplicates(catalog=catalog, params=params["duplicates"]).after(checked).outputs["found"]
        found = regions(catalog=catalog, params=params["regions"]).after(checked).outputs["found"]
        inputs = {"catalog": catalog, "regions": found}

        mined = mine(**inputs, duplicates=twins, model=start, params=params["mining"])
        more = augment(**inputs, model=start, params=params["augment"])
        training = train(
            **inputs,
            start=start,
            negatives=mined.outputs["negatives"],
            augmented=more.outputs["augmented"],
            duplicates=twins,
            params=params["training"],
            objectives=params["objectives"],
        )
        trained = training.outputs["trained"]
        evaluated = evaluate(**inputs, trained=trained, baseline=start, params=params["evaluation"])
        evaluation = evaluated.outputs["evaluation"]
        judged = gate(evaluation=evaluation, params=params["gate"])
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
                evaluation=evaluation,
                decision=decision,
                registry=registry,
                data_digest=fetched.outputs["Output"],
                recipe_digest=params["digest"],
                params=params["serving"],
            ).set_caching_options(False)
            deployed = deploy(
                **inputs,
                trained=trained,
                version=registered.outputs["Output"],
                deployment=deployment,
                params=params["serving"],
                regions_params=params["regions"],
            ).set_caching_options(False)
            running = deployed.outputs["Output"]
            replayed = replay(deployment=running, catalog=catalog, params=params["drift"]).set_caching_options(False)
            windows = replayed.outputs["windows"]
            tested = drift(windows=windows, params=params["drift"])
            decisions = tested.outputs["decisions"]
            report(**story, windows=windows, drift=decisions, deployment=running).set_caching_options(False)
        with dsl.Else(name="refused"):
            report(**story).set_caching_options(False)
