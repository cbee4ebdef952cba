"""The command that finds near-duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import RUNS, AsJson, CatalogDir, Changes, Out, ParamsFile, load
from moon.cli.output import show

app = typer.Typer()


@app.command()
def duplicates(
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "duplicates",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find near-duplicate products and what leaks between splits.

    By picture (perceptual hash) and by title. Give --out to 'moon train --duplicates' and 'moon mine --duplicates', so
    that no product is a negative of its twin. Started again, it goes on where it stopped.

    Example: moon duplicates --set duplicates.title_similarity=1
    """
    from moon.steps import duplicates as step

    params = load(params_file, changes).duplicates
    show(step.run(catalog=catalog, params=params, out=out, workers=workers), out, as_json)
