from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.cluster.inferenceservice import inference_service, to_yaml
from moon.config import ServingParams
from tests.conftest import outside

MANIFESTS = Path(__file__).parents[2] / "manifests"
BASE = MANIFESTS / "base" / "inferenceservice.yaml"
BASE_STORAGE = "pvc://moon-models/moon"


def container(body: dict[str, Any]) -> dict[str, Any]:
    [one] = body["spec"]["predictor"]["containers"]
    return dict(one)


def test_the_base_manifest_is_what_the_code_renders() -> None:
    rendered = inference_service(ServingParams(), BASE_STORAGE)
    assert yaml.safe_load(BASE.read_text()) == rendered, f"replace {BASE} with:\n{to_yaml(rendered)}"


def test_parameters_reach_the_manifest() -> None:
    params = ServingParams(model_name="other", namespace="shop", image="registry/x@sha256:1", startup_seconds=600)
    body = inference_service(params, "s3://bucket/model", "v3")
    assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("other", "shop")
    assert body["metadata"]["labels"]["app.kubernetes.io/version"] == "v3"
    one = container(body)
    assert one["image"] == "registry/x@sha256:1"
    assert {"name": "STORAGE_URI", "value": "s3://bucket/model"} in one["env"]
    assert '--serving_params={"model_name": "other"}' in one["args"]
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= 600


def test_the_pod_is_restricted() -> None:
    body = inference_service(ServingParams(), "s3://bucket/model")
    predictor, one = body["spec"]["predictor"], container(body)
    assert predictor["securityContext"]["runAsNonRoot"] and predictor["securityContext"]["runAsUser"] > 0
    assert predictor["automountServiceAccountToken"] is False
    assert one["securityContext"]["readOnlyRootFilesystem"] and one["securityContext"]["runAsNonRoot"]
    assert one["securityContext"]["allowPrivilegeEscalation"] is False
    assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for bounds in one["resources"].values():
        assert bounds.keys() == {"cpu", "memory", "ephemeral-storage"}
    names = [variable["name"] for variable in one["env"]]
    assert "PYTHONPATH" not in names  # KServe's webhook refuses it
    assert len(set(names)) == len(names)


def test_no_storage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"serving\.storage_uri"):
        inference_service(ServingParams(), "")


@pytest.mark.parametrize("overlay", ["local", "dev", "prod"])
def test_an_overlay_validates_against_the_custom_resource(overlay: str, tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    rendered = tmp_path / "rendered.yaml"
    with rendered.open("w") as file:
        subprocess.run(["kubectl", "kustomize", str(MANIFESTS / "overlays" / overlay)], stdout=file, check=True)
    validate(schemas, rendered)
    kinds = [body["kind"] for body in yaml.safe_load_all(rendered.read_text())]
    assert kinds == ["Namespace", "ServiceAccount", "InferenceService"]


def test_a_rendered_version_validates_against_the_custom_resource(tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(to_yaml(inference_service(ServingParams(), "file:///registry/moon/v1/model", "v1")))
    validate(schemas, rendered)


def validate(schemas: Path, manifest: Path) -> None:
    command = [sys.executable, str(schemas / "crd2schema.py"), "validate", str(schemas), str(manifest)]
    done = subprocess.run([*command, "--core", "1.37"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
