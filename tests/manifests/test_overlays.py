"""Every overlay renders, validates against the custom resources, and keeps the promises of the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.cluster.inferenceservice import Revision, canary_entry, inference_service
from moon.cluster.servingruntime import PRE_STOP_SECONDS
from moon.config import ServingParams
from tests.conftest import outside
from tests.manifests.rendering import (
    APPLIED,
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    bodies,
    only,
    validated,
    with_component,
)

STORAGE = "pvc://moon-models/moon"
SERVING_PODS = {"serving.kserve.io/inferenceservice": "moon"}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return bodies(MANIFESTS / "overlays" / request.param)


def test_everything_validates_against_the_schemas(tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    found = [body for folder in APPLIED for body in bodies(folder)]
    for component in COMPONENTS:
        found += with_component(component, tmp_path / component)
    once = {yaml.safe_dump(body): None for body in found}
    (tmp_path / "all.yaml").write_text("---\n".join(once))
    done = validated(schemas, tmp_path / "all.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("OK ") == len(once)


def test_an_overlay_renders_into_one_namespace(overlay: list[dict[str, Any]]) -> None:
    namespace = only("Namespace", overlay)
    assert {body["metadata"]["namespace"] for body in overlay if body is not namespace} == {
        namespace["metadata"]["name"]
    }
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_serving_container_is_restricted_and_probed(overlay: list[dict[str, Any]]) -> None:
    [container] = only("ServingRuntime", overlay)["spec"]["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"] and security["runAsUser"] > 0
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for bounds in container["resources"].values():
        assert bounds.keys() == {"cpu", "memory", "ephemeral-storage"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert ("startupProbe" in container) != ("initialDelaySeconds" in container["livenessProbe"])


def test_the_inference_service_uses_the_runtime(overlay: list[dict[str, Any]]) -> None:
    runtime = only("ServingRuntime", overlay)
    service = only("InferenceService", overlay)
    predictor = service["spec"]["predictor"]
    models = [predictor["model"], *(one["predictor"]["model"] for one in service["spec"].get("canary", []))]
    formats = [(one["name"], one["version"]) for one in runtime["spec"]["supportedModelFormats"]]
    for model in models:
        assert model["runtime"] == runtime["metadata"]["name"]
        assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert len({model["storageUri"] for model in models}) == len(models)
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    assert only("ServiceAccount", overlay, predictor["serviceAccountName"])


def test_what_mounts_has_its_volume(overlay: list[dict[str, Any]]) -> None:
    runtime = only("ServingRuntime", overlay)["spec"]
    predictor = only("InferenceService", overlay)["spec"]["predictor"]
    volumes = [volume["name"] for volume in (*runtime["volumes"], *predictor.get("volumes", []))]
    mounts = (*runtime["containers"][0]["volumeMounts"], *predictor["model"].get("volumeMounts", []))
    assert sorted(mount["name"] for mount in mounts) == sorted(volumes)


def test_a_pod_has_time_to_drain(overlay: list[dict[str, Any]]) -> None:
    predictor = only("InferenceService", overlay)["spec"]["predictor"]
    [container] = only("ServingRuntime", overlay)["spec"]["containers"]
    if mode(overlay) == "Standard":
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_SECONDS
        assert predictor["terminationGracePeriodSeconds"] > PRE_STOP_SECONDS + ServingParams().grace_seconds


def mode(overlay: list[dict[str, Any]]) -> str:
    return str(only("InferenceService", overlay)["metadata"]["annotations"]["serving.kserve.io/deploymentMode"])


def test_disruptions_and_spread_concern_the_serving_pods(overlay: list[dict[str, Any]]) -> None:
    budget = only("PodDisruptionBudget", overlay)["spec"]
    assert SERVING_PODS.items() <= budget["selector"]["matchLabels"].items()
    assert budget["maxUnavailable"] == 1  # a minimum would block the drain of a single replica
    spreads = only("InferenceService", overlay)["spec"]["predictor"].get("topologySpreadConstraints", [])
    assert bool(spreads) == (mode(overlay) == "Standard")
    assert all(one["labelSelector"]["matchLabels"] == SERVING_PODS for one in spreads)


def test_traffic_is_denied_unless_named(overlay: list[dict[str, Any]]) -> None:
    policies = {body["metadata"]["name"]: body["spec"] for body in overlay if body["kind"] == "NetworkPolicy"}
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in (*policy.get("ingress", []), *policy.get("egress", [])):
            assert rule.get("from") or rule.get("to"), f"{name} opens to everybody"
            assert rule["ports"], f"{name} opens every port"
            for peer in (*rule.get("from", []), *rule.get("to", [])):
                assert peer.get("namespaceSelector") != {}, f"{name} opens to every namespace"
                assert peer.get("podSelector") != {}, f"{name} opens to every pod"


def test_knative_gets_only_what_knative_takes() -> None:
    found = bodies(MANIFESTS / "overlays" / "knative")
    predictor = only("InferenceService", found)["spec"]["predictor"]
    [container] = only("ServingRuntime", found)["spec"]["containers"]
    refused = {
        "securityContext",
        "terminationGracePeriodSeconds",
        "topologySpreadConstraints",
        "deploymentStrategy",
        "priorityClassName",
        "affinity",
    }
    assert mode(found) == "Knative" and not refused & predictor.keys()
    assert len(container["ports"]) == 1 and "lifecycle" not in container
    assert predictor["scaleMetric"] in ("concurrency", "rps") and predictor["minReplicas"] == 0


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_autoscaler_gets_metrics_that_it_knows(name: str) -> None:
    service = only("InferenceService", bodies(MANIFESTS / "overlays" / name))
    predictor = service["spec"]["predictor"]
    if service["metadata"]["annotations"].get("serving.kserve.io/autoscalerClass") == "keda":
        # KServe reads target.value alone and fails without both windows; it refuses scaleMetric beside them.
        assert not {"scaleMetric", "scaleTarget"} & predictor.keys()
        assert all(one["external"]["target"]["value"] for one in predictor["autoScaling"]["metrics"])
        behavior = predictor["autoScaling"]["behavior"]
        assert all("stabilizationWindowSeconds" in behavior[way] for way in ("scaleUp", "scaleDown"))
    else:
        assert predictor["scaleMetric"] and "autoScaling" not in predictor


def test_components_say_what_the_code_renders(tmp_path: Path) -> None:
    searching = only("InferenceService", with_component("search", tmp_path / "search"))
    assert searching == inference_service(ServingParams(artefact_claim="moon-artefact"), STORAGE)
    watched = only("InferenceService", with_component("collector", tmp_path / "collector"))
    assert watched == inference_service(ServingParams(logger_url="http://moon-collector"), STORAGE)
    first = only("InferenceService", with_component("priorities", tmp_path / "priorities"))
    assert first == inference_service(ServingParams(priority_class="moon-serving"), STORAGE)
    canary = only("InferenceService", with_component("canary", tmp_path / "canary"))
    second = Revision(storage_uri="pvc://moon-models/{version}", version="next")
    assert canary == inference_service(ServingParams(), STORAGE, canary=second)
    assert canary["spec"]["canary"] == [canary_entry(ServingParams(), Revision(storage_uri=STORAGE), second)]
