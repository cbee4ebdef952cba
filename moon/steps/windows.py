"""Step: makes the windows of the traffic that has been collected, and accepts one as the reference."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from moon.config import CollectorParams
from moon.monitoring import segments
from moon.monitoring.probe import read_probe
from moon.monitoring.windowing import MadeWindow, complete_windows, make_windows, remove_old_logs, window_path
from moon.monitoring.windows import read_window
from moon.steps import outcome

_REFERENCES = "references"


@dataclass(frozen=True, kw_only=True)
class WindowsResult:
    """The windows that were made, and whose logs were removed."""

    windows: list[MadeWindow]
    removed_logs: list[str]


@dataclass(frozen=True, kw_only=True)
class ReferenceResult:
    """The window that later ones are compared with."""

    service: str
    window: str
    rows: int
    reference: str
    """Its file."""
    probes: bool
    """Whether answers to the probe set were kept with it."""


def run(*, root: Path, params: CollectorParams, out: Path, now: datetime | None = None) -> WindowsResult:
    """Makes every window that is complete and not yet made, then removes logs that are old enough.

    Args:
        root: folder of the log; gets ``windows/SERVICE/WINDOW.parquet``.
        params: length of a window, most rows, and how long logs are kept.
        out: receives ``metrics.json``.
        now: the time; the clock's if left out.
    """
    now = now or datetime.now(UTC)
    made = []
    for window in complete_windows(root, params, now):
        if not segments.is_made(root, window):
            segments.mark_made(root, window)
            made += make_windows(root, window, params)
    return outcome.save(out, WindowsResult(windows=made, removed_logs=remove_old_logs(root, params, now)))


def newest(root: Path, service: str) -> str:
    """Name of a service's newest window.

    Raises:
        ValueError: there is none.
    """
    names = sorted(path.stem for path in window_path(root, service, "x").parent.glob("*.parquet"))
    if not names:
        known = ", ".join(sorted({path.parent.name for path in root.glob("windows/*/*.parquet")})) or "no service"
        raise ValueError(f"{root} has windows of {known}, none of '{service}'; collect traffic and run 'moon windows'")
    return names[-1]


def reference_paths(root: Path, service: str) -> tuple[Path, Path]:
    """Where the reference window of a service is kept, and the answers to its probe set."""
    folder = root / _REFERENCES / service
    return folder / "window.parquet", folder / "probe.parquet"


def accept(*, root: Path, service: str, window: str, probe: Path | None) -> ReferenceResult:
    """Makes a window the reference that later ones are compared with.

    Args:
        root: folder of the windows.
        service: its name.
        window: its name; empty: the newest.
        probe: answers to the probe set from the same time; None keeps no probe set.

    Raises:
        ValueError: there is no such window, or it cannot be read.
    """
    window = window or newest(root, service)
    source = window_path(root, service, window)
    rows = len(read_window(source))
    if probe is not None:
        read_probe(probe)
    reference, probes = reference_paths(root, service)
    reference.parent.mkdir(parents=True, exist_ok=True)
    probes.unlink(missing_ok=True)
    for origin, target in ((probe, probes), (source, reference)):
        if origin is not None:
            partial = target.with_suffix(".partial")
            shutil.copyfile(origin, partial)
            partial.replace(target)
    return ReferenceResult(
        service=service, window=window, rows=rows, reference=str(reference), probes=probe is not None
    )
