from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from moon.config import CollectorParams
from moon.monitoring import segments
from moon.monitoring.events import REQUEST, RESPONSE, Event
from moon.monitoring.records import record
from moon.monitoring.windowing import complete_windows, make_windows, remove_old_logs, window_path
from moon.monitoring.windows import read_window
from tests.monitoring.logging_agent import NOON, event, photo, search

PARAMS = CollectorParams()
WINDOW, NEXT = "2026-11-23T1200Z", "2026-11-23T1300Z"
HOUR = timedelta(hours=1)


def log(root: Path, events: list[Event], writer: segments.Writer | None = None) -> None:
    writer = writer or segments.Writer(root, 10**6)
    for one in events:
        writer.append(segments.window_of(one.time, 60), [segments.encode(record(one, PARAMS))])
    writer.close()


def rows(root: Path, service: str = "moon", window: str = WINDOW) -> list[dict]:
    return read_window(window_path(root, service, window)).to_pylist()


def test_a_request_and_its_answer_become_a_row_without_text_or_photo(tmp_path):
    request, response = search("a", image=photo(), text="red mug for kids")
    response = dataclasses.replace(response, time=NOON + timedelta(milliseconds=40))
    log(tmp_path, [response, request])
    (made,) = make_windows(tmp_path, WINDOW, PARAMS)
    assert (made.rows, made.requests, made.unanswered, made.failed_items) == (1, 1, 0, 0)
    (row,) = rows(tmp_path)
    assert row["modality"] == "both" and row["language"] == "en" and row["image_width"] == 60
    assert row["top_product"] == "p1" and row["top_category"] == ["Kitchen", "Mugs"] and row["model_revision"] == "m1"
    assert row["latency_ms"] == pytest.approx(40) and row["timestamp"] == NOON
    np.testing.assert_allclose(row["embedding"], [0.6, 0.8], rtol=1e-6)


def test_every_request_is_in_one_window_whichever_its_answer_fell_into(tmp_path):
    late = NOON.replace(minute=59, second=59)
    request, response = search("late", late)
    log(tmp_path, [request, dataclasses.replace(response, time=late + timedelta(seconds=2)), *search("b", late + HOUR)])
    assert [make_windows(tmp_path, window, PARAMS)[0].rows for window in (WINDOW, NEXT)] == [1, 1]
    assert rows(tmp_path)[0]["embedding"] is not None


def test_requests_logged_twice_count_once(tmp_path):
    for _ in range(3):  # three collectors
        log(tmp_path, search("a"))
    assert make_windows(tmp_path, WINDOW, PARAMS)[0].rows == 1


def test_failed_requests_and_failed_items_are_counted_and_are_no_rows(tmp_path):
    batch = [
        event("batch", REQUEST, {"input": ["mug", "lamp", "sofa"]}),
        event(
            "batch", RESPONSE, {"data": [{"embedding": [1, 0]}, {"embedding": [], "error": {}}, {"embedding": [0, 1]}]}
        ),
    ]
    log(tmp_path, [*search("ok"), search("refused")[0], *batch])
    (made,) = make_windows(tmp_path, WINDOW, PARAMS)
    assert (made.rows, made.requests, made.unanswered, made.failed_items) == (3, 3, 1, 1)
    assert {row["model_revision"] for row in rows(tmp_path)} == {"m1", None}


def test_a_log_of_requests_alone_gives_inputs(tmp_path):
    log(tmp_path, [search("a")[0], search("b")[0]])
    (made,) = make_windows(tmp_path, WINDOW, PARAMS)
    assert (made.rows, made.unanswered) == (2, 0)
    assert {(row["modality"], row["embedding"]) for row in rows(tmp_path)} == {("text", None)}


def test_vectors_of_another_length_are_left_out(tmp_path):
    events = [one for number in range(5) for one in search(f"{number}", embedding=[1.0] * (2 if number else 1))]
    log(tmp_path, events)
    make_windows(tmp_path, WINDOW, PARAMS)
    assert sorted(len(row["embedding"] or []) for row in rows(tmp_path)) == [0, 2, 2, 2, 2]


def test_services_have_windows_of_their_own(tmp_path):
    other = [dataclasses.replace(one, service="shop.canary") for one in search("b")]
    log(tmp_path, [*search("a"), *other])
    assert [made.service for made in make_windows(tmp_path, WINDOW, PARAMS)] == ["moon", "shop.canary"]
    assert len(rows(tmp_path)) == len(rows(tmp_path, "shop.canary")) == 1


def test_too_many_requests_leave_a_random_part_that_does_not_depend_on_their_order(tmp_path):
    pairs = [search(f"id-{number}", NOON + timedelta(seconds=number)) for number in range(60)]
    params = dataclasses.replace(PARAMS, max_rows=20)
    taken = []
    for name, order in (("a", pairs), ("b", pairs[::-1])):
        log(tmp_path / name, [one for pair in order for one in pair])
        (made,) = make_windows(tmp_path / name, WINDOW, params)
        assert (made.rows, made.requests) == (20, 60)
        taken.append({row["timestamp"] for row in rows(tmp_path / name)})
    assert taken[0] == taken[1]
    assert max(taken[0]) - min(taken[0]) > timedelta(seconds=30)


def test_windows_wait_for_their_end_and_logs_are_kept_for_their_time(tmp_path):
    log(tmp_path, [*search("a"), *search("b", NOON + HOUR)])
    end = NOON.replace(minute=0) + HOUR
    grace = timedelta(seconds=PARAMS.grace_seconds)
    assert complete_windows(tmp_path, PARAMS, end + grace - timedelta(seconds=1)) == []
    assert complete_windows(tmp_path, PARAMS, end + grace) == [WINDOW]
    assert remove_old_logs(tmp_path, PARAMS, end + timedelta(hours=PARAMS.keep_hours)) == [WINDOW]
    assert segments.logged_windows(tmp_path) == [NEXT]
