"""The cluster form of a deployment: a KServe InferenceService (v1beta1, Standard mode), with a canary or without.

Its container comes from the runtime in `moon.cluster.servingruntime`; the pod meets the restricted Pod Security
Standard.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

import yaml

from moon.cluster.servingruntime import PRE_STOP_SECONDS, RUNTIME, USER
from moon.config import ServingParams, to_dict

ARTEFACT_MOUNT: Final = "/mnt/artefact"
SERVICE_ACCOUNT: Final = "moon-serving"
SCALE_CPU_PERCENT: Final = 70
_STOP_SECONDS: Final = 20
"""What a pod may take to end beyond the sleep before SIGTERM and the times that the server itself waits."""
_POD: Final = {
    "artefact_claim",
    "canary_max_failures",
    "canary_max_slowdown",
    "canary_min_items",
    "canary_percent",
    "grpc_port",
    "host",
    "http_port",
    "image",
    "logger_url",
    "max_replicas",
    "min_replicas",
    "namespace",
    "priority_class",
    "startup_seconds",
    "storage_uri",
}
"""Serving parameters that shape the pod, its roll-out or the local process rather than the server in it."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One version of the model on a cluster."""

    storage_uri: str
    """Where the model lies, in a form that KServe's storage initializer knows; ``{version}`` in it is filled in."""
    version: str = ""
    """Registered version, such as ``v3``: names the predictor and the folder of its search artefact."""

    @property
    def uri(self) -> str:
        """The storage URI of this version."""
        return self.storage_uri.replace("{version}", self.version)


def inference_service(
    params: ServingParams, storage_uri: str, version: str = "", canary: Revision | None = None
) -> dict[str, Any]:
    """The manifest's body.

    Args:
        params: name, namespace, limits, and the share of requests that a canary gets.
        storage_uri: where the model lies, such as ``s3://bucket/{version}`` or ``pvc://claim/model``.
        version: registered version, kept as a label; the predictor is named by it.
        canary: a second version that gets ``params.canary_percent`` of the requests.

    Raises:
        ValueError: there is no storage URI, the replicas contradict each other, or the canary cannot be told from the
            stable version.
    """
    if params.min_replicas > params.max_replicas:
        raise ValueError(
            f"serving.min_replicas is {params.min_replicas} and serving.max_replicas {params.max_replicas}; "
            "expected no more at least than at most"
        )
    stable = Revision(storage_uri=storage_uri, version=version)
    if not stable.uri:
        raise ValueError(
            "an InferenceService needs serving.storage_uri, such as s3://bucket/model or pvc://claim/model"
        )
    spec: dict[str, Any] = {"predictor": _predictor(params, stable)}
    if canary is not None:
        spec["canary"] = [canary_entry(params, stable, canary)]
    labels = {"app.kubernetes.io/name": params.model_name, "app.kubernetes.io/part-of": "moon"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": params.model_name,
            "namespace": params.namespace,
            "labels": {**labels, "app.kubernetes.io/version": version} if version else labels,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": spec,
    }


def canary_entry(params: ServingParams, stable: Revision, canary: Revision) -> dict[str, Any]:
    """One entry of ``spec.canary``; KServe lays it over the stable predictor.

    Raises:
        ValueError: the canary has no version, or the stable one's version or address.
    """
    if not canary.version or canary.version == stable.version:
        raise ValueError(
            f"the canary has version '{canary.version}' and the stable predictor '{stable.version}'; expected two"
        )
    if canary.uri == stable.uri:
        raise ValueError(
            f"canary and stable predictor would both load {stable.uri}; "
            "name the version in serving.storage_uri, such as s3://bucket/moon/{version}"
        )
    # The schema requires the model's name here, and the webhook forbids any but the empty one.
    model = {"name": "", **_model(params, canary)}
    return {"trafficPercent": params.canary_percent, "predictor": {"name": canary.version, "model": model}}


def predictor_name(params: ServingParams, version: str = "") -> str:
    """What KServe calls the Deployment and the Service of a predictor."""
    return "-".join(part for part in (params.model_name, version, "predictor") if part)


def to_yaml(body: dict[str, Any]) -> str:
    """A manifest as a YAML document."""
    return yaml.safe_dump(body, sort_keys=False)


def _predictor(params: ServingParams, stable: Revision) -> dict[str, Any]:
    pod: dict[str, Any] = {"name": stable.version} if stable.version else {}
    pod |= {
        "minReplicas": params.min_replicas,
        "maxReplicas": params.max_replicas,
        "scaleMetric": "cpu",
        "scaleTarget": SCALE_CPU_PERCENT,
        "timeout": 60,
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _stop_seconds(params),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread(params, "topology.kubernetes.io/zone"),
            _spread(params, "kubernetes.io/hostname"),
        ],
        "model": _model(params, stable),
    }
    if params.logger_url:
        pod["logger"] = {"mode": "all", "url": params.logger_url}
    if params.priority_class:
        pod["priorityClassName"] = params.priority_class
    if params.artefact_claim:
        claim = {"claimName": params.artefact_claim.partition("/")[0], "readOnly": True}
        pod["volumes"] = [{"name": "artefact", "persistentVolumeClaim": claim}]
    return pod


def _stop_seconds(params: ServingParams) -> int:
    return PRE_STOP_SECONDS + math.ceil(params.drain_seconds) + params.grace_seconds + _STOP_SECONDS


def _spread(params: ServingParams, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"serving.kserve.io/inferenceservice": params.model_name}},
    }


def _model(params: ServingParams, revision: Revision) -> dict[str, Any]:
    """The model and what its server is told besides the runtime's arguments, to which KServe appends these.

    An artefact holds the server's settings, so they are given only where there is none.
    """
    model: dict[str, Any] = {
        "modelFormat": {"name": RUNTIME, "version": "1"},
        "runtime": RUNTIME,
        "protocolVersion": "v2",
        "storageUri": revision.uri,
    }
    if params.artefact_claim:
        folder = f"{ARTEFACT_MOUNT}/{revision.version}" if revision.version else ARTEFACT_MOUNT
        model["args"] = [f"--artefact_dir={folder}"]
        within = params.artefact_claim.partition("/")[2]
        mount = {"name": "artefact", "mountPath": ARTEFACT_MOUNT, "readOnly": True}
        model["volumeMounts"] = [{**mount, "subPath": within} if within else mount]
    elif settings := _server_settings(params):
        model["args"] = [f"--serving_params={json.dumps(settings, sort_keys=True)}"]
    return model


def _server_settings(params: ServingParams) -> dict[str, Any]:
    """What the server itself needs to know of the parameters, where it is not the default."""
    defaults = to_dict(ServingParams())
    return {key: value for key, value in to_dict(params).items() if value != defaults[key] and key not in _POD}
