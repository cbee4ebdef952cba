"""Commands that version data, and follow a model back to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moon.cli.options import RUNS, AsJson, Out
from moon.cli.output import FAILED_RUN, refuse, show

if TYPE_CHECKING:
    from moon.steps.lineage import LineageResult

app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data", help="Versions of the catalogue.")

Remote = Annotated[
    str,
    typer.Option("--remote", help="Folder or URL of DVC's data; else MOON_DVC_REMOTE, or the repository's."),
]
_SHOWN: Final = 12
"""Files of a catalogue that are listed one by one."""


@data_app.command()
def snapshot(
    drop: Annotated[Path, typer.Argument(help="Catalogue folder.")] = Path("data"),
    repository: Annotated[Path, typer.Option("--repository", help="Folder of a Git repository with DVC.")] = Path("."),
    path: Annotated[str, typer.Option("--path", help="Where the catalogue lies in it.")] = "data",
    message: Annotated[str, typer.Option("--message", "-m", help="Of the commit.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Name of the version.")] = "",
    remote: Remote = "",
    push: Annotated[bool, typer.Option("--push/--no-push", help="Send the data to the remote.")] = True,
    out: Out = RUNS / "snapshot",
    as_json: AsJson = False,
) -> None:
    """Make a catalogue a version: stored by DVC, sent to the remote, named by a commit.

    Example: moon data snapshot /mnt/drops/2026-11-23 --tag 2026-11-23
    """
    from moon.steps import snapshot as step

    result = step.run(
        drop=drop, repository=repository, path=path, message=message, tag=tag, remote=remote, push=push, out=out
    )
    show(result, out, as_json)


@app.command()
def lineage(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME, NAME/VERSION, or a registered model's folder.")],
    registry: Annotated[Path, typer.Option("--registry", help="Registry folder.")] = Path("runs/registry"),
    remote: Remote = "",
    verify: Annotated[bool, typer.Option("--verify", help="Check it all; exit code 1 where a link is broken.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a model back to its code, recipe, images and data files.

    Example: moon lineage moon/v2 --verify
    """
    from moon.steps import lineage as step

    result = step.run(model=model, registry=registry, remote=remote, verify=verify)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result)))
    else:
        typer.echo("\n".join(_lines(result)))
    if verify and result.problems:
        refuse("the lineage has gaps", result.problems, FAILED_RUN)


def _lines(result: LineageResult) -> Iterator[str]:
    """The chain as text: one line a fact or file, an ancestor further to the right."""
    for depth, link in enumerate(result.chain):
        indent = "  " * depth
        yield f"{indent}{'from ' if depth else ''}{link.name} {link.version}  sha256 {link.digest}"
        facts = {name: value for name, value in link.facts.items() if name != "parent"}
        width = max((len(name) for name in facts), default=0)
        yield from (f"{indent}  {name:<{width}}  {value}" for name, value in facts.items())
        if link.files:
            yield f"{indent}  {len(link.files)} files of the catalogue"
        names = sorted(link.files)
        yield from (f"{indent}    {name}  {f'md5 {link.files[name]}'.removesuffix('md5 ')}" for name in names[:_SHOWN])
        if len(names) > _SHOWN:
            yield f"{indent}    and {len(names) - _SHOWN} more; --json lists all"
        yield from (f"{indent}  gap: {problem}" for problem in link.problems)
