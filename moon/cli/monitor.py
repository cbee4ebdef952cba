"""Commands around collected traffic: the collector, windows, the probe set, the reference, the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import RUNS, Account, AsJson, CatalogDir, Changes, Out, ParamsFile, load, pipeline_arguments
from moon.cli.output import show

app = typer.Typer()

RootDir = Annotated[Path, typer.Option("--root", help="Folder of log, windows, references and decisions.")]
Service = Annotated[str, typer.Option("--service", help="Name of the InferenceService.")]
Window = Annotated[str, typer.Option("--window", help="Such as 2026-11-23T0800Z; without it, the newest.")]
_ROOT = Path("runs/monitoring")


@app.command()
def collect(
    root: RootDir = _ROOT,
    store: Annotated[
        str, typer.Option("--store", help="Read what the logger's storage mode put there, and end: s3://bucket/logs.")
    ] = "",
    out: Out = RUNS / "collect",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Receive the events of KServe's logger until stopped, or read them from a store.

    Example: moon collect --set collector.port=8099; or: moon collect --store s3://bucket/logs
    """
    from moon.steps import collect as step

    collector = load(params_file, changes).collector
    if not store:
        step.serve(root=root, params=collector)
        return
    show(step.ingest(store=store, root=root, params=collector, out=out), out, as_json)


@app.command()
def windows(
    root: RootDir = _ROOT,
    out: Out = RUNS / "windows",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Make the windows of the collected traffic that are complete.

    Example: moon windows --set collector.window_minutes=60
    """
    from moon.steps import windows as step

    show(step.run(root=root, params=load(params_file, changes).collector, out=out), out, as_json)


@app.command()
def probe(
    url: Annotated[str, typer.Option("--url", help="Model server, such as http://localhost:8080.")],
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "probe",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Ask the server queries whose right products are known.

    Example: moon probe --url http://localhost:8080
    """
    from moon.steps import probe as step

    show(step.run(url=url, catalog=catalog, params=load(params_file, changes).drift, out=out), out, as_json)


@app.command()
def reference(
    service: Service,
    window: Window = "",
    root: RootDir = _ROOT,
    probe: Annotated[Path | None, typer.Option("--probe", help="probe.parquet of 'moon probe'.")] = None,
    as_json: AsJson = False,
) -> None:
    """Accept a window as the one that later windows are compared with.

    Example: moon reference --service moon --probe runs/local/probe/probe.parquet
    """
    from moon.steps import windows as step

    show(step.accept(root=root, service=service, window=window, probe=probe), root, as_json)


@app.command()
def monitor(
    service: Service,
    window: Window = "",
    root: RootDir = _ROOT,
    probe: Annotated[Path | None, typer.Option("--probe", help="probe.parquet of 'moon probe'.")] = None,
    out: Out = RUNS / "monitor",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Judge a window of collected traffic: ok, warn or retrain. The exit code is 0 whatever the decision.

    Example: moon monitor --service moon --probe runs/local/probe/probe.parquet
    """
    from moon.steps import monitor as step

    drift = load(params_file, changes).drift
    show(step.run(root=root, service=service, window=window, probe=probe, params=drift, out=out), out, as_json)


@app.command()
def retrain(
    service: Service,
    host: Annotated[str, typer.Option("--host", help="API of Kubeflow Pipelines, http://HOST:PORT.")],
    window: Window = "",
    argument: Annotated[
        list[str] | None, typer.Option("--argument", help="Argument of the pipeline: name=value; repeat.")
    ] = None,
    pipeline: Annotated[str, typer.Option("--pipeline", help="Name of the uploaded pipeline.")] = "moon-train",
    namespace: Annotated[str, typer.Option("--namespace", help="Yours, on a server for several users.")] = "",
    token_file: Annotated[Path | None, typer.Option("--token-file", help="File with the token to send.")] = None,
    account: Account = "",
    root: RootDir = _ROOT,
    out: Out = RUNS / "retrain",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Start the training that a window asks for, at most once a window.

    Example: moon retrain --service moon --host http://localhost:8888 --argument data=/mnt/moon/data
    """
    from moon.steps import trigger as step
    from moon.steps.windows import newest

    result = step.run(
        root=root,
        service=service,
        window=window or newest(root, service),
        host=host,
        pipeline=pipeline,
        arguments=pipeline_arguments(argument),
        params=load(params_file, changes).drift,
        out=out,
        namespace=namespace,
        token_file=token_file,
        account=account,
    )
    show(result, out, as_json)
