"""Commands on core regions: find them, train the learned detector, measure detectors, join shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import RUNS, AsJson, CatalogDir, Changes, Out, ParamsFile, load
from moon.cli.output import show

app = typer.Typer()
regions_app = typer.Typer(rich_markup_mode=None)
app.add_typer(regions_app, name="regions")

Split = Annotated[str, typer.Option("--split", help="Pictures of this split; 'all' takes all.")]


@regions_app.callback(invoke_without_command=True)
def regions(
    context: typer.Context,
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "regions",
    workers: Annotated[int, typer.Option("--workers", help="Processes.")] = 2,
    shard: Annotated[str, typer.Option("--shard", help="i/n: only the i-th of n shares of the pictures.")] = "",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find the box of the thing being sold in every picture.

    Example: moon regions --set regions.detector=saliency
    """
    if context.invoked_subcommand is not None:
        return
    from moon.steps import regions as step

    params = load(params_file, changes).regions
    show(step.run(catalog=catalog, params=params, out=out, workers=workers, shard=shard), out, as_json)


@regions_app.command("train")
def train(
    catalog: CatalogDir = Path("data"),
    split: Split = "train",
    out: Out = RUNS / "regions-train",
    as_json: AsJson = False,
) -> None:
    """Train the learned detector on the pictures whose boxes are known.

    Example: moon regions train && moon regions --set regions.weights=runs/local/regions-train/learned.npz
    """
    from moon.steps import regions_train as step

    show(step.run(catalog=catalog, out=out, split=_split(split)), out, as_json)


@regions_app.command("evaluate")
def evaluate(
    catalog: CatalogDir = Path("data"),
    detector: Annotated[list[str] | None, typer.Option("--detector", help="A detector to measure; repeat.")] = None,
    split: Split = "all",
    folds: Annotated[int, typer.Option("--folds", help="Train and measure the learned detector in folds.")] = 0,
    group: Annotated[str, typer.Option("--group", help="What a fold keeps together: picture or category.")] = "picture",
    out: Out = RUNS / "regions-evaluate",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Measure detectors on the pictures whose boxes are known, beside two boxes that need no detector.

    Example: moon regions evaluate --detector auto --detector saliency --folds 5
    """
    from moon.steps import regions_evaluate as step

    result = step.run(
        catalog=catalog,
        params=load(params_file, changes).regions,
        out=out,
        detectors=detector or (),
        split=_split(split),
        folds=folds,
        grouping=group,
    )
    show(result, out, as_json)


@regions_app.command("merge")
def merge(
    parts: Annotated[list[Path], typer.Argument(help="Output folders of 'moon regions --shard i/n', all n of them.")],
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "regions",
    as_json: AsJson = False,
) -> None:
    """Join the regions of all shares of the pictures.

    Example: moon regions merge runs/part-1 runs/part-2 --out runs/local/regions
    """
    from moon.steps import regions_merge as step

    show(step.run(catalog=catalog, parts=parts, out=out), out, as_json)


def _split(name: str) -> str:
    return "" if name == "all" else name
