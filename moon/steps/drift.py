"""Step: compares the replayed windows with their reference and decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moon.config import DriftParams
from moon.monitoring.drift import Decision, compare_windows
from moon.monitoring.evidently import write_evidently
from moon.monitoring.report import drift_html
from moon.monitoring.windows import read_window
from moon.steps import outcome

REPORT = "report.html"
EVIDENTLY = "evidently.html"
WINDOWS = "windows"
"""Folder of the replay step's output that holds the windows."""
REFERENCE = "reference"
"""Name of the window that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class DriftResult:
    """The decision on each window, by name."""

    decisions: dict[str, Decision]


def run(*, windows: Path, params: DriftParams, out: Path) -> DriftResult:
    """Compares every window of the replay step with its reference window.

    Args:
        windows: output folder of the replay step.
        params: the tests' parameters.
        out: receives ``metrics.json``, ``report.html`` and ``evidently.html``, the latter of the window that differs
            most.

    Raises:
        ValueError: the folder holds no reference or no other window, or a window cannot be read.
    """
    paths = {path.stem: path for path in sorted((windows / WINDOWS).glob("*.parquet"))}
    reference = paths.pop(REFERENCE, None)
    if reference is None or not paths:
        raise ValueError(
            f"{windows / WINDOWS} must hold {REFERENCE}.parquet and a window beside it; run the replay step first"
        )
    normal = read_window(reference)
    recorded = {name: read_window(path) for name, path in paths.items()}
    decisions = {name: compare_windows(normal, window, params) for name, window in recorded.items()}
    out.mkdir(parents=True, exist_ok=True)
    page = drift_html(normal, {name: (recorded[name], decisions[name]) for name in recorded}, params.alpha)
    (out / REPORT).write_text(page, encoding="utf-8")
    most_different = min(decisions, key=lambda name: (decisions[name].p_value or 1.0, -(decisions[name].auc or 0.0)))
    write_evidently(out / EVIDENTLY, normal, recorded[most_different], params.evidently_rows)
    return outcome.save(out, DriftResult(decisions=decisions))
