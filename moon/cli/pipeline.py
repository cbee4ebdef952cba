"""Commands for the pipelines on Kubeflow: compile, upload, run, schedule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from moon.cli.options import Account, AsJson, Changes, ParamsFile, load, pipeline_arguments
from moon.config import to_json

if TYPE_CHECKING:
    from moon.cluster.kfp_client import PipelineService

app = typer.Typer()
pipeline_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(pipeline_app, name="pipeline", help="The pipelines on Kubeflow: compile, upload, run, schedule.")

COMPILED: Final = Path("pipelines/compiled")
_HOST: Final = "KF_PIPELINES_ENDPOINT"

Name = Annotated[str, typer.Argument(help="Pipeline, such as moon-train.")]
Host = Annotated[str, typer.Option("--host", envvar=_HOST, help="Address of the pipelines' API, http://...:8888.")]
Namespace = Annotated[str, typer.Option("--namespace", help="Yours, on a server for several users.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Holds the token; a pod's own if there is one.")]
Authority = Annotated[str, typer.Option("--ca", help="Certificate of who signed the server's.")]
_ARGUMENT: Final = "Of the pipeline: name=value; repeat. Quote a text of digits: name='\"12\"'."
Arguments = Annotated[list[str] | None, typer.Option("--arg", help=_ARGUMENT)]
Version = Annotated[str, typer.Option("--version", help="Version of the pipeline; empty is the newest.")]


@pipeline_app.command("compile")
def compile_(
    check: Annotated[bool, typer.Option("--check", help="Compare with the committed YAML, write nothing.")] = False,
) -> None:
    """Write the pipelines' YAML in both forms; in a checkout.

    Example: moon pipeline compile --check
    """
    if not (COMPILED.parent / "compile.py").is_file():
        raise ValueError(f"there is no {COMPILED.parent}/compile.py here: run this in the root of the repository")
    # In a process of its own: pipelines are wired above the command line, which knows nothing of them.
    command = [sys.executable, "-m", "pipelines.compile", *(["--check"] if check else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@pipeline_app.command()
def upload(
    name: Annotated[str, typer.Argument(help="Pipeline, such as moon-train, or file of a compiled one.")],
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca: Authority = "",
    as_json: AsJson = False,
) -> None:
    """Upload a compiled pipeline as a version named by its content; the same content is uploaded once.

    Example: moon pipeline upload moon-train --host http://localhost:8888
    """
    package = Path(name) if name.endswith((".yaml", ".yml")) else COMPILED / f"{name}.yaml"
    if not package.is_file():
        raise ValueError(f"there is no {package}: make it with 'moon pipeline compile', or give a file")
    from moon.cluster.kfp_package import read_package

    read_package(package)  # before the server is asked
    found = _service(host, namespace, token_file, ca).upload(package)
    what = "uploaded" if found.created else "there already"
    _say(vars(found), f"{found.pipeline} version {found.version}: {what}", as_json)


@pipeline_app.command()
def run(
    name: Name,
    arguments: Arguments = None,
    job: Annotated[str, typer.Option("--job", help="Name of the run; empty is the pipeline's.")] = "",
    key: Annotated[str, typer.Option("--key", help="A run of this name and key is started once.")] = "",
    version: Version = "",
    account: Account = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca: Authority = "",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Start a run of an uploaded pipeline and print its id.

    Example: moon pipeline run moon-train --arg data=/mnt/moon/data --set pipeline.shards=8
    """
    given = _arguments(arguments, params_file, changes)
    service = _service(host, namespace, token_file, ca, account)
    run_id = service.run_pipeline(name, given, job or name, key, version=version)
    _say({"run_id": run_id}, f"run {run_id}", as_json)


@pipeline_app.command()
def schedule(
    name: Name,
    cron: Annotated[str, typer.Option("--cron", help="Six fields, seconds first: '0 15 * * * *' is hourly.")],
    arguments: Arguments = None,
    job: Annotated[str, typer.Option("--job", help="Name of the recurring run; empty is the pipeline's.")] = "",
    version: Version = "",
    account: Account = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca: Authority = "",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Make a recurring run; one of the same name is replaced.

    Example: moon pipeline schedule moon-monitor --cron '0 15 * * * *' --arg service=moon
    """
    given = _arguments(arguments, params_file, changes)
    service = _service(host, namespace, token_file, ca, account)
    found = service.schedule(name, given, job or name, cron, version=version)
    what = "made" if found.created else "unchanged"
    told = f", in place of {found.replaced}" if found.replaced else ""
    _say(vars(found), f"recurring run {found.name} ({found.recurring_run_id}): {what}{told}", as_json)


def _service(host: str, namespace: str, token_file: Path | None, ca: str, account: str = "") -> PipelineService:
    if not host:
        raise ValueError(f"give the address of the pipelines' API by --host or {_HOST}, such as http://localhost:8888")
    from moon.cluster.kfp_client import TOKEN, PipelineService

    place = token_file or (TOKEN if TOKEN.is_file() else None)
    token = place.read_text(encoding="utf-8").strip() if place else ""
    return PipelineService(host, namespace, token, ca, account)


def _arguments(given: Sequence[str] | None, params_file: Path | None, changes: list[str] | None) -> dict[str, Any]:
    """Arguments of a pipeline; parameters that were given go into its recipe.

    Raises:
        ValueError: an argument is not name=value.
    """
    found = pipeline_arguments(given)
    if params_file or changes:
        if "recipe" in found:
            raise ValueError("--arg recipe=... and --params or --set both give the recipe; keep one")
        found["recipe"] = to_json(load(params_file, changes))
    return found


def _say(result: dict[str, Any], line: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else line)
