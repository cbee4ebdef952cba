"""Commands that make, train and judge a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moon.cli.options import (
    RUNS,
    AsJson,
    CatalogDir,
    Changes,
    DuplicatesDir,
    EvaluationDir,
    ModelDir,
    NegativesDir,
    Out,
    ParamsFile,
    RegionsDir,
    load,
)
from moon.cli.output import FAILED_GATE, refuse, show

app = typer.Typer()


@app.command()
def init(
    catalog: CatalogDir = Path("data"),
    out: Out = RUNS / "init",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Make the model that training starts from.

    A tiny one with random weights and a tokenizer trained on the catalogue, or a checkpoint of yours.

    Example: moon init --set model.base=checkpoints/Qwen2.5-VL-3B
    """
    from moon.steps import initialise as step

    show(step.run(catalog=catalog, params=load(params_file, changes).model, out=out), out, as_json)


@app.command()
def mine(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    model: ModelDir = RUNS / "init",
    duplicates: DuplicatesDir = None,
    out: Out = RUNS / "mine",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find hard negatives for training.

    Products of the same category that the model takes for the bought one.

    Example: moon mine --model runs/local/train/model --set mining.negatives=8
    """
    from moon.steps import mine as step

    mining = load(params_file, changes).mining
    result = step.run(catalog=catalog, regions=regions, model=model, duplicates=duplicates, params=mining, out=out)
    show(result, out, as_json)


@app.command()
def train(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    negatives: NegativesDir = RUNS / "mine",
    model: ModelDir = RUNS / "init",
    augmented: Annotated[Path | None, typer.Option("--augmented", help="Output folder of 'moon augment'.")] = None,
    duplicates: DuplicatesDir = None,
    out: Out = RUNS / "train",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train on purchases.

    Started again, it goes on from the newest checkpoint in --out; SIGTERM writes one first (exit code 75).

    Example: moon train --set training.steps=500 --set training.processes=2
    """
    from moon.steps import train as step

    params = load(params_file, changes)
    result = step.run(
        catalog=catalog,
        regions=regions,
        negatives=negatives,
        model=model,
        params=params.training,
        objectives=params.objectives,
        augmented=augmented,
        duplicates=duplicates,
        out=out,
    )
    show(result, out, as_json)


@app.command()
def evaluate(
    catalog: CatalogDir = Path("data"),
    regions: RegionsDir = RUNS / "regions",
    model: ModelDir = RUNS / "train" / "model",
    baseline: Annotated[Path, typer.Option("--baseline", help="Model folder to compare with.")] = RUNS / "init",
    out: Out = RUNS / "evaluate",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Measure retrieval and label prediction beside a baseline.

    Example: moon evaluate --set evaluation.gallery=all
    """
    from moon.steps import evaluate as step

    evaluation = load(params_file, changes).evaluation
    result = step.run(catalog=catalog, regions=regions, model=model, baseline=baseline, params=evaluation, out=out)
    show(result, out, as_json)


@app.command()
def gate(
    evaluation: EvaluationDir = RUNS / "evaluate",
    out: Out = RUNS / "gate",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Judge a model; exit code 4 when it may not be registered.

    Example: moon gate --set gate.min_image_r1_over_chance=12
    """
    from moon.steps import gate as step

    result = step.run(evaluation=evaluation, params=load(params_file, changes).gate, out=out)
    show(result, out, as_json)
    if not result.passed:
        refuse("the model did not pass the gate", result.reasons, FAILED_GATE)


@app.command()
def register(
    model: ModelDir = RUNS / "train" / "model",
    evaluation: EvaluationDir = RUNS / "evaluate",
    gate: Annotated[Path, typer.Option("--gate", help="Output folder of 'moon gate'.")] = RUNS / "gate",
    catalog: CatalogDir = Path("data"),
    registry: Annotated[Path, typer.Option("--registry", help="Registry folder.")] = Path("runs/registry"),
    run_id: Annotated[str, typer.Option("--run", help="Name of the run that made it, kept with it.")] = "",
    out: Out = RUNS / "register",
    params_file: ParamsFile = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Give a model that passed the gate a version.

    The registry keeps with it the data, code and recipe it came from; see 'moon lineage'.

    Example: moon register --registry /mnt/models
    """
    from moon.steps import register as step
    from moon.steps.configure import digest

    params = load(params_file, changes)
    result = step.run(
        model=model,
        evaluation=evaluation,
        gate=gate,
        registry=registry,
        lineage={"recipe": digest(params), "run": run_id},
        params=params.serving,
        out=out,
        catalog=catalog,
    )
    show(result, out, as_json)
