"""Step: takes the server's traffic in, from KServe's logger over HTTP or from where its storage mode put it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from moon.config import CollectorParams
from moon.monitoring.collector import Collector
from moon.monitoring.events import Event, EventError
from moon.monitoring.stored import Store, StoredObject
from moon.progress import track
from moon.steps import outcome

_INGESTED = "ingested.txt"
_AT_ONCE = 32
"""Objects that are read and taken in together."""


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """What was read from a store."""

    objects: int
    """Objects that were new."""
    events: dict[str, int]
    """Events by outcome."""
    bad_objects: int
    bad_reasons: list[str]
    """Of the first few bad objects."""


def serve(*, root: Path, params: CollectorParams) -> None:
    """Runs the collector's HTTP server until SIGTERM or SIGINT; see `moon.monitoring.collector_app`."""
    from moon.monitoring.collector_app import serve as run_server

    root.mkdir(parents=True, exist_ok=True)
    run_server(root, params)


def ingest(*, store: str, root: Path, params: CollectorParams, out: Path) -> IngestResult:
    """Takes in the objects of the logger's storage mode that were not taken in before.

    An interrupted run is simply run again: events that it took in already are known by their ids.

    Args:
        store: a local folder or an address such as ``s3://bucket/logs``.
        root: folder of the log.
        params: what to keep.
        out: receives ``metrics.json``.

    Raises:
        ValueError: the store cannot be used.
        OSError: the store or the log cannot be used now.
    """
    root.mkdir(parents=True, exist_ok=True)
    ledger = root / _INGESTED
    known = set(ledger.read_text(encoding="utf-8").splitlines()) if ledger.is_file() else set()
    source = Store(store)
    fresh = [one for one in source.objects() if _entry(one) not in known]
    return outcome.save(out, asyncio.run(_ingest(source, fresh, root, params, ledger)))


async def _ingest(
    source: Store, fresh: list[StoredObject], root: Path, params: CollectorParams, ledger: Path
) -> IngestResult:
    events: Counter[str] = Counter()
    bad: list[str] = []
    collector = Collector(root, params)
    try:
        with ledger.open("a", encoding="utf-8") as taken:
            for some in track([fresh[start : start + _AT_ONCE] for start in range(0, len(fresh), _AT_ONCE)], "ingest"):
                read = [event for one in some for event in _events(source, one, bad)]
                events.update(await asyncio.gather(*map(collector.accept, read)))
                taken.writelines(f"{_entry(one)}\n" for one in some)
                taken.flush()
    finally:
        collector.close()
    return IngestResult(objects=len(fresh), events=dict(events), bad_objects=len(bad), bad_reasons=bad[:5])


def _events(source: Store, one: StoredObject, bad: list[str]) -> list[Event]:
    """The events of an object; none, and a line in ``bad``, where the logger did not write it."""
    try:
        return list(source.events(one))
    except EventError as error:
        bad.append(str(error))
        return []


def _entry(one: StoredObject) -> str:
    return f"{one.path}\t{one.size}\t{one.stored.isoformat()}"
