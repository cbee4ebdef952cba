"""The command around a second version on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from moon.cli.options import RUNS, AsJson, Changes, Out, ParamsFile, load
from moon.cli.output import FAILED_GATE, refuse, show

UNDECIDED: Final = 5
"""Exit code where the canary has not had enough traffic; ask again later."""

app = typer.Typer()


@app.command()
def canary(
    stable: Annotated[str, typer.Option("--stable", help="Registered version that serves, such as v1.")],
    canary: Annotated[str, typer.Option("--canary", help="Registered version to try, such as v2.")],
    prometheus: Annotated[str, typer.Option("--prometheus", help="Prometheus server; without it, start.")] = "",
    window: Annotated[str, typer.Option("--window", help="How far back to look, such as 30m or 2h.")] = "30m",
    registry: Annotated[Path, typer.Option("--registry", help="Folder of the model registry.")] = Path("runs/registry"),
    out: Out = RUNS / "canary",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Render the manifest that starts a canary; with --prometheus, judge the canary and render what comes next.

    Exit code 0: start or promote; 4: roll back; 5: too little traffic so far. In every case apply
    inferenceservice.yaml in --out.

    Example: moon canary --stable v1 --canary v2 --prometheus http://localhost:9090
    """
    from moon.steps import canary as step

    serving = load(params_file, changes).serving
    result = step.run(
        registry=registry,
        stable=stable,
        canary=canary,
        prometheus=prometheus,
        window=window,
        params=serving,
        out=out,
    )
    show(result, out, as_json)
    if result.verdict == "roll back":
        refuse(f"roll {canary} back", [reason for reason in result.reasons if reason.startswith("Failed")], FAILED_GATE)
    if result.verdict == "wait":
        raise typer.Exit(UNDECIDED)
