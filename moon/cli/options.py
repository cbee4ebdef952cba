"""The options that commands share, and the parameters they lead to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from moon.config import Params, load_params

DEFAULT_PARAMS: Final = Path("params.yaml")
RUNS: Final = Path("runs/local")
"""Where each command puts its results, and looks for those of the steps before it, unless told otherwise."""

ParamsFile = Annotated[Path | None, typer.Option("--params", help="Parameter file; ./params.yaml if there is one.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="Change one parameter: section.key=value; repeat.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
CatalogDir = Annotated[Path, typer.Option("--catalog", help="Catalogue folder.")]
RegionsDir = Annotated[Path, typer.Option("--regions", help="Output folder of 'moon regions'.")]
NegativesDir = Annotated[Path, typer.Option("--negatives", help="Output folder of 'moon mine'.")]
DuplicatesDir = Annotated[Path | None, typer.Option("--duplicates", help="Output folder of 'moon duplicates'.")]
ModelDir = Annotated[Path, typer.Option("--model", help="Model folder.")]
EvaluationDir = Annotated[Path, typer.Option("--evaluation", help="Output folder of 'moon evaluate'.")]
Account = Annotated[str, typer.Option("--service-account", help="Runs have its rights; empty: the server's default.")]
DeploymentDir = Annotated[Path, typer.Option("--deployment", help="Output folder of 'moon deploy'.")]


def _writable(out: Path) -> Path:
    """Refuses at once an output folder that could not be written to at the end."""
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ValueError(f"--out {out}: {place} is a file, expected a folder; choose another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {place} cannot be written to; choose another folder or change its permissions")
    return out


Out = Annotated[Path, typer.Option("--out", help="Where the result goes.", callback=_writable)]


def load(params_file: Path | None, changes: list[str] | None) -> Params:
    """The parameters of one command: a file, the default file, or the defaults, with the changes applied."""
    if params_file is None and DEFAULT_PARAMS.is_file():
        params_file = DEFAULT_PARAMS
    return load_params(params_file, changes or ())


def pipeline_arguments(given: Sequence[str] | None) -> dict[str, Any]:
    """Arguments of a pipeline from ``name=value``: numbers, lists and objects as YAML writes them, the rest texts.

    A value in quotes is a text, whatever it looks like.

    Raises:
        ValueError: one is not ``name=value``.
    """
    found: dict[str, Any] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise ValueError(f"argument '{one}': expected name=value, such as data=/mnt/moon/data")
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError:
            plain = None
        read = isinstance(plain, int | float | list | dict) or (isinstance(plain, str) and value[:1] in ("'", '"'))
        found[name] = plain if read else value
    return found
