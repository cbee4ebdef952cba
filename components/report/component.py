"""Puts the results of all steps into one page."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.base import component


@component
def report(
    catalog: Input[Dataset],
    validation: Input[Artifact],
    duplicates: Input[Dataset],
    regions: Input[Dataset],
    negatives: Input[Dataset],
    trained: Input[Model],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    results: Output[Artifact],
    page: Output[HTML],
    windows: Input[Dataset] | None = None,
    drift: Input[Artifact] | None = None,
    judgement: Input[Artifact] | None = None,
    deployment: str = "",
) -> None:
    """Writes one self-contained HTML page from what the steps left behind; what did not run is left out of it.

    Beside the page the results hold steps.json: the folder of every step.
    """
    import json
    import shutil
    from pathlib import Path

    from moon.steps import report as step

    artifacts = {"catalog": catalog, "validate": validation, "duplicates": duplicates, "regions": regions}
    artifacts |= {"mine": negatives, "train": trained, "evaluate": evaluation, "gate": decision}
    artifacts |= {"replay": windows, "drift": drift, "canary": judgement}
    steps = {name: Path(artifact.path) for name, artifact in artifacts.items() if artifact is not None}
    steps |= {"deploy": Path(deployment)} if deployment else {}
    out = Path(results.path)
    step.run(steps=steps, out=out)
    (out / "steps.json").write_text(json.dumps({name: str(path) for name, path in steps.items()}), encoding="utf-8")
    shutil.copyfile(out / "index.html", page.path)
