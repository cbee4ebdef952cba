"""From the log to windows: each request with its response becomes rows, one an item.

A request belongs to the window that it was sent in; its response may lie in the next one. A request that was sent to
several collectors, or twice, counts once.
"""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from moon.config import CollectorParams
from moon.monitoring import segments
from moon.monitoring.events import draw
from moon.monitoring.records import REQUESTS, vector
from moon.monitoring.windows import window_table, write_window

WINDOWS = "windows"
_INPUTS = (
    "modality",
    "language",
    "category",
    "text_length",
    "text_words",
    "image_width",
    "image_height",
    "brightness",
    "contrast",
    "sharpness",
)
_OUTPUTS = ("top_score", "top_product", "top_category")


@dataclass(frozen=True, kw_only=True)
class MadeWindow:
    """One window of one service, and what of its requests is not in it."""

    service: str
    window: str
    path: str
    rows: int
    requests: int
    """Distinct requests in the log."""
    unanswered: int
    """Requests without a response, which failed or whose response was not logged."""
    failed_items: int


def window_path(root: Path, service: str, window: str) -> Path:
    """Where the window of a service is kept."""
    return root / WINDOWS / service / f"{window}.parquet"


def complete_windows(root: Path, params: CollectorParams, now: datetime) -> list[str]:
    """Windows with a log that take no more events, oldest first."""
    length = timedelta(minutes=params.window_minutes, seconds=params.grace_seconds)
    return [window for window in segments.logged_windows(root) if segments.start_of(window) + length <= now]


def make_windows(root: Path, window: str, params: CollectorParams) -> list[MadeWindow]:
    """Writes the window of every service that has requests in it.

    Args:
        root: folder that holds ``log/`` and gets ``windows/SERVICE/WINDOW.parquet``.
        window: its name.
        params: length of a window and most rows.
    """
    services: dict[str, list[dict[str, Any]]] = {}
    counts: Counter[str] = Counter()
    chosen = heapq.nsmallest(
        params.max_rows, _requests(root, window, counts), key=lambda kept: (draw(kept["id"]), kept["key"])
    )
    answers = _answers(root, window, params, {(kept["source"], kept["id"]) for kept in chosen})
    for kept in chosen:
        services.setdefault(kept["service"], []).append(kept)
    return [
        _write(root, service, window, kept, answers, counts[service], params.max_rows)
        for service, kept in sorted(services.items())
    ]


def remove_old_logs(root: Path, params: CollectorParams, now: datetime) -> list[str]:
    """Removes the logs of windows that ended ``keep_hours`` ago; returns their names.

    Call it after `make_windows`: a log that no window was made of is not asked about.
    """
    age = timedelta(hours=params.keep_hours, minutes=params.window_minutes)
    old = [window for window in segments.logged_windows(root) if segments.start_of(window) + age <= now]
    for window in old:
        shutil.rmtree(root / segments.LOG / window)
    return old


def _requests(root: Path, window: str, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The window's requests, each once; counts them by service."""
    seen: set[str] = set()
    for kept in segments.read(root, window):
        if kept["kind"] == REQUESTS and kept["key"] not in seen:
            seen.add(kept["key"])
            counts[kept["service"]] += 1
            yield kept


def _answers(
    root: Path, window: str, params: CollectorParams, wanted: set[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Responses to the wanted requests, from this window's log and the next one's."""
    following = segments.window_of(
        segments.start_of(window) + timedelta(minutes=params.window_minutes), params.window_minutes
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kept in itertools.chain(segments.read(root, window), segments.read(root, following)):
        pair = (kept["source"], kept["id"])
        if kept["kind"] != REQUESTS and pair in wanted:
            found.setdefault(pair, kept)
    return found


def _write(
    root: Path,
    service: str,
    window: str,
    requests: list[dict[str, Any]],
    answers: dict[tuple[str, str], dict[str, Any]],
    total: int,
    max_rows: int,
) -> MadeWindow:
    # A logger of requests alone leaves no response at all; then rows have inputs only.
    answered = any((kept["source"], kept["id"]) in answers for kept in requests)
    rows: list[dict[str, Any]] = []
    unanswered = failed = 0
    for kept in requests:
        answer = answers.get((kept["source"], kept["id"]))
        if answered and answer is None:
            unanswered += 1
            continue
        for query, output in itertools.zip_longest(kept["items"], answer["items"] if answer else []):
            if query is None or (answered and output is None):
                failed += 1
            else:
                rows.append(_row(kept, query, answer, output or {}))
    path = window_path(root, service, window)
    write_window(path, _table(rows[:max_rows]))
    return MadeWindow(
        service=service,
        window=window,
        path=str(path),
        rows=min(len(rows), max_rows),
        requests=total,
        unanswered=unanswered,
        failed_items=failed,
    )


def _row(kept: dict[str, Any], query: dict[str, Any], answer: dict[str, Any] | None, output: dict[str, Any]) -> Any:
    row = {name: query.get(name) for name in _INPUTS} | {name: output.get(name) for name in _OUTPUTS}
    sent = datetime.fromisoformat(kept["time"]).astimezone(UTC)
    row |= {"timestamp": sent, "embedding": vector(output)}
    if answer is not None:
        waited = datetime.fromisoformat(answer["time"]) - sent
        row |= {"latency_ms": 1000 * waited.total_seconds(), "model_revision": answer["revision"]}
    return row


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a window; vectors of another length than most, such as Matryoshka prefixes, are left out."""
    lengths = Counter(len(row["embedding"]) for row in rows if row["embedding"] is not None)
    dim = max(lengths, key=lambda length: (lengths[length], length), default=0)
    for row in rows:
        if row["embedding"] is not None and len(row["embedding"]) != dim:
            row["embedding"] = None
    return window_table(rows, dim)
