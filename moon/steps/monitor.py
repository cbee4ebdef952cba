"""Step: judges one window of collected traffic against the reference of its service."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from moon.config import DriftParams
from moon.monitoring import drift_metrics
from moon.monitoring.drift import Decision, compare_windows
from moon.monitoring.evidently import write_evidently
from moon.monitoring.probe import compare_probes, read_probe
from moon.monitoring.report import drift_html
from moon.monitoring.segments import start_of
from moon.monitoring.windowing import window_path
from moon.monitoring.windows import read_window, revisions
from moon.steps import outcome
from moon.steps.drift import EVIDENTLY, REPORT
from moon.steps.probe import PROBE
from moon.steps.windows import newest, reference_paths

__all__ = ["PROBE", "REPORT", "MonitorResult", "Source", "run"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that a decision rests on."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class MonitorResult(Decision):
    """The decision on a window, and what it rests on."""

    window: str
    service: str
    model_revision: str
    """Of the model that answered, several joined by commas; empty where no answer names it."""
    data: dict[str, Source]
    """``reference`` and ``window``; with a probe set also ``reference_probe`` and ``probe``."""


def run(
    *,
    root: Path,
    service: str,
    window: str = "",
    probe: Path | None = None,
    params: DriftParams,
    out: Path | None = None,
) -> MonitorResult:
    """Judges a window.

    Args:
        root: folder of windows, references and decisions.
        service: its name.
        window: its name; empty: the newest.
        probe: answers to the probe set from the window's time; they are compared with those of the reference.
        params: the tests' parameters.
        out: receives a copy of what goes to ``decisions/SERVICE/WINDOW`` in ``root``: ``decision.json``,
            ``metrics.json``, ``report.html`` and, where there is enough to show, ``evidently.html``.

    Raises:
        ValueError: there is no such window or no reference, or a file cannot be read.
    """
    window = window or newest(root, service)
    start_of(window)
    reference_path, reference_probe = reference_paths(root, service)
    if not reference_path.is_file():
        raise ValueError(
            f"{root} holds no reference of '{service}'; accept a window with 'moon reference --service {service}'"
        )
    paths = {"reference": reference_path, "window": window_path(root, service, window)}
    comparison = None
    if probe is not None and reference_probe.is_file():
        paths |= {"reference_probe": reference_probe, "probe": probe}
        comparison = compare_probes(read_probe(reference_probe), read_probe(probe))
    reference, judged = read_window(paths["reference"]), read_window(paths["window"])
    decision = compare_windows(reference, judged, params, comparison)
    result = MonitorResult(
        **{name: getattr(decision, name) for name in Decision.__dataclass_fields__},
        window=window,
        service=service,
        model_revision=",".join(revisions(judged)),
        data={name: Source(path=str(path), sha256=_digest(path)) for name, path in paths.items()},
    )
    kept = drift_metrics.decision_folder(root, service, window)
    kept.mkdir(parents=True, exist_ok=True)
    page = drift_html(reference, {window: (judged, decision)}, params.alpha)
    (kept / REPORT).write_text(page, encoding="utf-8")
    if decision.tests:
        write_evidently(kept / EVIDENTLY, reference, judged, params.evidently_rows)
    outcome.save(kept, result)
    _save(kept / drift_metrics.DECISION, result)
    if out is not None:
        shutil.copytree(kept, out, dirs_exist_ok=True)
    return result


def _save(path: Path, result: MonitorResult) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
