"""Commands around the running server: deploy, traffic, drift, and the report of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import (
    RUNS,
    AsJson,
    CatalogDir,
    Changes,
    DeploymentDir,
    ModelDir,
    Out,
    ParamsFile,
    RegionsDir,
    load,
)
from moon.cli.output import show

app = typer.Typer()


@app.command()
def deploy(
    model: ModelDir = RUNS / "train" / "model",
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    out: Out = RUNS / "deploy",
    swap: Annotated[
        bool, typer.Option("--swap", help="Give the server that was started into --out a new index while it runs.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server that was started into --out.")] = False,
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Start the model server and try it.

    Returns when it is ready and has answered a text, a photo and both. It runs on until --stop.

    Example: moon deploy --set serving.http_port=8080; after a change of the catalogue: moon deploy --swap; later:
    moon deploy --stop
    """
    from moon.steps import deploy as step

    if stop and swap:
        raise ValueError("give --swap or --stop, not both")
    if stop:
        step.stop(out)
        return
    params = load(params_file, changes)
    act = step.swap if swap else step.run
    result = act(
        model=model, catalog=catalog, regions=regions, params=params.serving, regions_params=params.regions, out=out
    )
    show(result, out, as_json)


@app.command()
def replay(
    deployment: DeploymentDir = RUNS / "deploy",
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "replay",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Send the running server steady and shifted traffic.

    Example: moon replay --set drift.shift=new-categories
    """
    from moon.steps import replay as step

    drift = load(params_file, changes).drift
    show(step.run(deployment=deployment, catalog=catalog, params=drift, out=out), out, as_json)


@app.command()
def drift(
    windows: Annotated[Path, typer.Option("--windows", help="Output folder of 'moon replay'.")] = RUNS / "replay",
    out: Out = RUNS / "drift",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Decide for each window of traffic whether it has drifted.

    Example: moon drift --set drift.alpha=0.01
    """
    from moon.steps import drift as step

    show(step.run(windows=windows, params=load(params_file, changes).drift, out=out), out, as_json)


@app.command()
def report(
    catalog: CatalogDir = Path("data"),
    runs: Annotated[Path, typer.Option("--runs", help="Folder with one folder of results a step.")] = RUNS,
    out: Out = RUNS / "report",
    as_json: AsJson = False,
) -> None:
    """Put the results of all steps into one HTML file.

    Example: moon report --runs runs/dvc --out runs/dvc/report
    """
    from moon.steps import report as step

    if not runs.is_dir():
        raise ValueError(f"no folder {runs}: run the steps first, or name the folder of their results with --runs")
    steps = {folder.name: folder for folder in sorted(runs.glob("*")) if folder.is_dir() and folder != out}
    show(step.run(steps={**steps, "catalog": catalog}, out=out), out, as_json)
