"""A training job as a TrainJob of Kubeflow Trainer 2.3 (trainer.kubeflow.org/v1alpha1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moon.cluster.jobs import ENTRY, JobState, Phase, Progress, TrainingJob, metadata, resources
from moon.cluster.training_pod import NODE
from moon.config import LaunchParams

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"
PLURAL: Final = "trainjobs"
KIND: Final = "TrainJob"
CONTAINER: Final = NODE
_PHASES: Final[Mapping[str, Phase]] = {"Complete": "succeeded", "Failed": "failed", "Suspended": "waiting"}
"""What a condition means that is true; the first one holds."""
MANAGER: Final = "moon/launcher"


def body(job: TrainingJob, params: LaunchParams) -> dict[str, Any]:
    """The manifest of a job.

    Raises:
        ValueError: accelerators and processes do not agree.
    """
    trainer: dict[str, Any] = {"image": params.image} if params.image else {}
    trainer |= {
        "command": [*ENTRY],
        "args": ["-m", "moon.training", *job.arguments],
        "numNodes": params.nodes,
        "numProcPerNode": params.processes_per_node,
        "resourcesPerNode": resources(job, params),
    }
    if job.pod.env:
        trainer["env"] = [dict(variable) for variable in job.pod.env]
    spec = {
        "suspend": bool(params.queue),
        "activeDeadlineSeconds": params.deadline_seconds,
        "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": params.runtime},
        "trainer": trainer,
        "runtimePatches": [_patch(job, params)],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": metadata(job, params, spec),
        "spec": spec,
    }


def _patch(job: TrainingJob, params: LaunchParams) -> dict[str, Any]:
    """What a job changes of the runtime's pods."""
    given = job.pod.beside(params.shared)
    pod: dict[str, Any] = {"terminationGracePeriodSeconds": params.grace_seconds}
    pod |= {"nodeSelector": dict(given.node_selector)} if given.node_selector else {}
    pod |= {"tolerations": [dict(one) for one in given.tolerations]} if given.tolerations else {}
    pod |= {"affinity": dict(given.affinity)} if given.affinity else {}
    if given.volumes:
        pod["volumes"] = [dict(one) for one in given.volumes]
        pod["containers"] = [{"name": NODE, "volumeMounts": [dict(one) for one in given.volume_mounts]}]
    jobs = [{"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}]
    return {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}


def state(found: Mapping[str, Any]) -> JobState:
    """What the conditions of a TrainJob say."""
    status = found.get("status") or {}
    progress = _progress(status.get("trainerStatus") or {})
    conditions = {one["type"]: one for one in status.get("conditions") or () if one["status"] == "True"}
    for kind, phase in _PHASES.items():
        if kind in conditions:
            said = conditions[kind]
            return JobState(phase=phase, reason=said["reason"], message=said["message"], progress=progress)
    jobs = status.get("jobsStatus") or ()
    running = any(one["active"] or one["ready"] for one in jobs)
    return JobState(phase="running" if running else "waiting", progress=progress)


def _progress(status: Mapping[str, Any]) -> Progress | None:
    if "progressPercentage" not in status:
        return None
    return Progress(
        percent=status["progressPercentage"],
        seconds_left=status.get("estimatedRemainingSeconds"),
        metrics={one["name"]: one["value"] for one in status.get("metrics") or ()},
    )


def selector(name: str) -> str:
    """Label selector of a job's pods."""
    return f"jobset.sigs.k8s.io/jobset-name={name}"


def node(pod: Mapping[str, Any]) -> int:
    """Which machine of the job a pod is, from 0."""
    return int(pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index", 0))


def exit_code(code: int) -> int:
    """The exit code of training behind that of a pod."""
    return code
