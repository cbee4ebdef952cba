"""The command that trains on several machines."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from moon.cli.options import (
    RUNS,
    AsJson,
    CatalogDir,
    Changes,
    DuplicatesDir,
    ModelDir,
    NegativesDir,
    Out,
    ParamsFile,
    RegionsDir,
    load,
)
from moon.cli.output import show

app = typer.Typer()


@app.command()
def launch(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    negatives: NegativesDir = RUNS / "mine",
    model: ModelDir = RUNS / "init",
    augmented: Annotated[Path | None, typer.Option("--augmented", help="Output folder of 'moon augment'.")] = None,
    duplicates: DuplicatesDir = None,
    run_id: Annotated[str, typer.Option("--run-id", help="Tells apart jobs of equal data and parameters.")] = "moon",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the job's manifest and start nothing.")] = False,
    out: Out = RUNS / "train",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train on several machines: a TrainJob, a PyTorchJob, or processes here (launch.kind).

    Started again with the same data, parameters and --run-id, it joins the job that runs. Ctrl-C and SIGTERM delete
    the job after a checkpoint (exit code 75); the same command goes on from there.

    Example: moon launch --set launch.kind=trainjob --set launch.nodes=4 --set launch.processes_per_node=8
    """
    from moon.steps import launch as step
    from moon.training.run import Job

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    params = load(params_file, changes)
    inputs: dict[str, Any] = {
        "catalog": catalog,
        "regions": regions,
        "negatives": negatives,
        "model": model,
        "augmented": augmented,
        "duplicates": duplicates,
    }
    if dry_run:
        asked, _ = step.plan(Job(**inputs, out=out), params.training, params.objectives, params.launch, run_id)
        typer.echo(step.manifest(asked, params.launch), nl=False)
        return
    result = step.run(
        **inputs,
        params=params.training,
        objectives=params.objectives,
        launch=params.launch,
        run_id=run_id,
        out=out,
    )
    show(result, out, as_json)
