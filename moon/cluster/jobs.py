"""A training job on several machines, whatever runs it: what it is, how it is named, how it goes, how it ended."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from moon.config import LaunchParams

RUN_ID: Final = "moon/run-id"
RECIPE: Final = "moon/recipe"
BODY: Final = "moon/body"
"""Annotations of a job: the run and the recipe it is named from, and a digest of all that was asked for."""
ENTRY: Final = ("python", "-m", "moon.training.node")
PERMANENT: Final = (2, 5)
"""Exit codes of a training process that would come again: a mistake in what was given, and divergence."""
TAIL: Final = 20
"""Lines that are kept as the last words of a process."""
PREFIX: Final = "[rank {rank}] "
"""What every line of a training process begins with."""
FAILED: Final = "rank {rank} failed first, with exit code {code}"
"""The last line of a machine on which a process failed."""
RETRY_OFFSET: Final = "MOON_RETRY_EXIT_OFFSET"
"""Variable that is added to the exit codes that ask to try again."""
_FAILED: Final = re.compile(FAILED.format(rank=r"(\d+)", code=r"-?\d+"))
_SLUG: Final = 20


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """What a pipeline task was given for its pods, in the words of Kubernetes (KFP's ``dsl.TaskConfig``)."""

    resources: Mapping[str, Any] = field(default_factory=dict)
    env: Sequence[Mapping[str, Any]] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    volume_mounts: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> PodSettings:
        """Reads settings in which absent and None mean the same.

        Raises:
            ValueError: a field is not known.
        """
        named = {name: value for name, value in (given or {}).items() if value}
        if unknown := sorted(named.keys() - cls.__dataclass_fields__.keys()):
            raise ValueError(f"pod settings know {', '.join(cls.__dataclass_fields__)}; got {', '.join(unknown)}")
        return cls(**named)

    def beside(self, path: str) -> PodSettings:
        """The same without the volume that is mounted at ``path``, which the pod has already."""
        taken = {mount["name"] for mount in self.volume_mounts if mount["mountPath"].rstrip("/") == path.rstrip("/")}
        return dataclasses.replace(
            self,
            volumes=[volume for volume in self.volumes if volume["name"] not in taken],
            volume_mounts=[mount for mount in self.volume_mounts if mount["name"] not in taken],
        )


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What is to be trained."""

    name: str
    run_id: str
    recipe: str
    """Digest of all that the weights depend on."""
    arguments: Sequence[str]
    """Of ``python -m moon.training``."""
    pod: PodSettings = field(default_factory=PodSettings)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job says it is."""

    percent: int
    seconds_left: int | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        left = [] if self.seconds_left is None else [f"{self.seconds_left} s left"]
        return ", ".join([f"{self.percent}%", *left, *(f"{name} {value}" for name, value in self.metrics.items())])


Phase = Literal["waiting", "running", "succeeded", "failed"]


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What the cluster says of a job."""

    phase: Phase
    reason: str = ""
    message: str = ""
    progress: Progress | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ("succeeded", "failed")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    name: str
    succeeded: bool
    exit_code: int = 0
    """Of the process that failed first; see `moon.training.exits`."""
    reason: str = ""
    lines: Sequence[str] = ()
    """The last ones of the process that failed first."""
    attached: bool = False
    """Whether the job had been started before."""

    @property
    def permanent(self) -> bool:
        """Whether the same job would fail again."""
        return self.exit_code in PERMANENT

    def __str__(self) -> str:
        if self.succeeded:
            return f"job {self.name} succeeded"
        said = "".join(f"\n  {line}" for line in self.lines)
        return f"job {self.name} failed with exit code {self.exit_code}: {self.reason}{said}"


def job_name(run_id: str, recipe: str) -> str:
    """The name of a job: the same for the same run and recipe, a DNS label, short enough for the names of its pods."""
    slug = re.sub(r"[^a-z0-9]+", "-", run_id.lower())[:_SLUG].strip("-")
    total = hashlib.sha256(f"{run_id}\0{recipe}".encode()).hexdigest()[:12]
    return "-".join(part for part in ("moon", slug, total) if part)


def metadata(job: TrainingJob, params: LaunchParams, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Name, labels and annotations of a job with this ``spec``."""
    labels = {"app.kubernetes.io/name": "moon-training", "app.kubernetes.io/part-of": "moon"}
    if params.queue:
        labels["kueue.x-k8s.io/queue-name"] = params.queue
        if params.priority:
            labels["kueue.x-k8s.io/priority-class"] = params.priority
    asked = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return {
        "name": job.name,
        "namespace": params.namespace,
        "labels": labels,
        "annotations": {RUN_ID: job.run_id, RECIPE: job.recipe, BODY: asked},
    }


def resources(job: TrainingJob, params: LaunchParams) -> dict[str, Any]:
    """Requests and limits of one machine: those of the pipeline task, else of the parameters.

    Raises:
        ValueError: the task asks for another number of accelerators than there are processes.
    """
    accelerators = {params.accelerator: str(params.processes_per_node)} if params.accelerator else {}
    if not job.pod.resources:
        amounts = {"cpu": params.cpu, "memory": params.memory, "ephemeral-storage": "10Gi", **accelerators}
        return {"requests": amounts, "limits": amounts}
    asked = {name: dict(job.pod.resources.get(name) or {}) for name in ("requests", "limits")}
    for name, wanted in accelerators.items():
        given = asked["limits"].get(name, asked["requests"].get(name))
        if str(given) != wanted:
            raise ValueError(
                f"the task asks for {given or 'no'} {name} a machine, and launch.processes_per_node is {wanted}; "
                "expected one for each process: make them equal, or set launch.accelerator= to train on CPUs"
            )
    return asked


def failing_rank(lines: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The rank that failed first on a machine, as its last line names it, and what that rank said; else everything."""
    for line in reversed(lines):
        if found := _FAILED.fullmatch(line):
            prefix = PREFIX.format(rank=found[1])
            said = [one.removeprefix(prefix) for one in lines if one.startswith(prefix)]
            return f"rank {found[1]}", said or lines
    return "", lines
