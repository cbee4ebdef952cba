from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moon.config import CollectorParams
from moon.monitoring import collector as module
from moon.monitoring import segments
from moon.monitoring.collector import ACCEPTED, DUPLICATE, SAMPLED_OUT, UNREADABLE, Busy, Collector, Room, Unwritable
from moon.monitoring.events import REQUEST
from tests.monitoring.logging_agent import NOON, event, photo, search

PARAMS = CollectorParams(fsync_seconds=0.05)
WINDOW = "2026-11-23T1200Z"


def collecting(
    root: Path, work: Callable[[Collector], Coroutine[Any, Any, Any]], params: CollectorParams = PARAMS, now: Any = NOON
) -> Any:
    """Runs ``work`` with a collector whose clock stands at ``now``."""

    async def main() -> Any:
        collector = Collector(root, params, clock=lambda: now)
        try:
            return await asyncio.wait_for(work(collector), 60)
        finally:
            await asyncio.to_thread(collector.close)

    return asyncio.run(main())


def logged(root: Path) -> list[dict[str, Any]]:
    return [record for window in segments.logged_windows(root) for record in segments.read(root, window)]


async def accept_all(collector: Collector, events: list[Any]) -> list[Any]:
    return await asyncio.gather(*map(collector.accept, events), return_exceptions=True)


def test_accepted_events_are_in_the_log_once(tmp_path):
    events = [one for number in range(30) for one in search(f"id-{number}")]
    outcomes = collecting(tmp_path, lambda collector: accept_all(collector, events + events))
    assert outcomes.count(ACCEPTED) == outcomes.count(DUPLICATE) == 60
    found = logged(tmp_path)
    assert sorted((one["id"], one["kind"]) for one in found) == sorted(
        (f"id-{number}", kind) for number in range(30) for kind in ("request", "response")
    )


@pytest.mark.parametrize("remembered", [PARAMS.remember_events, 1])
def test_repetitions_are_known_after_a_restart_as_far_as_memory_goes(tmp_path, remembered):
    params = dataclasses.replace(PARAMS, remember_events=remembered)
    first, second = search("a")
    collecting(tmp_path, lambda collector: accept_all(collector, [first]), params)
    collecting(tmp_path, lambda collector: accept_all(collector, [second]), params)
    outcomes = collecting(tmp_path, lambda collector: accept_all(collector, [first, second]), params)
    assert outcomes == ([DUPLICATE, DUPLICATE] if remembered > 1 else [ACCEPTED, DUPLICATE])


def test_neither_text_nor_photo_is_kept_unless_asked_for(tmp_path):
    (request, _) = search("a", text="a very private wish", image=photo())
    collecting(tmp_path / "no", lambda collector: collector.accept(request))
    (path,) = (tmp_path / "no").glob("log/*/*.log")
    assert b"private" not in path.read_bytes() and len(path.read_bytes()) < 700
    (kept,) = logged(tmp_path / "no")
    assert kept["items"][0]["text_length"] == 19 and kept["items"][0]["image_width"] == 60
    params = dataclasses.replace(PARAMS, keep_texts=True, keep_pictures=True)
    collecting(tmp_path / "yes", lambda collector: collector.accept(request), params)
    assert {"text", "picture"} <= set(logged(tmp_path / "yes")[0]["items"][0])


def test_a_sample_holds_whole_pairs(tmp_path):
    events = [one for number in range(60) for one in search(f"id-{number}")]
    params = dataclasses.replace(PARAMS, sample=0.4)
    outcomes = collecting(tmp_path, lambda collector: accept_all(collector, events), params)
    assert outcomes[::2] == outcomes[1::2] and 10 < outcomes[::2].count(SAMPLED_OUT) < 55
    assert len(logged(tmp_path)) == outcomes.count(ACCEPTED)


def test_unreadable_bodies_and_photos_cost_nothing_else(tmp_path):
    broken = search("broken", image=photo()[:200])[0]
    outcomes = collecting(tmp_path, lambda c: accept_all(c, [event("x", REQUEST, b""), broken]))
    assert outcomes == [UNREADABLE, ACCEPTED]
    (item,) = logged(tmp_path)[0]["items"]
    assert item["modality"] == "both" and "brightness" not in item


def test_an_event_that_could_not_be_written_is_not_accepted_and_can_come_again(tmp_path, monkeypatch):
    events = search("a")
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def work(collector: Collector) -> list[Any]:
        monkeypatch.setattr(os, "fsync", full)
        first = await accept_all(collector, events)
        monkeypatch.setattr(os, "fsync", fsync)
        return first + await accept_all(collector, events)

    outcomes = collecting(tmp_path, work)
    assert all(isinstance(one, Unwritable) and "No space" in str(one) for one in outcomes[:2])
    assert outcomes[2:] == [ACCEPTED, ACCEPTED]
    assert {one["kind"] for one in logged(tmp_path)} == {"request", "response"}


def test_a_repetition_waits_for_the_first_and_shares_its_fate(tmp_path, monkeypatch):
    """While the first is being read, a repetition is neither accepted nor called a duplicate."""
    release, started = threading.Event(), threading.Event()
    record = module.record

    def slow(one: Any, params: CollectorParams) -> Any:
        started.set()
        assert release.wait(30)
        return record(one, params)

    monkeypatch.setattr(module, "record", slow)

    async def work(collector: Collector) -> list[Any]:
        one = search("a")[0]
        first, again = (asyncio.ensure_future(collector.accept(one)) for _ in range(2))
        await asyncio.to_thread(started.wait, 30)
        await asyncio.sleep(0.05)
        assert not again.done()
        release.set()
        return [await first, await again]

    assert collecting(tmp_path, work) == [ACCEPTED, DUPLICATE]


def test_a_sender_that_leaves_does_not_undo_what_was_begun(tmp_path):
    async def work(collector: Collector) -> str:
        waiting = asyncio.ensure_future(collector.accept(search("a")[0]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await collector.accept(search("a")[0])

    assert collecting(tmp_path, work) == DUPLICATE
    assert len(logged(tmp_path)) == 1


def test_an_event_goes_to_the_window_of_its_time_while_that_is_open(tmp_path):
    before, after = NOON - timedelta(hours=2), NOON + timedelta(hours=2)
    ancient = NOON - timedelta(hours=PARAMS.keep_hours + 1)
    (tmp_path / "log" / "2026-11-23T0900Z").mkdir(parents=True)
    segments.mark_made(tmp_path, "2026-11-23T0900Z")
    made = NOON - timedelta(hours=3)
    events = [search(f"{number}", time)[0] for number, time in enumerate([NOON, before, after, ancient, made])]
    collecting(tmp_path, lambda collector: accept_all(collector, events))
    found = {
        window: sorted(one["id"] for one in segments.read(tmp_path, window))
        for window in segments.logged_windows(tmp_path)
    }
    assert found == {"2026-11-23T0900Z": [], "2026-11-23T1000Z": ["1"], WINDOW: ["0", "2", "3", "4"]}


def test_fsync_by_interval_accepts_and_keeps_as_well(tmp_path):
    params = dataclasses.replace(PARAMS, fsync="interval", fsync_seconds=0.2)
    events = [one for number in range(20) for one in search(f"id-{number}")]
    assert set(collecting(tmp_path, lambda c: accept_all(c, events), params)) == {ACCEPTED}
    assert len(logged(tmp_path)) == 40


def test_room_is_bounded_in_events_and_bytes_but_takes_one_large_event():
    room = Room(2, 100)
    with room.hold(1000):
        with pytest.raises(Busy, match="1 events of 1000 bytes"), room.hold(1):
            pass
    with room.hold(10), room.hold(10), pytest.raises(Busy), room.hold(10):
        pass
    with room.hold(90), pytest.raises(Busy), room.hold(20):
        pass
    with room.hold(100):
        pass
