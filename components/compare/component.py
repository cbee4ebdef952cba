"""Tests one window of traffic against a reference."""

from kfp.dsl import HTML, Artifact, Metrics, Output

from components.base import component


@component
def compare(
    reference: str,
    window: str,
    params: str,
    decisions: Output[Artifact],
    page: Output[HTML],
    metrics: Output[Metrics],
) -> str:
    """Decides whether a window of traffic has drifted: "ok", "warn" or "retrain".

    Args:
        reference: Parquet file of the reference window.
        window: Parquet file of the window to judge.
        params: Section "drift" as JSON.
        decisions: The decision, our report and Evidently's.
        page: Our report.
        metrics: Test results.
    """
    import shutil
    from pathlib import Path

    from moon.config import DriftParams, from_json
    from moon.steps import drift as step
    from moon.steps.flat import write_numbers

    paths = {"reference": Path(reference), "window": Path(window)}
    result = step.compare(**paths, params=from_json(DriftParams, params), out=Path(decisions.path))
    shutil.copyfile(Path(decisions.path) / step.REPORT, page.path)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
    return str(result.decisions[paths["window"].stem].decision)
