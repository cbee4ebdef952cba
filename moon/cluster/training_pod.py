"""The pod that trains, and the ClusterTrainingRuntime (Kubeflow Trainer 2.3) that starts it on every machine.

The runtime holds what is the same for every job: command, restarts, shared memory, the shared claim, the settings of
NCCL, restricted security context. A job adds its arguments, size and resources; see `moon.cluster.trainjob`. A
PyTorchJob has no runtime and carries the whole pod; see `moon.cluster.pytorchjob`.
"""

from __future__ import annotations

from typing import Any, Final

from moon import telemetry
from moon.cluster.jobs import ENTRY, PERMANENT
from moon.config import LaunchParams

USER: Final = 10_001
SERVICE_ACCOUNT: Final = "moon-training"
NCCL_SETTINGS: Final = "moon-nccl"
"""ConfigMap whose entries become variables of every training process."""
POD_LABELS: Final = {"app.kubernetes.io/component": "training", "app.kubernetes.io/part-of": "moon"}
NODE: Final = "node"
"""Name of Trainer's replicated job and of its container."""
SHARED_VOLUME: Final = "shared"
_SHUTDOWN_MARGIN: Final = 15
"""Seconds of a pod's grace that are left for the processes' parent to end."""
_ENVIRONMENT: Final = {
    **telemetry.OFF,
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": "/tmp/huggingface",
    "HOME": "/tmp",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",
    "TORCH_EXTENSIONS_DIR": "/tmp/torch-extensions",
    "TRITON_CACHE_DIR": "/tmp/triton",
}


def pod_spec(params: LaunchParams, container: str, restart: str | None = "Never") -> dict[str, Any]:
    """The pod's specification without what a job adds.

    Args:
        params: image, shared claim, shared memory and grace.
        container: name of its container.
        restart: restart policy; None leaves it to the job's controller.
    """
    variables = {**_ENVIRONMENT, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(params.grace_seconds - _SHUTDOWN_MARGIN)}
    spec = {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": params.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": container,
                "image": params.image,
                "command": [*ENTRY],
                "env": [{"name": name, "value": value} for name, value in variables.items()],
                "envFrom": [{"configMapRef": {"name": NCCL_SETTINGS, "optional": True}}],
                "resources": {
                    name: {"cpu": params.cpu, "memory": params.memory, "ephemeral-storage": "10Gi"}
                    for name in ("requests", "limits")
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": SHARED_VOLUME, "mountPath": params.shared},
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {"name": SHARED_VOLUME, "persistentVolumeClaim": {"claimName": params.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": params.shared_memory}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},
        ],
    }
    return spec if restart is None else {"restartPolicy": restart, **spec}


def cluster_training_runtime(params: LaunchParams) -> dict[str, Any]:
    """The runtime's manifest.

    Its failure policy: an exit code that would come again fails the job; a machine that is taken away (drain,
    preemption) restarts it, uncounted; anything else restarts all of it, ``params.max_restarts`` times. A restarted
    job goes on from its newest checkpoint.
    """
    codes = "|".join(str(code) for code in PERMANENT)
    job = {
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": NODE, "operator": "In", "values": [*PERMANENT]},
                },
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"metadata": {"labels": POD_LABELS}, "spec": pod_spec(params, NODE)},
    }
    policy = {
        "maxRestarts": params.max_restarts,
        "restartStrategy": "BlockingRecreate",
        "rules": [
            _rule("mistake-or-divergence", "FailJobSet", rf".*failed with exit code ({codes}) .*"),
            _rule("taken-away", "RestartJobSetAndIgnoreMaxRestarts", ".*has condition DisruptionTarget .*"),
        ],
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {
            "name": params.runtime,
            "labels": {"trainer.kubeflow.org/framework": "torch", "app.kubernetes.io/part-of": "moon"},
        },
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {
                "spec": {
                    "failurePolicy": policy,
                    "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
                    "replicatedJobs": [
                        {
                            "name": NODE,
                            "template": {
                                "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                                "spec": job,
                            },
                        }
                    ],
                }
            },
        },
    }


def _rule(name: str, action: str, message: str) -> dict[str, Any]:
    return {
        "name": name,
        "action": action,
        "onJobFailureReasons": ["PodFailurePolicy"],
        "onJobFailureMessagePatterns": [message],
    }
