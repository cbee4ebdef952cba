"""The command line: one sub-command a step.

Only typer and the parameters are imported with it; a command imports its step when it runs, so that help is instant
and a plain install without torch has every command that does not need it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Annotated, Final

import typer
import yaml

from moon import __version__, telemetry
from moon.cli import (
    ablate,
    augment,
    canary,
    compare,
    data,
    duplicates,
    export,
    launch,
    lineage,
    model,
    monitor,
    pipeline,
    regions,
    serve,
)
from moon.cli.options import AsJson, Changes, ParamsFile, load
from moon.cli.output import FAILED_INPUT, FAILED_RUN, error
from moon.config import to_dict
from moon.progress import quiet_libraries
from moon.threads import wait_asleep

DEBUG: Final = "MOON_DEBUG"
EXTRAS: Final = {
    "data": (
        "aiohttp",
        "cv2",
        "datasets",
        "datasketch",
        "dvc",
        "fsspec",
        "great_expectations",
        "jinja2",
        "pandas",
    ),
    "train": (
        "deepspeed",
        "faiss",
        "kubeflow",
        "kubernetes",
        "peft",
        "safetensors",
        "simplejpeg",
        "sklearn",
        "tensorboard",
        "torch",
        "transformers",
    ),
    "serve": (
        "fastapi",
        "grpc",
        "grpc_interceptor",
        "httptools",
        "kserve",
        "opentelemetry",
        "orjson",
        "prometheus_client",
    ),
    "pipeline": ("kfp", "kfp_server_api"),
    "monitor": ("cloudevents", "evidently", "httpx", "starlette", "uvicorn"),
    "mteb": ("mteb",),
    "onnx": ("onnxruntime",),
}
"""Extra of the distribution -> the modules it brings."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="From a catalogue and a purchase log to a served, monitored product-embedding space.\n\n"
    "The whole chain on a drawn catalogue: moon render, validate, regions, init, mine, train, evaluate, gate, "
    "register, deploy, replay, drift, report; each finds the results of the one before under runs/local. Beside it: "
    "augment (more training pictures), ablate (which parts earn their place), export (to sentence-transformers), "
    "launch (training on several machines), canary (a second version on a cluster), data (versions of the catalogue), "
    "lineage (from a model back to its data), collect, windows, probe, reference, monitor and retrain (drift of real "
    "traffic).",
)
_COMMANDS = (
    data,
    lineage,
    duplicates,
    regions,
    augment,
    model,
    launch,
    ablate,
    compare,
    export,
    serve,
    canary,
    monitor,
    pipeline,
)
for part in _COMMANDS:
    app.add_typer(part.app)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"Show an error's stack trace; also {DEBUG}=1.")] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def params(params_file: ParamsFile = None, changes: Changes = None, as_json: AsJson = False) -> None:
    """Print the parameters in effect, as a parameter file.

    Example: moon params --set training.steps=50 > mine.yaml
    """
    tree = to_dict(load(params_file, changes))
    typer.echo(json.dumps(tree) if as_json else yaml.safe_dump(tree, sort_keys=False), nl=as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; a user's mistake is one line, not a stack trace."""
    telemetry.disable()
    wait_asleep()
    quiet_libraries()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="moon")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as problem:
        if os.environ.get(DEBUG) or (isinstance(problem, RuntimeError) and not _ours(problem)):
            raise
        error(_message(problem))
        return getattr(problem, "exit_code", FAILED_RUN) if isinstance(problem, RuntimeError) else FAILED_INPUT
    return 0


def _ours(problem: BaseException) -> bool:
    """Whether an error was raised to be read, as `DeploymentError` is, and is no defect."""
    return type(problem).__module__.startswith("moon.")


def _message(problem: Exception) -> str:
    """One line for a problem: what it is about comes first."""
    if isinstance(problem, ModuleNotFoundError):
        return _missing_extra(problem)
    if isinstance(problem, OSError) and problem.filename is not None and problem.strerror:
        return f"cannot use {os.fspath(problem.filename)}: {problem.strerror}"
    return str(problem)


def _missing_extra(problem: ModuleNotFoundError) -> str:
    """Which extra brings the module that is missing."""
    module = (problem.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    if extra is None:
        raise problem
    return f"this command needs '{module}', which is not installed: pip install \"moon-product-search[{extra}]\""
