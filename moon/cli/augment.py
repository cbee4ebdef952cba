"""The command that makes augmented training products."""

from __future__ import annotations

from pathlib import Path

import typer

from moon.cli.options import RUNS, AsJson, CatalogDir, Changes, ModelDir, Out, ParamsFile, RegionsDir, load
from moon.cli.output import show

app = typer.Typer()


@app.command()
def augment(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    model: ModelDir = RUNS / "init",
    out: Out = RUNS / "augment",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Make edited pictures and enriched titles of the training products.

    The catalogue does not change. Started again, it goes on where it stopped; look at sheet.jpg in --out.

    Example: moon augment --set augment.copies=4
    """
    from moon.steps import augment as step

    params = load(params_file, changes).augment
    show(step.run(catalog=catalog, regions=regions, model=model, params=params, out=out), out, as_json)
