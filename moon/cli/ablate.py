"""The command that asks which parts of a recipe earn their place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import RUNS, AsJson, CatalogDir, Changes, Out, ParamsFile, RegionsDir, load
from moon.cli.output import FAILED_RUN, refuse, show

app = typer.Typer()


@app.command()
def ablate(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds of the runs of each recipe, comma-separated.")] = "0,1,2",
    recipes: Annotated[
        str, typer.Option("--recipes", help="Recipes to compare with the full one, comma-separated; empty takes all.")
    ] = "",
    workers: Annotated[int, typer.Option("--workers", help="Runs at a time, one CPU thread each.")] = 2,
    out: Out = RUNS / "ablate",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train the recipe and the recipe with one part less at a time, and compare.

    Started again, it does what is missing in --out. Exit code 1 when a run failed.

    Example: moon ablate --seeds 0,1,2 --set training.steps=200
    """
    from moon.steps import ablate as step

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ValueError(f"--seeds takes whole numbers, such as 0,1,2; got '{seeds}'") from None
    params = load(params_file, changes)
    only = [name.strip() for name in recipes.split(",") if name.strip()]
    result = step.run(
        catalog=catalog, regions=regions, params=params, seeds=numbers, out=out, workers=workers, only=only
    )
    show(result, out, as_json)
    if result.failed:
        refuse("runs failed", [f"{run}: {why}" for run, why in result.failed.items()], FAILED_RUN)
