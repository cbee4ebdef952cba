"""Step: sends the catalogue's own purchases to the running server as three windows of traffic, the last one shifted."""

from __future__ import annotations

import base64
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from moon.catalog.store import Catalog, ImageStore
from moon.config import DriftParams
from moon.monitoring.shifts import SHIFTS, dark_photo, few_categories
from moon.monitoring.windows import describe, window_table, write_window
from moon.progress import track
from moon.steps import outcome
from moon.steps.drift import REFERENCE, WINDOWS
from moon.vision.decode import decode, encode_jpeg

_CLIENTS: Final = 4
_TIMEOUT_SECONDS: Final = 30.0
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


@dataclass(frozen=True)
class _Request:
    """One request and what the window keeps of its input."""

    body: dict[str, Any]
    features: dict[str, Any]


def run(*, deployment: Path, catalog: Path, params: DriftParams, out: Path) -> ReplayResult:
    """Replays ``reference``, ``steady`` and ``shifted`` traffic and records a window of each.

    Every window draws its requests with replacement from the held-out interactions (the test split, else val, else
    all), so reference and steady differ by chance alone.

    Args:
        deployment: output folder of the deploy step; its server must be running.
        catalog: catalogue folder.
        params: the number of requests, the seed and the shift.
        out: receives ``windows/NAME.parquet`` and ``metrics.json``.

    Raises:
        ValueError: the shift is unknown, there is nothing to send, or the server answers no request.
    """
    if params.shift not in SHIFTS:
        raise ValueError(f"drift.shift must be one of {', '.join(SHIFTS)}, got '{params.shift}'")
    url = str(outcome.read(deployment, "url")["url"])
    traffic = _Traffic(Catalog.open(catalog), params)
    rows: dict[str, list[dict[str, Any]]] = {}
    errors: Counter[str] = Counter()
    started = time.perf_counter()
    with httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        for number, name in enumerate((REFERENCE, "steady", "shifted")):
            requests = traffic.requests(number, shifted=name == "shifted")
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


class _Traffic:
    """Requests made of a catalogue's interactions."""

    def __init__(self, catalog: Catalog, params: DriftParams) -> None:
        self._params = params
        self._pictures: ImageStore = catalog.image_store()
        known = {"", *catalog.table("images", ["image_id"]).column("image_id").to_pylist()}
        photo_exists = [row for row in catalog.rows("interactions") if (row["query_image_id"] or "") in known]
        self._interactions = _held_out(photo_exists)
        if not self._interactions:
            raise ValueError(f"{catalog.root} has no interactions to replay")
        paths = {row["product_id"]: " / ".join(row["category_path"]) for row in catalog.rows("products")}
        self._categories = [paths.get(row["product_id"], "") for row in self._interactions]

    def requests(self, number: int, shifted: bool) -> Iterator[_Request]:
        """The requests of one window, made as they are asked for."""
        rng = np.random.default_rng([self._params.seed, number])
        pool = np.arange(len(self._interactions))
        if shifted and self._params.shift == "new-categories":
            pool = few_categories(self._categories, rng)
        darken = shifted and self._params.shift == "dark-photos"
        for position in rng.choice(pool, size=self._params.window):
            yield self._request(self._interactions[position], darken)

    def _request(self, interaction: dict[str, Any], darken: bool) -> _Request:
        text, image_id = interaction["query_text"], interaction["query_image_id"]
        body: dict[str, Any] = {"k": 1, "return_embedding": True}
        photo = None
        if text:
            body["text"] = text
        if image_id:
            data = self._pictures[image_id]
            photo = decode(data)
            if darken:
                photo = dark_photo(photo)
                data = encode_jpeg(photo)
            body["image"] = base64.b64encode(data).decode()
        return _Request(body, describe(text or None, photo))


def _held_out(interactions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first split of test and val that has any, else all."""
    for split in ("test", "val"):
        rows = [row for row in interactions if row["split"] == split]
        if rows:
            return rows
    return interactions


def _send(
    client: httpx.Client, requests: Iterator[_Request], total: int, name: str, errors: Counter[str]
) -> list[dict[str, Any]]:
    """Sends a window from a few threads and returns the rows of the answered requests, in the order sent.

    Raises:
        ValueError: none of the first requests, or of all, was answered.
    """
    rows: list[dict[str, Any]] = []
    failed: Counter[str] = Counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for answer in track(_in_order(pool, client, requests), f"Replaying {name}", total=total):
            if isinstance(answer, str):
                failed[answer] += 1
            else:
                rows.append(answer)
            if not rows and failed.total() == _HOPELESS:
                break
    errors.update(failed)
    if not rows:
        reason, count = failed.most_common(1)[0]
        raise ValueError(f"{client.base_url} answered none of {failed.total()} requests; {count} times: {reason}")
    return rows


def _in_order(
    pool: ThreadPoolExecutor, client: httpx.Client, requests: Iterator[_Request]
) -> Iterator[dict[str, Any] | str]:
    """Answers in the order of the requests, with no more than twice the threads' number under way."""
    waiting: list[Future[dict[str, Any] | str]] = []
    for request in requests:
        waiting.append(pool.submit(_ask, client, request))
        if len(waiting) >= 2 * _CLIENTS:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _ask(client: httpx.Client, request: _Request) -> dict[str, Any] | str:
    """One search: the row of the window, or the reason why there is none."""
    sent, started = datetime.now(UTC), time.perf_counter()
    try:
        response = client.post("/search", json=request.body)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    elapsed = 1000 * (time.perf_counter() - started)
    if response.status_code != httpx.codes.OK:
        return f"HTTP {response.status_code}: {response.text[:200]}"
    answer = response.json()
    best = answer["products"][0] if answer["products"] else {}
    return {
        **request.features,
        "timestamp": sent,
        "latency_ms": elapsed,
        "embedding": answer["embedding"],
        "top_score": best.get("score"),
        "top_category": best.get("category_path"),
        "model_revision": answer["model_revision"],
    }
