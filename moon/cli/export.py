"""The command that hands a model to users of sentence-transformers."""

from __future__ import annotations

import typer

from moon.cli.options import RUNS, AsJson, Changes, ModelDir, Out, ParamsFile, load
from moon.cli.output import show

app = typer.Typer()


@app.command()
def export(
    model: ModelDir = RUNS / "train" / "model",
    out: Out = RUNS / "export",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Write a model that sentence-transformers loads without moon.

    Give the parameters it was trained with: their digest goes on the model card.

    Example: moon export --model runs/registry/moon/v1/model --out exported
    """
    from moon.steps import export as step
    from moon.steps.configure import digest

    lineage = {"recipe": digest(load(params_file, changes))}
    show(step.run(model=model, lineage=lineage, out=out), out, as_json)
