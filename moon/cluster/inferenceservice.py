"""The cluster form of a deployment: a KServe InferenceService (v1beta1, Standard mode).

The pod meets the restricted Pod Security Standard: no root, no privileges, a read-only root file system.
"""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from moon import telemetry
from moon.config import ServingParams, to_dict

HTTP_PORT: Final = 8080
GRPC_PORT: Final = 8081
MODEL_MOUNT: Final = "/mnt/models"
"""Where KServe's storage initializer puts what STORAGE_URI names."""
SERVICE_ACCOUNT: Final = "moon-serving"
_USER: Final = 10_001
_RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_POD: Final = {"host", "http_port", "grpc_port", "image", "namespace", "startup_seconds", "storage_uri"}
"""Serving parameters that shape the pod, or the local process, rather than the server in it."""
_RESOURCES: Final = {
    "requests": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "1Gi"},
    "limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "2Gi"},
}
_ENVIRONMENT: Final = {
    **telemetry.OFF,
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": "/tmp/huggingface",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",
    "XDG_CACHE_HOME": "/tmp/cache",
}


def inference_service(params: ServingParams, storage_uri: str, version: str = "") -> dict[str, Any]:
    """The manifest's body.

    Args:
        params: name, namespace and image.
        storage_uri: where the model lies, in a form that KServe's storage initializer knows.
        version: registered version, kept as a label.

    Raises:
        ValueError: there is no storage URI.
    """
    if not storage_uri:
        raise ValueError(
            "an InferenceService needs serving.storage_uri, such as s3://bucket/model or pvc://claim/model"
        )
    labels = {"app.kubernetes.io/name": params.model_name, "app.kubernetes.io/part-of": "moon"}
    if version:
        labels["app.kubernetes.io/version"] = version
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": params.model_name,
            "namespace": params.namespace,
            "labels": labels,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": _predictor(params, storage_uri)},
    }


def to_yaml(body: dict[str, Any]) -> str:
    """A manifest as a YAML document."""
    return yaml.safe_dump(body, sort_keys=False)


def _predictor(params: ServingParams, storage_uri: str) -> dict[str, Any]:
    return {
        "minReplicas": 1,
        "maxReplicas": 3,
        "timeout": 60,
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": params.grace_seconds + 25,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(params, storage_uri)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }


def _container(params: ServingParams, storage_uri: str) -> dict[str, Any]:
    environment = {"STORAGE_URI": storage_uri, **_ENVIRONMENT}
    return {
        "name": "kserve-container",
        "image": params.image,
        "command": ["python", "-m", "moon.serving"],
        "args": [
            f"--model_dir={MODEL_MOUNT}",
            f"--http_port={HTTP_PORT}",
            f"--grpc_port={GRPC_PORT}",
            f"--serving_params={_server_settings(params)}",
        ],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [
            {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("ready", period=5, failures=max(int(params.startup_seconds / 5), 1)),
        "readinessProbe": _probe("ready", period=10, failures=3),
        "livenessProbe": _probe("live", period=10, failures=6),
        "resources": _RESOURCES,
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _server_settings(params: ServingParams) -> str:
    """What the server itself needs to know of the parameters, where it is not the default."""
    defaults = to_dict(ServingParams())
    changed = {key: value for key, value in to_dict(params).items() if value != defaults[key] and key not in _POD}
    return json.dumps(changed, sort_keys=True)


def _probe(kind: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{kind}", "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
