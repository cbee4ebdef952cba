"""Training on several machines: as `moon.steps.train`, by a TrainJob, a PyTorchJob, or processes of this machine."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from moon.cluster.jobs import Outcome, PodSettings, TrainingJob, job_name
from moon.cluster.local_launcher import LocalLauncher
from moon.config import LaunchParams, ObjectivesParams, TrainingParams, to_dict
from moon.model.embedder import model_revision
from moon.steps.subprocesses import terminated_as_interrupted
from moon.steps.train import TrainResult, finish
from moon.training import exits
from moon.training.run import Job, fingerprint

log = logging.getLogger(__name__)

OUTCOME: Final = "outcome.json"
"""In the job's shared folder: it has succeeded, and need not run again."""
_PARAMS: Final = "params.yaml"
_INPUTS: Final = ("catalog", "regions", "negatives", "model", "augmented", "duplicates")


def run(
    *,
    catalog: Path,
    regions: Path,
    negatives: Path,
    model: Path,
    params: TrainingParams,
    objectives: ObjectivesParams,
    launch: LaunchParams,
    run_id: str,
    augmented: Path | None = None,
    duplicates: Path | None = None,
    pod: Mapping[str, Any] | None = None,
    image: str = "",
    out: Path,
) -> TrainResult:
    """Trains on ``launch.nodes`` machines and leaves in ``out`` what `moon.steps.train.run` leaves there.

    The job is named from ``run_id`` and a digest of the data and parameters. Called again with the same, it joins the
    job that runs, or takes the results of the one that succeeded. SIGTERM and Ctrl-C delete the job, whose processes
    write a checkpoint; the next call goes on from there. On a cluster everything passes through ``launch.shared``,
    which must be mounted here as it is in the job's pods.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        negatives: output of the mine step.
        model: folder of the model to start from.
        params: of the engine; ``processes`` is ignored for ``launch``'s own.
        objectives: of the loss.
        launch: where, and on how much.
        run_id: of the pipeline, or any name that tells apart runs with equal data and parameters.
        augmented: output of the augment step, if it ran.
        duplicates: output of the duplicates step, if it ran.
        pod: resources, variables, tolerations, ... of the pipeline task, by the names of `PodSettings`.
        image: trains instead of ``launch.image``.
        out: output folder.

    Raises:
        ValueError: an input or a parameter is wrong, here or in the job, or ``launch.shared`` is not there.
        moon.training.exits.TrainingError: training diverged.
        moon.training.exits.Interrupted: the launch was cancelled.
        moon.training.exits.Crashed: the job failed for another reason; calling again may help.
        moon.cluster.kubernetes_api.ClusterError: the cluster refuses the job or does not answer.
    """
    job = Job(
        catalog=catalog,
        regions=regions,
        negatives=negatives,
        model=model,
        augmented=augmented,
        duplicates=duplicates,
        out=out,
    )
    launch = dataclasses.replace(launch, image=image or launch.image)
    asked, placed = plan(job, params, objectives, launch, run_id, pod)
    if launch.kind == "local":
        _write_params(out, params, objectives)
        _succeed(_run_locally(asked, launch, out))
        return finish(out, params.steps)
    folder = placed.out.parent
    _check_shared(launch)
    if not (folder / OUTCOME).is_file():
        _stage(job, placed)
        _write_params(folder, params, objectives)
        outcome = _run_on_cluster(asked, launch)
        _succeed(outcome)
        (folder / OUTCOME).write_text(json.dumps(dataclasses.asdict(outcome)) + "\n", encoding="utf-8")
    shutil.copytree(placed.out, out, dirs_exist_ok=True)
    result = finish(out, params.steps)
    shutil.rmtree(folder / "inputs", ignore_errors=True)
    return result


def plan(
    job: Job,
    params: TrainingParams,
    objectives: ObjectivesParams,
    launch: LaunchParams,
    run_id: str,
    pod: Mapping[str, Any] | None = None,
) -> tuple[TrainingJob, Job]:
    """What would be launched, and where its inputs and results would lie; nothing is written.

    Raises:
        ValueError: an input is missing, or ``pod`` has a field that is not known.
    """
    processes = launch.nodes * launch.processes_per_node
    recipe = fingerprint(job, model_revision(job.model), params, objectives, processes)
    name = job_name(run_id, recipe)
    placed, folder = job, job.out
    if launch.kind != "local":
        shared = Path(launch.shared)
        folder = shared / "jobs" / name
        placed = dataclasses.replace(job, **_places(job, shared, folder / "inputs"), out=folder / "train")
    named = {name: path for name, path in vars(placed).items() if path is not None} | {"params": folder / _PARAMS}
    arguments = [part for name, path in named.items() for part in (f"--{name}", str(path))]
    asked = TrainingJob(name=name, run_id=run_id, recipe=recipe, arguments=arguments, pod=PodSettings.of(pod))
    return asked, placed


def manifest(asked: TrainingJob, launch: LaunchParams) -> str:
    """The YAML with which a cluster would be asked to run a job.

    Raises:
        ValueError: it would run on this machine, or cannot be described as a resource.
    """
    from moon.cluster.launcher import KINDS

    if launch.kind not in KINDS:
        raise ValueError(f"launch.kind={launch.kind} makes no manifest; expected one of {', '.join(KINDS)}")
    return yaml.safe_dump(KINDS[launch.kind].body(asked, launch), sort_keys=False)


def _run_locally(job: TrainingJob, launch: LaunchParams, out: Path) -> Outcome:
    launcher = LocalLauncher(launch, out, log.info)
    with terminated_as_interrupted():
        try:
            return launcher.run(job)
        except KeyboardInterrupt:
            raise exits.Interrupted(f"cancelled; the same command goes on from the checkpoint in {out}") from None


def _run_on_cluster(job: TrainingJob, launch: LaunchParams) -> Outcome:
    from moon.cluster.kubernetes_api import Cluster
    from moon.cluster.launcher import Launcher

    launcher = Launcher(Cluster(launch.namespace, patience=launch.patience_seconds), launch, log.info)
    with terminated_as_interrupted():
        try:
            outcome = launcher.run(job)
        except KeyboardInterrupt:
            launcher.remove(job)
            raise exits.Interrupted(
                f"cancelled, and job {job.name} deleted; the same command starts it again from its checkpoint"
            ) from None
    return outcome


def _succeed(outcome: Outcome) -> None:
    """Raises the error that a failed job stands for."""
    if outcome.succeeded:
        return
    if outcome.exit_code == exits.MISTAKE:
        raise ValueError(str(outcome))
    raise (exits.TrainingError if outcome.exit_code == exits.DIVERGED else exits.Crashed)(str(outcome))


def _check_shared(launch: LaunchParams) -> None:
    if not os.path.isdir(launch.shared) or not os.access(launch.shared, os.W_OK):
        raise ValueError(
            f"launch.shared={launch.shared} is no folder that can be written to here; mount claim "
            f"{launch.claim} at that path in the launcher too, since inputs and results pass through it"
        )


def _places(job: Job, shared: Path, inputs: Path) -> dict[str, Path]:
    """Where a job's pods find its inputs: those under the shared folder stay, the others are copied."""
    given = {name: path for name in _INPUTS if (path := getattr(job, name)) is not None}
    root = shared.resolve()
    return {name: path if path.resolve().is_relative_to(root) else inputs / name for name, path in given.items()}


def _stage(job: Job, placed: Job) -> None:
    """Copies inputs; one appears under its name when it is whole, and stays, since the job's name depends on it."""
    placed.out.mkdir(parents=True, exist_ok=True)
    for name in _INPUTS:
        source: Path | None = getattr(job, name)
        target: Path | None = getattr(placed, name)
        if source is None or target is None or target.exists():
            continue
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=_made(target.parent))) / target.name
        shutil.copytree(source, partial)
        try:
            os.replace(partial, target)
        except OSError:
            if not target.exists():  # otherwise another launcher of this job was quicker
                raise


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_params(folder: Path, params: TrainingParams, objectives: ObjectivesParams) -> None:
    """Parameters travel as a file: a TrainJob holds at most 128 arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = {"training": to_dict(params), "objectives": to_dict(objectives)}
    (folder / _PARAMS).write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
