"""The pipeline ``moon-monitor``: judges the newest window of traffic, and trains where it asks for it."""

from kfp import dsl

from components.fetch.component import fetch
from components.monitor.component import monitor
from components.probe.component import probe
from components.retrain.component import retrain
from components.windows.component import windows
from pipelines.platform import MEDIUM, MOUNT, SMALL, ask, ask_for_data, pipeline
from pipelines.train import RECIPE

TRAFFIC = "moon-traffic"
"""Claim of the collector."""
_HOST = "http://ml-pipeline.kubeflow:8888"


@pipeline(name="moon-monitor", description="Judge the newest window of traffic, and train where it asks for it.")
def moon_monitor(
    service: str,
    url: str,
    data: str,
    path: str = "",
    revision: str = "",
    version: str = "",
    root: str = MOUNT,
    host: str = _HOST,
    arguments: dict = {},  # type: ignore[type-arg] # noqa: B006
    recipe: str = RECIPE,
    claim: str = TRAFFIC,
) -> None:
    """Made to recur: every run looks at the traffic anew, and a window starts at most one training.

    Args:
        service: Name of the InferenceService.
        url: Address of its predictor, which is asked the probe set.
        data: Catalogue of the probe set: a folder; with path, Git repository whose data DVC tracks.
        path: Of the catalogue in the repository.
        revision: Commit, tag or branch of the repository; keep it fixed, so that the probe set stays the same.
        version: Digest that the catalogue must have.
        root: Folder of the collected traffic, windows, references and decisions.
        host: API of Kubeflow Pipelines, where a training is started.
        arguments: Of moon-train.
        recipe: Text of a parameter file.
        claim: Volume claim of the collector, mounted at /mnt/moon.
    """
    asked = {"root": root, "service": service, "recipe": recipe}
    window = ask(windows(**asked), MEDIUM, cached=False, claim=claim).outputs["Output"]
    fetched = ask_for_data(fetch(source=data, path=path, revision=revision, version=version), claim)
    probed = ask(probe(url=url, catalog=fetched.outputs["catalog"], recipe=recipe), MEDIUM, cached=False)
    judged = monitor(**asked, window=window, answers=probed.outputs["answers"])
    decision = ask(judged, MEDIUM, cached=False, claim=claim).outputs["Output"]
    with dsl.If(decision == "retrain", name="drifted"):
        started = retrain(**asked, window=window, host=host, arguments=arguments)
        ask(started, SMALL, cached=False, claim=claim)
