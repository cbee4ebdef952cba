"""Step: starts the training that a window asks for, at most once a window, whoever judges it and however often."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from moon.config import DriftParams
from moon.monitoring.drift_metrics import DECISION, decision_folder
from moon.monitoring.segments import start_of
from moon.steps import outcome

_TRIGGERS: Final = "triggers"
_IN_A_TASK: Final = "_KFP_RUNTIME"
"""Variable by which KFP leaves half of itself out."""


class StartRun(Protocol):
    """Starts a run and returns its id; with a name and key that were given before, the id of the run started then."""

    def __call__(self, job_name: str, key: str) -> str:
        """Starts it."""


@dataclass(frozen=True, kw_only=True)
class TriggerResult:
    """Whether a training was started for a window."""

    started: bool
    run_id: str
    """Of the run for this window; empty where there is none."""
    reason: str


def run(
    *,
    root: Path,
    service: str,
    window: str,
    host: str,
    pipeline: str,
    arguments: Mapping[str, Any],
    params: DriftParams,
    out: Path,
    namespace: str = "",
    token_file: Path | None = None,
    account: str = "",
) -> TriggerResult:
    """Starts a pipeline for a window whose decision was ``retrain``; see `trigger`.

    Args:
        root: folder of the monitoring's state.
        service: the service that drifted.
        window: the window that asks for it.
        host: API of Kubeflow Pipelines.
        pipeline: name of an uploaded pipeline, such as ``moon-train``.
        arguments: of the pipeline.
        params: least time between two trainings.
        out: receives ``metrics.json``.
        namespace: of the user, on a server for several users.
        token_file: file whose text is sent as a token; None sends none.
        account: ServiceAccount whose rights the run has; empty is the server's default.

    Raises:
        ValueError: the window was not judged, or its decision is another one.
        PipelineServiceError: the run cannot be started; the next try starts it.
    """
    judged = decision_folder(root, service, window) / DECISION
    if not judged.is_file():
        raise ValueError(f"no decision at {judged}; judge the window with 'moon monitor' first")
    decision = _read(judged)["decision"]
    if decision != "retrain":
        raise ValueError(f"the decision on {window} of '{service}' is '{decision}', which asks for no training")

    def start(job_name: str, key: str) -> str:
        from moon.cluster.kfp_client import PipelineService

        token = token_file.read_text(encoding="utf-8").strip() if token_file else ""
        service = PipelineService(host, namespace, token, account=account)
        return service.run_pipeline(pipeline, arguments, job_name, key)

    return outcome.save(
        out, trigger(root=root, service=service, window=window, hours=params.trigger_hours, start=start)
    )


def run_in_cluster(
    *, root: Path, service: str, window: str, host: str, arguments: Mapping[str, Any], params: DriftParams, out: Path
) -> TriggerResult:
    """`run` of ``moon-train`` from a task: with the pod's account, and the token projected into it, if there is one.

    In a process of its own, because KFP's client cannot be imported where KFP runs a task.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    from moon.cluster.kfp_client import TOKEN, own_account

    told = {"service": service, "window": window, "host": host, "root": root, "out": out}
    told |= {"service-account": own_account(), "set": f"drift.trigger_hours={params.trigger_hours}"}
    told |= {"token-file": TOKEN} if TOKEN.is_file() else {}
    command = [sys.executable, "-m", "moon.cli", "retrain", *(f"--{name}={value}" for name, value in told.items())]
    command += [f"--argument={name}={json.dumps(value)}" for name, value in arguments.items()]
    environment = {name: value for name, value in os.environ.items() if name != _IN_A_TASK}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(ended.stderr.strip() or f"exit code {ended.returncode}")
    return TriggerResult(**outcome.read(out))


def trigger(*, root: Path, service: str, window: str, hours: float, start: StartRun) -> TriggerResult:
    """Starts a training for a window, unless one was started for it or for another window less than ``hours`` away.

    The claim is written before the run is started. Where that fails, or the process dies between the two, the next
    call for this window or one near it makes up for it, with the first window's key, so that the runs' server can tell
    that it is the same run.

    Args:
        root: folder of the monitoring's state, shared by all who judge windows.
        service: the service that drifted.
        window: the window that asks for it.
        hours: least time between the windows of two trainings.
        start: starts the run.
    """
    folder = root / _TRIGGERS / service
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        near = window if _claim(folder, window).is_file() else _near(folder, window, hours) or window
        claim = _claim(folder, near)
        if claim.is_file() and (run_id := str(_read(claim)["run_id"])):
            return TriggerResult(
                started=False,
                run_id=run_id if near == window else "",
                reason=f"Run {run_id} was started for {near}; {window} starts none within {hours:g} hours of it.",
            )
        _write(claim, {"window": near, "run_id": ""})
        run_id = start(f"drift-{service}", near.lower())
        _write(claim, {"window": near, "run_id": run_id})
    return TriggerResult(started=True, run_id=run_id, reason=f"Run {run_id} was started for {near}.")


def _claim(folder: Path, window: str) -> Path:
    return folder / f"{window}.json"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _near(folder: Path, window: str, hours: float) -> str | None:
    """A window with a claim that starts less than ``hours`` before or after."""
    start = start_of(window)
    names = sorted(path.stem for path in folder.glob("*.json"))
    return next((name for name in names if abs(start_of(name) - start) < timedelta(hours=hours)), None)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, tree: dict[str, Any]) -> None:
    """Writes a file that is whole and on the disk before it has its name."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(tree, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
