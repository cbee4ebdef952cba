"""What serves a model on a cluster: a KServe ServingRuntime (v1alpha1) with the server's one container.

It holds what is the same for every model: image, command, ports, probes, restricted security context. An
InferenceService adds the model; see `moon.cluster.inferenceservice`.
"""

from __future__ import annotations

from typing import Any, Final

from moon import telemetry
from moon.config import ServingParams

RUNTIME: Final = "moon"
"""Name of the runtime and of the model format it reads."""
HTTP_PORT: Final = 8080
GRPC_PORT: Final = 8081
USER: Final = 10_001
PRE_STOP_SECONDS: Final = 5
"""Between a pod leaving the Service and its SIGTERM, so that no request is sent to a server that drains."""
MODEL_MOUNT: Final = "/mnt/models"
"""Where KServe's storage initializer puts the model."""
_RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
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


def serving_runtime(params: ServingParams) -> dict[str, Any]:
    """The manifest's body.

    Args:
        params: image, namespace and the time that a start may take.
    """
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "name": RUNTIME,
            "namespace": params.namespace,
            "labels": {"app.kubernetes.io/name": RUNTIME, "app.kubernetes.io/part-of": "moon"},
        },
        "spec": {
            "annotations": {"prometheus.kserve.io/path": "/metrics", "prometheus.kserve.io/port": str(HTTP_PORT)},
            "supportedModelFormats": [{"name": RUNTIME, "version": "1", "autoSelect": True, "priority": 1}],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "multiModel": False,
            "containers": [_container(params)],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    }


def _container(params: ServingParams) -> dict[str, Any]:
    return {
        "name": "kserve-container",
        "image": params.image,
        "command": ["python", "-m", "moon.serving"],
        "args": [f"--model_dir={MODEL_MOUNT}", f"--http_port={HTTP_PORT}", f"--grpc_port={GRPC_PORT}"],
        "env": [{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
        "ports": [
            {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("ready", period=5, failures=max(int(params.startup_seconds / 5), 1)),
        "readinessProbe": _probe("ready", period=5, failures=2),
        "livenessProbe": _probe("live", period=10, failures=3),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "resources": _RESOURCES,
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _probe(kind: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{kind}", "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
