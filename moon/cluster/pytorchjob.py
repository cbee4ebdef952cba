"""A training job as a PyTorchJob of Training Operator 1 (kubeflow.org/v1), for clusters that have no Trainer yet.

The operator replaces a pod that ended with an exit code from 128 on, and fails the job at any other; so the processes
add 128 to the codes that ask to try again (`moon.training.node`). It sets who a pod is in ``RANK``, ``MASTER_ADDR`` and
``MASTER_PORT``, which Kubernetes fills into the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moon.cluster.jobs import RETRY_OFFSET, JobState, Phase, TrainingJob, metadata, resources
from moon.cluster.training_pod import POD_LABELS, pod_spec
from moon.config import LaunchParams

GROUP: Final = "kubeflow.org"
VERSION: Final = "v1"
PLURAL: Final = "pytorchjobs"
KIND: Final = "PyTorchJob"
CONTAINER: Final = "pytorch"
OFFSET: Final = 128
_PHASES: Final[Mapping[str, Phase]] = {
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Suspended": "waiting",
    "Restarting": "waiting",
    "Running": "running",
}
"""What a condition means that is true; the first one holds."""
PORT: Final = 23_456


def body(job: TrainingJob, params: LaunchParams) -> dict[str, Any]:
    """The manifest of a job.

    Raises:
        ValueError: accelerators and processes do not agree, or there is no image.
    """
    if not params.image:
        raise ValueError("a PyTorchJob has no runtime that names an image; set launch.image")
    replicas = {"Master": 1, "Worker": params.nodes - 1}
    spec = {
        "nprocPerNode": str(params.processes_per_node),
        "runPolicy": {
            "cleanPodPolicy": "Running",
            "activeDeadlineSeconds": params.deadline_seconds,
            "backoffLimit": params.max_restarts,
            "suspend": bool(params.queue),
        },
        "pytorchReplicaSpecs": {
            role: {"replicas": number, "restartPolicy": "ExitCode", "template": _template(job, params)}
            for role, number in replicas.items()
            if number
        },
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": metadata(job, params, spec),
        "spec": spec,
    }


def _template(job: TrainingJob, params: LaunchParams) -> dict[str, Any]:
    given = job.pod.beside(params.shared)
    spec = pod_spec(params, CONTAINER, restart=None)
    [container] = spec["containers"]
    container["args"] = [
        *("--nnodes", str(params.nodes), "--nproc-per-node", str(params.processes_per_node)),
        *("--node-rank", "$(RANK)", "--master-addr", "$(MASTER_ADDR)", "--master-port", "$(MASTER_PORT)"),
        *("-m", "moon.training", *job.arguments),
    ]
    container["ports"] = [{"name": "pytorchjob-port", "containerPort": PORT}]
    container["env"] += [{"name": RETRY_OFFSET, "value": str(OFFSET)}, *map(dict, given.env)]
    container["resources"] = resources(job, params)
    container["volumeMounts"] += map(dict, given.volume_mounts)
    spec["volumes"] += map(dict, given.volumes)
    spec |= {"nodeSelector": dict(given.node_selector)} if given.node_selector else {}
    spec |= {"tolerations": [dict(one) for one in given.tolerations]} if given.tolerations else {}
    spec |= {"affinity": dict(given.affinity)} if given.affinity else {}
    # A service mesh's sidecar would keep the pod from ending, and slow every packet.
    annotations = {"sidecar.istio.io/inject": "false"}
    return {"metadata": {"labels": dict(POD_LABELS), "annotations": annotations}, "spec": spec}


def state(found: Mapping[str, Any]) -> JobState:
    """What the conditions of a PyTorchJob say."""
    conditions = {one["type"]: one for one in (found.get("status") or {}).get("conditions") or ()}
    true = {kind: one for kind, one in conditions.items() if one["status"] == "True"}
    for kind, phase in _PHASES.items():
        if kind in true:
            said = true[kind]
            return JobState(phase=phase, reason=said.get("reason", ""), message=said.get("message", ""))
    return JobState(phase="waiting")


def selector(name: str) -> str:
    """Label selector of a job's pods."""
    return f"training.kubeflow.org/job-name={name}"


def node(pod: Mapping[str, Any]) -> int:
    """Which machine of the job a pod is, from 0."""
    labels = pod["metadata"]["labels"]
    worker = labels.get("training.kubeflow.org/replica-type") == "worker"
    return int(labels.get("training.kubeflow.org/replica-index", 0)) + worker


def exit_code(code: int) -> int:
    """The exit code of training behind that of a pod."""
    return code - OFFSET if code - OFFSET in (1, 75) else code
