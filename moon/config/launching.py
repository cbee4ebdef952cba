"""The section ``launch``: training on several machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from moon.config.fields import Count, Limits, Natural, OneOf, Positive, Section


@dataclass(frozen=True, kw_only=True)
class LaunchParams(Section):
    """Where a training job runs, on how much, and how often it is tried."""

    kind: Annotated[str, OneOf("local", "trainjob", "pytorchjob")] = "local"
    """Processes on this machine, a TrainJob (Kubeflow Trainer 2.3), or a PyTorchJob (Training Operator 1)."""
    nodes: Count = 1
    """Machines; ``local`` starts one group of processes for each."""
    processes_per_node: Count = 1
    """Processes on each machine, one an accelerator."""
    accelerator: str = "nvidia.com/gpu"
    """Resource of which a process gets one, such as ``nvidia.com/gpu``; empty: trains on CPUs."""
    cpu: str = "8"
    """CPUs of a machine, as a Kubernetes quantity."""
    memory: str = "64Gi"
    """Memory of a machine, /dev/shm included."""
    shared_memory: str = "8Gi"
    """Size of /dev/shm, through which NCCL and gloo talk within a machine."""
    image: str = "ghcr.io/moon-product-search/moon-train:0.1.0"
    """Container image that trains; empty: the one that the training runtime names (TrainJob only)."""
    namespace: str = "moon"
    runtime: str = "moon-torch"
    """ClusterTrainingRuntime of a TrainJob."""
    claim: str = "moon-training"
    """PersistentVolumeClaim (ReadWriteMany) that all machines and the launcher see at ``shared``."""
    shared: str = "/mnt/moon"
    """Where the claim is mounted; inputs, checkpoints and the model lie there, in ``jobs/NAME``."""
    queue: str = ""
    """Kueue LocalQueue that the job waits in; empty: starts at once."""
    priority: str = ""
    """Kueue WorkloadPriorityClass; empty: the queue's own."""
    deadline_seconds: Count = 86_400
    """Longest that the job may run."""
    max_restarts: Natural = 3
    """How often a crashed job starts again from its newest checkpoint."""
    grace_seconds: Annotated[int, Limits(30)] = 300
    """Time between SIGTERM and the end, for the running step and a checkpoint."""
    patience_seconds: Positive = 600.0
    """How long the API server may stay away before the launcher gives up; the job itself goes on."""
