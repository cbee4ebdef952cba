"""The command that compares two models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import RUNS, AsJson, Changes, Out, ParamsFile, load
from moon.cli.output import show

app = typer.Typer()


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Output folder of 'moon evaluate', or a model folder.")],
    second: Annotated[Path, typer.Argument(help="The same of the other model.")],
    catalog: Annotated[Path | None, typer.Option("--catalog", help="Catalogue folder, for model folders.")] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="Output folder of 'moon regions', for model folders.")
    ] = None,
    out: Out = RUNS / "compare",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Compare two models on the same queries.

    Differences with paired intervals and p-values, and a verdict for each direction; exit code 0 whatever it is.

    Example: moon compare runs/a/evaluate runs/b/evaluate
    """
    from moon.steps import compare_models as step

    evaluation = load(params_file, changes).evaluation
    result = step.run(first=first, second=second, catalog=catalog, regions=regions, params=evaluation, out=out)
    if as_json:
        show(result, out, as_json)
    else:
        typer.echo((out / "table.md").read_text(encoding="utf-8") + f"\nin {out}")
