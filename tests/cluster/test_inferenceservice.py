from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from moon.cluster.inferenceservice import _POD, Revision, inference_service, predictor_name, to_yaml
from moon.config import ServingParams
from tests.conftest import outside
from tests.manifests.rendering import MANIFESTS, validate

BASE = MANIFESTS / "base" / "inferenceservice.yaml"
BASE_STORAGE = "pvc://moon-models/moon"
VERSIONED = "s3://bucket/{version}"


def test_the_base_manifest_is_what_the_code_renders() -> None:
    rendered = inference_service(ServingParams(), BASE_STORAGE)
    assert yaml.safe_load(BASE.read_text()) == rendered, f"replace {BASE} with:\n{to_yaml(rendered)}"


def test_parameters_reach_the_manifest() -> None:
    params = ServingParams(model_name="other", namespace="shop", max_top_k=7, grace_seconds=60)
    body = inference_service(params, VERSIONED, "v3")
    assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("other", "shop")
    assert body["metadata"]["labels"]["app.kubernetes.io/version"] == "v3"
    predictor = body["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == "s3://bucket/v3"
    [settings] = predictor["model"]["args"]
    assert settings == '--serving_params={"grace_seconds": 60, "max_top_k": 7, "model_name": "other"}'
    assert predictor["terminationGracePeriodSeconds"] > 60
    for spread in predictor["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": "other"}


def test_parameters_of_the_pod_do_not_reach_the_server() -> None:
    assert {field.name for field in dataclasses.fields(ServingParams)} >= _POD
    params = ServingParams(image="registry/x@sha256:1", canary_percent=50, http_port=9000, startup_seconds=5)
    assert "args" not in inference_service(params, BASE_STORAGE)["spec"]["predictor"]["model"]


def test_what_an_overlay_sets_outlives_a_canary() -> None:
    params = ServingParams(min_replicas=2, max_replicas=8, priority_class="moon-serving", logger_url="http://sink")
    trial = inference_service(params, VERSIONED, "v3", Revision(storage_uri=VERSIONED, version="v4"))
    for body in (trial, inference_service(params, VERSIONED, "v4")):
        predictor = body["spec"]["predictor"]
        assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 8)
        assert predictor["priorityClassName"] == "moon-serving"
        assert predictor["logger"] == {"mode": "all", "url": "http://sink"}
        assert "args" not in predictor["model"]
    with pytest.raises(ValueError, match=r"serving\.min_replicas is 4 and serving\.max_replicas 3"):
        inference_service(ServingParams(min_replicas=4), VERSIONED, "v3")


def test_the_pod_is_restricted() -> None:
    predictor = inference_service(ServingParams(), "s3://bucket/model")["spec"]["predictor"]
    assert predictor["securityContext"]["runAsNonRoot"] and predictor["securityContext"]["runAsUser"] > 0
    assert predictor["automountServiceAccountToken"] is False


def test_an_artefact_is_mounted_and_brings_the_settings() -> None:
    params = ServingParams(artefact_claim="claim", max_top_k=7)
    predictor = inference_service(params, VERSIONED, "v3")["spec"]["predictor"]
    [volume] = predictor["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    [mount] = predictor["model"]["volumeMounts"]
    assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
    assert predictor["model"]["args"] == [f"--artefact_dir={mount['mountPath']}/v3"]


def test_artefacts_may_lie_in_a_folder_of_a_shared_claim() -> None:
    params = ServingParams(artefact_claim="moon-training/deployment")
    predictor = inference_service(params, VERSIONED, "v3")["spec"]["predictor"]
    assert predictor["volumes"][0]["persistentVolumeClaim"]["claimName"] == "moon-training"
    [mount] = predictor["model"]["volumeMounts"]
    assert mount["subPath"] == "deployment"
    assert predictor["model"]["args"] == [f"--artefact_dir={mount['mountPath']}/v3"]


def test_a_canary_differs_from_the_stable_version_in_its_model_alone() -> None:
    params = ServingParams(canary_percent=25, artefact_claim="claim")
    body = inference_service(params, VERSIONED, "v3", Revision(storage_uri=VERSIONED, version="v4"))
    [entry] = body["spec"]["canary"]
    assert entry["trafficPercent"] == 25 and entry["predictor"].keys() == {"name", "model"}
    promoted = inference_service(params, VERSIONED, "v4")["spec"]["predictor"]
    assert {**promoted["model"], "name": ""} == entry["predictor"]["model"]
    assert promoted["name"] == entry["predictor"]["name"]  # so a promotion keeps the canary's pods
    assert predictor_name(params, "v4") == "moon-v4-predictor"


def test_a_canary_that_would_load_the_same_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"both load s3://bucket/model.*serving\.storage_uri"):
        canary = Revision(storage_uri="s3://bucket/model", version="v2")
        inference_service(ServingParams(), "s3://bucket/model", "v1", canary)
    with pytest.raises(ValueError, match=r"version 'v1' and the stable predictor 'v1'"):
        inference_service(ServingParams(), VERSIONED, "v1", Revision(storage_uri="s3://other", version="v1"))


def test_no_storage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"serving\.storage_uri"):
        inference_service(ServingParams(), "")


def test_a_rendered_version_validates_against_the_custom_resource(tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    params = ServingParams(artefact_claim="claim")
    canary = Revision(storage_uri="file:///registry/moon/v2/model", version="v2")
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(to_yaml(inference_service(params, "file:///registry/moon/v1/model", "v1", canary)))
    validate(schemas, rendered)
