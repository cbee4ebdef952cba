"""How commands answer: a table or JSON on standard output, one red line on standard error, an exit code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

FAILED_RUN: Final = 1
"""Exit code of a run that could not go on, such as a server that does not start."""
FAILED_INPUT: Final = 2
"""Exit code of a mistake in what was given."""
FAILED_VALIDATION: Final = 3
"""Exit code where the data broke a threshold."""
FAILED_GATE: Final = 4
"""Exit code where the model did not reach what the gate asks."""
_CELL = 200


def show(result: Any, out: Path, as_json: bool) -> None:
    """Prints a step's result: JSON for machines, a table for people."""
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), default=str))
        return
    from rich.console import Console
    from rich.table import Table

    from moon.steps.flat import flatten

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in flatten(result).items():
        if value != [] and value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            table.add_row(name.replace("_", " "), text if len(text) < _CELL else f"{text[:_CELL]} ...")
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"in {out}", soft_wrap=True)


def refuse(what: str, reasons: Sequence[str], code: int) -> None:
    """Ends the command with a verdict and its reasons on standard error."""
    error(f"{what}: " + "; ".join(reasons))
    raise typer.Exit(code)


def error(message: str) -> None:
    """One red line on standard error."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
