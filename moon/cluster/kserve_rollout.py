"""The roll-out of a model version on a cluster: a canary in an InferenceService, promoted or taken back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from moon.cluster.deployment import DeploymentError
from moon.cluster.inferenceservice import Revision, inference_service
from moon.config import ServingParams

if TYPE_CHECKING:
    from moon.cluster.kubernetes_api import Cluster

TRIAL: Final = "moon/trial"
"""Annotation that names the first version of all while it is tried, as no stable one stands beside it."""


class _Kind:
    GROUP, VERSION = "serving.kserve.io", "v1beta1"
    PLURAL, KIND = "inferenceservices", "InferenceService"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Which registered versions serve; empty where none does."""

    stable: str = ""
    canary: str = ""
    """The version that is tried."""


class KServeRollout:
    """The InferenceService of a model, which is itself the only record of its roll-out.

    Args:
        cluster: the namespace it is in.
        params: name, namespace and limits of the service.
    """

    def __init__(self, cluster: Cluster, params: ServingParams) -> None:
        self._cluster, self._params = cluster, params

    def state(self) -> Serving:
        """Which versions serve."""
        body = self._cluster.get(_Kind(), self._params.model_name)
        if body is None:
            return Serving()
        version = str(body["spec"]["predictor"].get("name", ""))
        if body["metadata"].get("annotations", {}).get(TRIAL):
            return Serving(canary=version)
        beside = body["spec"].get("canary") or []
        return Serving(stable=version, canary=str(beside[0]["predictor"]["name"]) if beside else "")

    def begin(self, version: Revision, stable: Revision | None) -> None:
        """Serves a version beside the stable one; alone, where there is none or it is the stable one."""
        if stable is None or stable.version == version.version:
            self._apply(version, None, trial="" if stable else version.version)
        else:
            self._apply(stable, version)

    def settle(self, version: Revision | None) -> None:
        """Leaves one version to serve; None takes the service away."""
        if version is None:
            self._cluster.delete(_Kind(), self._params.model_name)
        else:
            self._apply(version, None)

    def wait(self, version: str, seconds: float, poll: float) -> float:
        """Waits until a version is ready; returns the seconds waited.

        Raises:
            DeploymentError: it is not in time, or the service is gone; the message has its conditions.
        """
        begun = time.monotonic()
        status: dict[str, Any] = {}
        while (waited := time.monotonic() - begun) <= seconds:
            body = self._cluster.get(_Kind(), self._params.model_name)
            if body is None:
                raise DeploymentError(f"InferenceService {self._params.model_name} was deleted while {version} started")
            status = body.get("status") or {}
            if _ready(body, status, version):
                return waited
            time.sleep(poll)
        said = "; ".join(
            f"{one['type']}: {one.get('reason', '')} {one.get('message', '')}".strip()
            for one in status.get("conditions", [])
            if one.get("status") != "True"
        )
        raise DeploymentError(
            f"{version} of InferenceService {self._params.model_name} in {self._params.namespace} was not ready after "
            f"{seconds:.0f} s ({said or 'it has no conditions: does KServe run?'})"
        )

    def _apply(self, stable: Revision, canary: Revision | None, trial: str = "") -> None:
        body = inference_service(self._params, stable.storage_uri, stable.version, canary)
        body["metadata"]["annotations"][TRIAL] = trial
        self._cluster.apply(_Kind(), body)


def _ready(body: dict[str, Any], status: dict[str, Any], version: str) -> bool:
    """Whether a version is; a status of an earlier generation of the object tells nothing."""
    generation = body["metadata"].get("generation")
    if generation is not None and status.get("observedGeneration", generation) != generation:
        return False
    if body["spec"]["predictor"].get("name") != version:
        return any(one["name"] == version and one.get("ready") for one in status.get("canaryStatuses", []))
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
