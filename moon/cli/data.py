"""Commands that make, read and check a catalogue."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from moon.cli.options import RUNS, AsJson, CatalogDir, Changes, Out, ParamsFile, load
from moon.cli.output import FAILED_VALIDATION, refuse, show

app = typer.Typer()
import_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import", help="Read a catalogue from files you have.")


@app.command()
def render(
    out: Out = Path("data"),
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Draw a catalogue: products with pictures, and a purchase log.

    Example: moon render --set render.products=2000 --out data
    """
    from moon.steps import render as step

    show(step.run(params=load(params_file, changes).render, out=out), out, as_json)


@import_app.command("fashion")
def import_fashion(
    folder: Annotated[Path, typer.Argument(help="Folder that holds products.jsonl and images/.")],
    out: Out = Path("data"),
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Read a fashion catalogue that has no purchase log.

    Altered pictures and words of the titles become queries for their product.

    Example: moon import fashion ~/fashion_products --out data
    """
    _import(f"fashion:{folder}", {}, out, params_file, changes, as_json)


@import_app.command("grocery-store")
def import_grocery_store(
    folder: Annotated[Path, typer.Argument(help="Folder that holds products.jsonl, natural_images.jsonl and images/.")],
    out: Out = Path("data"),
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Read the Grocery Store data set.

    Photos and descriptions become queries for their product.

    Example: moon import grocery-store ~/grocery_store --out data
    """
    _import(f"grocery-store:{folder}", {}, out, params_file, changes, as_json)


@import_app.command("table")
def import_table(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet, one product a row.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder that image paths start from.")] = None,
    column: Annotated[list[str] | None, typer.Option("--column", help="ours=theirs; repeat.")] = None,
    out: Out = Path("data"),
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Read a table of your own.

    A row that cannot be used goes to the catalogue's table 'rejected' with the reason.

    Example: moon import table items.csv --images photos --column title=name --column product_id=sku
    """
    columns = {}
    for pair in column or []:
        ours, separator, theirs = pair.partition("=")
        if not separator:
            raise ValueError(f"--column is written ours=theirs, got '{pair}'")
        columns[ours.strip()] = theirs.strip()
    more: dict[str, Any] = {"columns": columns} if columns else {}
    if images is not None:
        more["images"] = str(images)
    _import(f"table:{file}", more, out, params_file, changes, as_json)


@app.command()
def fetch(
    source: Annotated[Path, typer.Argument(help="Catalogue folder to copy.")],
    version: Annotated[str, typer.Option("--version", help="Digest the copy must have; empty takes any.")] = "",
    out: Out = RUNS / "fetch",
    as_json: AsJson = False,
) -> None:
    """Copy a catalogue and verify it, file by file.

    Example: moon fetch /mnt/catalogues/today --out data
    """
    from moon.steps import fetch as step

    show(step.run(source=source, version=version, out=out), out, as_json)


@app.command()
def validate(
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "validate",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Check a catalogue; exit code 3 when it breaks a threshold.

    Example: moon validate --set validation.min_products=100
    """
    from moon.steps import validate as step

    result = step.run(catalog=catalog, params=load(params_file, changes).validation, out=out)
    show(result, out, as_json)
    if not result.passed:
        refuse("the catalogue failed validation", result.failures, FAILED_VALIDATION)


@app.command()
def regions(
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "regions",
    workers: Annotated[int, typer.Option("--workers", help="Processes.")] = 2,
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find the box of the thing being sold in every picture.

    Example: moon regions --set regions.detector=saliency
    """
    from moon.steps import regions as step

    result = step.run(catalog=catalog, params=load(params_file, changes).regions, out=out, workers=workers)
    show(result, out, as_json)


def _import(
    source: str, more: dict[str, Any], out: Path, params_file: Path | None, changes: list[str] | None, as_json: bool
) -> None:
    """Runs the import step on one source."""
    from moon.steps import import_catalog as step

    catalog = dataclasses.replace(load(params_file, changes).catalog, source=source, **more)
    show(step.run(params=catalog, out=out), out, as_json)
