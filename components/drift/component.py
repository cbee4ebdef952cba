"""Tests windows of traffic for drift."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.base import component


@component
def drift(
    windows: Input[Dataset],
    params: str,
    decisions: Output[Artifact],
    page: Output[HTML],
    metrics: Output[Metrics],
) -> None:
    """Decides for every window whether it has drifted from the reference.

    Args:
        windows: Windows of traffic, one of them named "reference".
        params: Section "drift" as JSON.
        decisions: Decisions, our report and Evidently's.
        page: Our report.
        metrics: Test results of every window.
    """
    import shutil
    from pathlib import Path

    from moon.config import DriftParams, from_json
    from moon.steps import drift as step
    from moon.steps.flat import write_numbers

    out = Path(decisions.path)
    result = step.run(windows=Path(windows.path), params=from_json(DriftParams, params), out=out)
    shutil.copyfile(out / step.REPORT, page.path)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
