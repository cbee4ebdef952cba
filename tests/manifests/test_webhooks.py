"""No manifest is one that KServe or Trainer refuse, and the checks notice each of the mistakes that are easily made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import outside
from tests.manifests.rendering import APPLIED, COMPONENTS, MANIFESTS, bodies, only, validated, with_component
from tests.manifests.webhooks import MODE, faults

Body = dict[str, Any]
CANARY, KNATIVE, KEDA, PROD = (MANIFESTS / "overlays" / name for name in ("canary", "knative", "keda", "prod"))
CLUSTER = MANIFESTS / "cluster"


@pytest.mark.parametrize("folder", APPLIED, ids=lambda folder: str(folder.relative_to(MANIFESTS)))
def test_the_webhooks_would_take_what_is_applied(folder: Path) -> None:
    assert faults(bodies(folder)) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_webhooks_would_take_each_component(component: str, tmp_path: Path) -> None:
    assert faults(with_component(component, tmp_path)) == []


def service(found: list[Body]) -> Any:
    return only("InferenceService", found)


def predictor(found: list[Body]) -> Any:
    return service(found)["spec"]["predictor"]


def canary(found: list[Body]) -> Any:
    return service(found)["spec"]["canary"][0]


def server(found: list[Body]) -> Any:
    return only("ServingRuntime", found)["spec"]["containers"][0]


def runtime(found: list[Body]) -> Any:
    return only("ClusterTrainingRuntime", found)


def trainer(found: list[Body]) -> Any:
    [job] = runtime(found)["spec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]["containers"][0]


REFUSED_BY_WEBHOOKS: dict[str, tuple[Path, Callable[[list[Body]], Any]]] = {
    "the old name of the mode": (
        CANARY,
        lambda f: service(f)["metadata"]["annotations"].update({MODE: "RawDeployment"}),
    ),
    "a canary without the annotation": (CANARY, lambda f: service(f)["metadata"]["annotations"].pop(MODE)),
    "a canary of everything twice": (CANARY, lambda f: service(f)["spec"]["canary"].append(canary(f))),
    "a canary with its own size": (CANARY, lambda f: canary(f)["predictor"].update(maxReplicas=2)),
    "a canary larger than the stable version": (CANARY, lambda f: canary(f)["predictor"].update(minReplicas=9)),
    "a canary's model with a name": (CANARY, lambda f: canary(f)["predictor"]["model"].update(name="moon")),
    "a stable version without a model": (CANARY, lambda f: predictor(f)["model"].pop("storageUri")),
    "more at least than at most": (PROD, lambda f: predictor(f).update(minReplicas=9)),
    "a model with a name": (PROD, lambda f: predictor(f)["model"].update(name="moon")),
    "a runtime that is not there": (PROD, lambda f: predictor(f)["model"].update(runtime="other")),
    "a logger without a mode": (PROD, lambda f: predictor(f)["logger"].pop("mode")),
    "requests as the HPA's metric": (PROD, lambda f: predictor(f).update(scaleMetric="rps")),
    "more than all of the CPU": (PROD, lambda f: predictor(f).update(scaleTarget=150)),
    "no replica without Knative": (PROD, lambda f: predictor(f).update(minReplicas=0)),
    "CPU as Knative's metric": (KNATIVE, lambda f: predictor(f).update(scaleMetric="cpu")),
    "a strategy for Knative": (KNATIVE, lambda f: predictor(f).update(deploymentStrategy={"type": "Recreate"})),
    "two metrics for KEDA": (KEDA, lambda f: predictor(f).update(scaleMetric="cpu")),
    "PYTHONPATH": (PROD, lambda f: server(f)["env"].append({"name": "PYTHONPATH", "value": "/x"})),
    "a variable twice": (PROD, lambda f: server(f)["env"].append(dict(server(f)["env"][0]))),
    "Trainer's own variables": (CLUSTER, lambda f: trainer(f)["env"].append({"name": "PET_NNODES", "value": "2"})),
    "another container that trains": (CLUSTER, lambda f: trainer(f).update(name="trainer")),
    "a runtime without framework": (CLUSTER, lambda f: runtime(f)["metadata"].pop("labels")),
}
REFUSED_BY_SCHEMAS: dict[str, tuple[Path, Callable[[list[Body]], Any]]] = {
    "the name that a canary's model must have": (CANARY, lambda f: canary(f)["predictor"]["model"].pop("name")),
    "timeoutSeconds": (PROD, lambda f: predictor(f).update(timeoutSeconds=60)),
    "qps": (PROD, lambda f: predictor(f).update(scaleMetric="qps")),
    "KEDA's modes in the metric": (
        KEDA,
        lambda f: predictor(f)["autoScaling"]["metrics"][0]["external"]["metric"].update(authModes="basic"),
    ),
    "processes in the torch policy": (
        CLUSTER,
        lambda f: runtime(f)["spec"]["mlPolicy"].update(torch={"numProcPerNode": "auto"}),
    ),
    "an elastic policy": (CLUSTER, lambda f: runtime(f)["spec"]["mlPolicy"].update(torch={"elasticPolicy": {}})),
    "a queue in the pod group policy": (CLUSTER, lambda f: runtime(f)["spec"].update(podGroupPolicy={"kueue": {}})),
    "a misspelt field of a quota": (PROD, lambda f: only("ResourceQuota", f)["spec"].update(hardd={})),
    "a misspelt field of a policy": (
        PROD,
        lambda f: only("NetworkPolicy", f, "dns")["spec"].update(policyType=["Egress"]),
    ),
    "a flavor without a name": (
        MANIFESTS / "cluster" / "kueue",
        lambda f: only("ClusterQueue", f)["spec"]["resourceGroups"][0]["flavors"][0].pop("name"),
    ),
}


@pytest.mark.parametrize("mistake", REFUSED_BY_WEBHOOKS)
def test_a_mistake_that_the_webhooks_refuse_is_noticed(mistake: str) -> None:
    folder, make = REFUSED_BY_WEBHOOKS[mistake]
    found = bodies(folder)
    make(found)
    assert faults(found)


def test_mistakes_that_the_schemas_refuse_are_noticed(tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    for number, (folder, make) in enumerate(REFUSED_BY_SCHEMAS.values()):
        found = bodies(folder)
        before = [yaml.safe_dump(body) for body in found]
        make(found)
        changed = [body for body, text in zip(found, before, strict=True) if yaml.safe_dump(body) != text]
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump_all(changed))
    done = validated(schemas, *sorted(tmp_path.iterdir()))
    noticed = {line.split()[1].rpartition("/")[2] for line in done.stdout.splitlines() if line.startswith("BAD")}
    missed = [name for number, name in enumerate(REFUSED_BY_SCHEMAS) if f"{number}.yaml" not in noticed]
    assert not missed, done.stdout
