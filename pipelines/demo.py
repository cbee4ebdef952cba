"""The whole chain on this machine: ``python -m pipelines.demo [--set training.steps=100]``.

Runs the pipeline ``moon-train`` with KFP's local runner on the catalogue that ``params.yaml`` names, and leaves
``summary.json``, ``report.html`` and the log in the output folder. What has not changed since the last run is not
done again. With ``--docker`` every task runs in its image, without a network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from moon import telemetry
from moon.catalog.store import Catalog
from moon.config import Params, load_params, to_dict, to_json
from moon.steps import configure
from moon.threads import wait_asleep
from pipelines import containers, local, summary
from pipelines.catalogue import prepare
from pipelines.train import moon_train_here

_WIDTH = 100
"""Columns that the tables need."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns 0 where every step ran and the model passed its gate."""
    telemetry.disable()
    wait_asleep()
    options = _options(arguments)
    # On this stream also while a run redirects the output of its tasks.
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.width = max(console.width, _WIDTH)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    started = time.monotonic()
    try:
        params = load_params(options.params, options.set)
        options.out.mkdir(parents=True, exist_ok=True)
        result = run(params, options.out, console, fresh=options.fresh, docker=options.docker)
    except (ValueError, OSError, local.PipelineError) as error:
        result = {"ok": False, "error": str(error), "seconds": round(time.monotonic() - started, 1)}
        if options.out.is_dir():
            _write(options.out, result)
    except KeyboardInterrupt:
        console.print("interrupted; what has finished is kept and the next run goes on from there")
        return 130
    if not result["ok"]:
        errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        errors.print(f"error: {result['error']}", style="red")
    return 0 if result["ok"] else 1


def run(params: Params, out: Path, console: Console, fresh: bool = False, docker: bool = False) -> dict[str, Any]:
    """Runs the chain and prints its tables.

    Args:
        params: All parameters.
        out: Output folder; it exists.
        console: Where progress and tables go.
        fresh: Forget what earlier runs have left in ``out``.
        docker: Run the tasks in their images.

    Returns:
        What ``summary.json`` holds.

    Raises:
        PipelineError: a step failed.
        ValueError: the catalogue cannot be made or read.
    """
    if fresh:
        for name in ("kfp", "deployment", "catalog"):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / "summary.json").unlink(missing_ok=True)
    started = time.monotonic()
    with _Steps(console) as steps:
        steps.start("catalogue")
        catalog = prepare(params, out)
        digest = Catalog.open(catalog).digest()
        steps.end("catalogue", f"{catalog}, version {digest[:12]}")
    key = hashlib.sha256(f"{configure.digest(params)} {digest} {local.source_digest('pipelines')}".encode()).hexdigest()
    last = _last(out)
    if last.get("ok") and last.get("key") == key and Path(last["report"]).is_file():
        console.print(f"nothing has changed since {last['finished']}: these are the results of that run")
        return _show(last, console)

    registry, deployment = out.parent / "registry", out / "deployment"
    arguments = {
        "data": str(catalog.resolve()),
        "version": digest,
        "recipe": to_json(params),
        "registry": str(registry.resolve()),
        "deployment": str(deployment.resolve()),
    }
    where = {"root": out / "kfp", "log": out / "pipeline.log"}
    runner = containers.runner(where["root"], [registry, deployment], [catalog]) if docker else None
    try:
        with _Steps(console) as steps:
            tasks = local.run(moon_train_here, arguments, **where, watch=steps.watch, runner=runner)
    finally:  # what the run has brought into service does not outlive it
        from moon.steps import rollout

        rollout.stop(deployment)
    folders = _folders(out / "kfp")
    report = out / "report.html"
    shutil.copyfile(folders.pop("report") / "index.html", report)
    measured = summary.collect(folders)
    result = {
        "ok": measured["gate"]["passed"] and measured["canary"]["verdict"] == "promote",
        "seconds": round(time.monotonic() - started, 1),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "steps": summary.steps(tasks),
        **measured,
        "report": str(report),
        "data": {"folder": str(catalog), "digest": digest},
        "recipe": to_dict(params),
        "key": key,
    }
    if not measured["gate"]["passed"]:
        result["error"] = "the model did not pass the gate: " + " ".join(measured["gate"]["reasons"])
    elif not result["ok"]:
        result["error"] = "the model was rolled back: " + " ".join(measured["canary"]["reasons"])
    _write(out, result)
    return _show(result, console)


def _show(result: dict[str, Any], console: Console) -> dict[str, Any]:
    summary.show(console, result)
    console.print(f"report: {result['report']}", soft_wrap=True)
    return result


def _folders(root: Path) -> dict[str, Path]:
    """Where the steps of the newest run left their results; some of it comes from earlier runs."""
    newest = max(root.glob("moon-train-*/**/results/steps.json"), key=lambda path: path.stat().st_mtime_ns)
    folders = {name: Path(folder) for name, folder in json.loads(newest.read_text(encoding="utf-8")).items()}
    return {**folders, "report": newest.parent}


def _last(out: Path) -> dict[str, Any]:
    """The summary of the last run; empty where there is none that can be read."""
    try:
        return dict(json.loads((out / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write(out: Path, result: dict[str, Any]) -> None:
    (out / "summary.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class _Steps:
    """One line a finished step; on a terminal also the running one with its clock."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._bar.disable = not console.is_terminal
        self._clock = 0.0

    def __enter__(self) -> _Steps:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, name: str) -> None:
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(name)
        self._clock = time.monotonic()

    def end(self, name: str, note: str) -> None:
        self._console.print(f"  {name:<12} {time.monotonic() - self._clock:7.1f} s  {note}")

    def watch(self, name: str, task: local.TaskRun | None) -> None:
        """Follows a run; see `local.run`."""
        if task is None:
            self.start(name)
        elif task.cached:
            self._console.print(f"  {name:<12} {'':>9}  unchanged")
        else:
            self.end(name, "failed" if task.failed else "")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change one parameter; repeat")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="output folder")
    parser.add_argument("--fresh", action="store_true", help="do everything again")
    parser.add_argument("--docker", action="store_true", help="run each task in its image; 'make images' first")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
