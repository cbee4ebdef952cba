"""Judges a window of collected traffic."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.base import component


@component
def monitor(
    root: str,
    service: str,
    window: str,
    answers: Input[Dataset],
    recipe: str,
    decision: Output[Artifact],
    page: Output[HTML],
    metrics: Output[Metrics],
) -> str:
    """Decides whether a window has drifted from its reference: "ok", "warn" or "retrain".

    Args:
        root: Folder of windows, references and decisions, on a volume.
        service: Name of the InferenceService.
        window: Name of the window.
        answers: Answers to the probe set from the window's time.
        recipe: Text of a parameter file.
        decision: Folder with decision.json and the reports.
        page: Our report.
        metrics: Test results.
    """
    import shutil
    from pathlib import Path

    from moon.config import parse_params
    from moon.steps import monitor as step
    from moon.steps.flat import write_numbers

    probe, out = Path(answers.path) / step.PROBE, Path(decision.path)
    drift = parse_params(recipe).drift
    result = step.run(root=Path(root), service=service, window=window, probe=probe, params=drift, out=out)
    shutil.copyfile(out / step.REPORT, page.path)
    decision.metadata.update(window=window, model_revision=result.model_revision, cause=result.cause)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
    return str(result.decision)
