"""Training on the purchases of the train split."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from moon.config import ObjectivesParams, TrainingParams
from moon.model.embedder import model_revision
from moon.steps import outcome
from moon.training import exits
from moon.training.distributed import launched
from moon.training.logbook import read_log
from moon.training.run import Job, Summary
from moon.training.run import train as train_here


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How training went."""

    steps: int
    interactions: int
    processes: int
    trained_parameters: int
    first_loss: float
    last_loss: float
    last_accuracy: float
    pairs_per_second: float
    memory_mb: float
    """Peak of the first process: of its GPU where it has one."""
    seconds: float
    """Since this run, or its resumption, began."""
    revision: str
    data: str
    """Digest of the catalogue."""
    start: str
    """Revision of the model that training started from."""


def run(
    *,
    catalog: Path,
    regions: Path,
    negatives: Path,
    model: Path,
    params: TrainingParams,
    objectives: ObjectivesParams,
    augmented: Path | None = None,
    duplicates: Path | None = None,
    out: Path,
) -> TrainResult:
    """Trains ``model`` and saves it to ``out/model``; an interrupted run in ``out`` is resumed.

    Beside it lie ``metrics.jsonl``, ``loss.csv``, ``tensorboard`` and, until the run has ended, ``checkpoints``. With
    ``params.processes`` above 1, or DeepSpeed, the work is done by processes that are started here.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        negatives: output of the mine step.
        model: folder of the model to start from.
        params: of the engine.
        objectives: of the loss.
        augmented: output of the augment step, if it ran.
        duplicates: output of the duplicates step, if it ran; no batch holds two of a group, and none of a group is a
            negative of another.
        out: output folder.
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
    if not launched() and (params.processes > 1 or params.zero_stage):
        _train_in_processes(job, params, objectives)
    else:
        train_here(job, params, objectives)
    return finish(out, params.steps)


def finish(out: Path, steps: int) -> TrainResult:
    """Writes the result of a training run that has ended in ``out``.

    Args:
        out: with ``model``, ``metrics.jsonl`` and ``summary.json``.
        steps: that were to be done.
    """
    history, summary = read_log(out, steps), Summary.load(out)
    with (out / "loss.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["step", "loss", "accuracy"], extrasaction="ignore")
        table.writeheader()
        table.writerows(history)
    return outcome.save(
        out,
        TrainResult(
            steps=int(history[-1]["step"]),
            interactions=summary.interactions,
            processes=summary.processes,
            trained_parameters=summary.trained_parameters,
            first_loss=history[0]["loss"],
            last_loss=history[-1]["loss"],
            last_accuracy=history[-1]["accuracy"],
            pairs_per_second=sum(row["pairs_per_second"] for row in history) / len(history),
            memory_mb=history[-1]["memory_mb"],
            seconds=summary.seconds,
            revision=model_revision(out / "model"),
            data=summary.data,
            start=summary.start,
        ),
    )


def _train_in_processes(job: Job, params: TrainingParams, objectives: ObjectivesParams) -> None:
    from moon.training.launch import arguments, launch

    code = launch(arguments(job, params, objectives), params.processes)
    if code == exits.DONE:
        return
    message = f"training in {params.processes} processes ended with exit code {code}; its last lines above say why"
    if code == exits.MISTAKE:
        raise ValueError(message)
    kinds = {kind.exit_code: kind for kind in (exits.TrainingError, exits.Interrupted)}
    raise kinds.get(code, exits.Crashed)(message)
