"""What KServe and Trainer refuse beyond their schemas: rules of their webhooks and controllers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]
MODE = "serving.kserve.io/deploymentMode"
SCALER = "serving.kserve.io/autoscalerClass"
OF_THE_STABLE = {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec"}
"""Fields that a canary may not have."""


def faults(found: list[Body]) -> list[str]:
    """Why the cluster would refuse these objects."""
    runtimes = {body["metadata"]["name"] for body in found if body["kind"] == "ServingRuntime"}
    return [
        fault
        for body in found
        for fault in {
            "InferenceService": lambda body: _service(body, runtimes),
            "ServingRuntime": lambda body: _containers(body["spec"]["containers"]),
            "ClusterTrainingRuntime": _training,
        }.get(body["kind"], lambda body: ())(body)
    ]


def _service(body: Body, runtimes: set[str]) -> Iterator[str]:
    annotations, predictor = body["metadata"].get("annotations", {}), body["spec"]["predictor"]
    mode = annotations.get(MODE, "Standard")
    if mode not in ("Standard", "Knative"):
        yield f"{MODE} is {mode}"
    if predictor.get("minReplicas", 1) > predictor.get("maxReplicas", 1):
        yield "more replicas at least than at most"
    yield from _scaling(predictor, mode, annotations.get(SCALER, "hpa"))
    if mode == "Knative" and "deploymentStrategy" in predictor:
        yield "Knative takes no deploymentStrategy"
    if (logger := predictor.get("logger")) is not None and not {"mode", "url"} <= logger.keys():
        yield "a logger needs its mode and its url"
    if "name" in predictor["model"]:
        yield "predictor.model has no name of its own"
    if predictor["model"].get("runtime") not in runtimes:
        yield "the runtime does not exist"
    yield from _canary(body["spec"].get("canary", []), predictor, mode, annotations)
    yield from _containers([predictor["model"]])


def _scaling(predictor: Body, mode: str, scaler: str) -> Iterator[str]:
    metric = predictor.get("scaleMetric", "cpu")
    if mode == "Standard" and metric not in ("cpu", "memory"):
        yield f"the HPA knows no {metric}"
    if mode == "Knative" and metric not in ("concurrency", "rps"):
        yield f"Knative knows no {metric}"
    if metric == "cpu" and not 1 <= predictor.get("scaleTarget", 80) <= 100:
        yield "scaleTarget of the CPU is a percentage"
    if mode == "Standard" and predictor.get("minReplicas", 1) < 1:
        yield "nothing holds requests back while there is no replica"
    if scaler == "keda" and {"scaleMetric", "scaleTarget"} & predictor.keys():
        yield "KEDA takes autoScaling.metrics alone"


def _canary(entries: list[Body], stable: Body, mode: str, annotations: Body) -> Iterator[str]:
    if entries and annotations.get(MODE) != "Standard":
        yield "spec.canary needs the annotation to say Standard"
    if entries and "storageUri" not in stable["model"]:
        yield "a canary needs a stable model"
    if sum(entry["trafficPercent"] for entry in entries) > 100:
        yield "canaries get more than all requests"
    names = [entry["predictor"].get("name") for entry in entries]
    if len({*names, stable.get("name")}) <= len(names) or not all(names):
        yield "predictors are not told apart by name"
    for entry in entries:
        if OF_THE_STABLE & entry["predictor"].keys():
            yield "a canary scales as the stable version does"
        if entry["predictor"].get("minReplicas", 0) > stable.get("minReplicas", 1):
            yield "a canary has more replicas than the stable version"
        if entry["predictor"]["model"].get("name") != "":
            yield "a canary's model has an empty name"


def _containers(containers: list[Body]) -> Iterator[str]:
    for container in containers:
        names = [variable["name"] for variable in container.get("env", [])]
        if "PYTHONPATH" in names:
            yield "KServe takes no PYTHONPATH"
        if len(set(names)) < len(names):
            yield "a variable is there twice"


def _training(body: Body) -> Iterator[str]:
    if body["metadata"].get("labels", {}).get("trainer.kubeflow.org/framework") != "torch":
        yield "the label of the framework is missing"
    jobs = {job["name"]: job["template"] for job in body["spec"]["template"]["spec"]["replicatedJobs"]}
    if "node" not in jobs:
        yield "the job that trains is called node"
        return
    if jobs["node"]["metadata"]["labels"].get("trainer.kubeflow.org/trainjob-ancestor-step") != "trainer":
        yield "the job that trains is not labelled"
    pod = jobs["node"]["spec"]["template"]["spec"]
    if [container["name"] for container in pod["containers"]] != ["node"]:
        yield "the container that trains is called node"
    for container in pod["containers"]:
        if any(variable["name"].startswith("PET_") for variable in container.get("env", [])):
            yield "Trainer sets PET_ variables itself"
    if pod.get("restartPolicy") != "Never" and jobs["node"]["spec"].get("podFailurePolicy"):
        yield "podFailurePolicy needs restartPolicy Never"
