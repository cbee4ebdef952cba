"""Step: sends the catalogue's own purchases to the running server as three windows of traffic, the last one shifted."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from moon.catalog.store import Catalog
from moon.config import DriftParams
from moon.monitoring.shifts import SHIFTS, few_categories
from moon.monitoring.windows import window_table, write_window
from moon.progress import track
from moon.steps import deploy, outcome
from moon.steps.drift import REFERENCE, WINDOWS
from moon.steps.traffic import TIMEOUT_SECONDS, Answered, Purchases, SearchRequest, ask_in_order

_HOPELESS: Final = 20
"""A window whose first requests all fail is given up after so many."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What was sent and how the server did."""

    windows: dict[str, int]
    """Rows recorded in each window: its answered requests."""
    shift: str
    errors: int
    error_reasons: dict[str, int]
    p50_ms: float
    p95_ms: float
    """Latency of one request as its sender sees it, with four senders at a time."""
    requests_per_second: float
    model_revision: str


def run(*, deployment: Path, catalog: Path, params: DriftParams, out: Path) -> ReplayResult:
    """Replays ``reference``, ``steady`` and ``shifted`` traffic and records a window of each.

    Every window draws its requests with replacement from the held-out interactions (the test split, else val, else
    all), so reference and steady differ by chance alone.

    Args:
        deployment: output folder of the deploy step. A server of this machine that has ended since, as it does with
            the container that started it, is started again.
        catalog: catalogue folder.
        params: the number of requests, the seed and the shift.
        out: receives ``windows/NAME.parquet`` and ``metrics.json``.

    Raises:
        ValueError: the shift is unknown, there is nothing to send, or the server answers no request.
        DeploymentError: the server cannot be started again.
    """
    if params.shift not in SHIFTS:
        raise ValueError(f"drift.shift must be one of {', '.join(SHIFTS)}, got '{params.shift}'")
    url = str(outcome.read(deployment, "url")["url"])
    purchases = Purchases(Catalog.open(catalog))
    deploy.revive(deployment)
    rows: dict[str, list[dict[str, Any]]] = {}
    errors: Counter[str] = Counter()
    started = time.perf_counter()
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        for number, name in enumerate((REFERENCE, "steady", "shifted")):
            requests = _requests(purchases, params, number, shifted=name == "shifted")
            rows[name] = _send(client, requests, params.window, name, errors)
            write_window(out / WINDOWS / f"{name}.parquet", window_table(rows[name], len(rows[name][0]["embedding"])))
    seconds = time.perf_counter() - started
    recorded = list(itertools.chain.from_iterable(rows.values()))
    p50, p95 = np.percentile([row["latency_ms"] for row in recorded], [50, 95])
    return outcome.save(
        out,
        ReplayResult(
            windows={name: len(window) for name, window in rows.items()},
            shift=params.shift,
            errors=errors.total(),
            error_reasons=dict(errors),
            p50_ms=round(float(p50), 2),
            p95_ms=round(float(p95), 2),
            requests_per_second=round((len(recorded) + errors.total()) / seconds, 1),
            model_revision=recorded[-1]["model_revision"],
        ),
    )


def _requests(purchases: Purchases, params: DriftParams, number: int, shifted: bool) -> Iterator[SearchRequest]:
    """The requests of one window, made as they are asked for."""
    rng = np.random.default_rng([params.seed, number])
    pool = np.arange(len(purchases.rows))
    if shifted and params.shift == "new-categories":
        pool = few_categories(purchases.categories, rng)
    darken = shifted and params.shift == "dark-photos"
    for position in rng.choice(pool, size=params.window):
        yield purchases.request(int(position), k=1, darken=darken)


def _send(
    client: httpx.Client, requests: Iterator[SearchRequest], total: int, name: str, errors: Counter[str]
) -> list[dict[str, Any]]:
    """Sends a window and returns the rows of the answered requests, in the order sent.

    Raises:
        ValueError: none of the first requests, or of all, was answered.
    """
    rows: list[dict[str, Any]] = []
    failed: Counter[str] = Counter()
    for request, answer in track(ask_in_order(client, requests), f"Replaying {name}", total=total):
        if isinstance(answer, str):
            failed[answer] += 1
        else:
            rows.append(_row(request, answer))
        if not rows and failed.total() == _HOPELESS:
            break
    errors.update(failed)
    if not rows:
        reason, count = failed.most_common(1)[0]
        raise ValueError(f"{client.base_url} answered none of {failed.total()} requests; {count} times: {reason}")
    return rows


def _row(request: SearchRequest, answer: Answered) -> dict[str, Any]:
    best = answer.tree["products"][0] if answer.tree["products"] else {}
    return {
        **request.features,
        "timestamp": answer.sent,
        "latency_ms": answer.milliseconds,
        "embedding": answer.tree["embedding"],
        "top_score": best.get("score"),
        "top_product": best.get("id"),
        "top_category": best.get("category_path"),
        "model_revision": answer.tree["model_revision"],
    }
