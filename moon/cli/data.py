"""Commands that make, read and check a catalogue."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from moon.catalog.readers import READERS, Reader
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


def _command(kind: str, reader: Reader) -> None:
    """Adds the command that imports one kind of source, as its row in `READERS` describes it."""

    def run(
        source: str,
        out: Out = Path("data"),
        params_file: ParamsFile = None,
        changes: Changes = None,
        as_json: AsJson = False,
    ) -> None:
        _import(f"{kind}:{source}", {}, out, params_file, changes, as_json)

    def run_mapped(
        source: str,
        images: Annotated[Path | None, typer.Option("--images", help="Folder that image paths start from.")] = None,
        column: Annotated[list[str] | None, typer.Option("--column", help="ours=theirs; repeat.")] = None,
        out: Out = Path("data"),
        params_file: ParamsFile = None,
        changes: Changes = None,
        as_json: AsJson = False,
    ) -> None:
        more: dict[str, Any] = {"columns": _mapping(column)} if column else {}
        if images is not None:
            more["images"] = str(images)
        _import(f"{kind}:{source}", more, out, params_file, changes, as_json)

    command = run_mapped if reader.mapped else run
    about = f"{reader.holds[0].upper()}{reader.holds[1:]}."
    command.__annotations__["source"] = Annotated[str, typer.Argument(metavar=reader.place, help=about)]
    example = reader.example or f"~/{kind}"
    teaches = f"Read {reader.reads}.\n\n{reader.becomes}\n\nExample: moon import {kind} {example} --out data"
    import_app.command(kind, help=teaches)(command)


def _mapping(pairs: list[str]) -> dict[str, str]:
    """``ours=theirs`` of the command line as a mapping."""
    columns = {}
    for pair in pairs:
        ours, separator, theirs = pair.partition("=")
        if not separator:
            raise ValueError(f"--column is written ours=theirs, got '{pair}'")
        columns[ours.strip()] = theirs.strip()
    return columns


for _kind, _reader in READERS.items():
    _command(_kind, _reader)


@app.command()
def fetch(
    source: Annotated[str, typer.Argument(help="Catalogue folder; with --path, URL or folder of a Git repository.")],
    version: Annotated[str, typer.Option("--version", help="Digest the copy must have; empty takes any.")] = "",
    revision: Annotated[str, typer.Option("--revision", help="Commit, tag or branch of the repository.")] = "",
    path: Annotated[str, typer.Option("--path", help="Catalogue in the repository, as DVC tracks it.")] = "",
    remote: Annotated[str, typer.Option("--remote", help="Folder or URL of DVC's data; else MOON_DVC_REMOTE.")] = "",
    out: Out = RUNS / "fetch",
    as_json: AsJson = False,
) -> None:
    """Bring a version of the catalogue and verify it, file by file; from a folder, or by DVC.

    Example: moon fetch https://git.example.com/catalogues.git --revision v7 --path data --out data
    """
    from moon.steps import fetch as step

    show(step.run(source=source, version=version, revision=revision, path=path, remote=remote, out=out), out, as_json)


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


def _import(
    source: str, more: dict[str, Any], out: Path, params_file: Path | None, changes: list[str] | None, as_json: bool
) -> None:
    """Runs the import step on one source."""
    from moon.steps import import_catalog as step

    catalog = dataclasses.replace(load(params_file, changes).catalog, source=source, **more)
    show(step.run(params=catalog, out=out), out, as_json)
