"""The collector as a process of its own: what it answered 200 to is there after it was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from moon.config import CollectorParams
from moon.monitoring import segments
from moon.monitoring.collector_app import make_app
from moon.monitoring.events import REQUEST
from tests.monitoring.logging_agent import event, headers, search

SECONDS = 60


def post(client: httpx.Client, one, **changes):
    return client.post("/", content=one.data, headers=headers(one, **changes))


@pytest.fixture
def client(tmp_path) -> Iterator[TestClient]:
    params = CollectorParams(max_body_bytes=2000, fsync_seconds=0.05)
    with TestClient(make_app(tmp_path, params)) as made:
        yield made


def test_answers_tell_whether_to_send_again(client, tmp_path):
    request, response = search("a")
    answers = [post(client, one) for one in (request, response, request, event("b", REQUEST, b"x"))]
    assert [one.status_code for one in answers] == [200] * 4
    assert [one.json()["outcome"] for one in answers] == ["accepted", "accepted", "duplicate", "unreadable"]
    assert post(client, request, **{"ce-type": "other"}).status_code == 400
    assert post(client, event("c", REQUEST, b"x" * 2001)).status_code == 413
    assert client.get("/healthz").json() == {"status": "alive"}
    assert sum(1 for window in segments.logged_windows(tmp_path) for _ in segments.read(tmp_path, window)) == 2


def test_a_full_collector_says_come_again(tmp_path):
    with TestClient(make_app(tmp_path, CollectorParams(max_pending_events=1, fsync_seconds=0.05))) as client:
        room = client.app.state.collector.room
        with room.hold(10):
            refused = post(client, search("a")[0])
        assert refused.status_code == 429 and refused.headers["Retry-After"] == "1"
        assert post(client, search("a")[0]).json() == {"outcome": "accepted"}


def test_metrics_count_by_outcome_and_reason(client):
    def value(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    accepted = {"service": "counted", "kind": "request", "outcome": "accepted"}
    one = event("m", REQUEST, {"text": "mug"}, service="counted")
    bad = value("moon_collector_refused_total", reason="bad_event")
    post(client, one)
    client.post("/", content=b"?")
    assert value("moon_collector_events_total", **accepted) == 1
    assert value("moon_collector_refused_total", reason="bad_event") == bad + 1
    assert abs(value("moon_collector_last_event_timestamp_seconds", service="counted") - time.time()) < SECONDS
    assert value("moon_collector_pending_events") == 0


def start(root: Path) -> tuple[subprocess.Popen, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moon.cli", "collect", "--root", str(root), "--set", f"collector.port={port}"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    url, ending = f"http://127.0.0.1:{port}", time.monotonic() + SECONDS
    while time.monotonic() < ending and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz", trust_env=False)
            return process, url
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the collector did not start")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_accepted_survives_the_end_of_the_process(tmp_path, ending):
    process, url = start(tmp_path)
    accepted: list[str] = []

    def send(sender: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as client:
            for number in range(100_000):
                one = search(f"{sender}-{number}")[0]
                try:
                    if post(client, one).status_code != 200:
                        return
                except httpx.HTTPError:
                    return
                accepted.append(one.id)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for sender in senders:
        sender.start()
    limit = time.monotonic() + SECONDS
    while len(accepted) < 100 and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(ending)
    process.wait(SECONDS)
    for sender in senders:
        sender.join(SECONDS)
    found = [record["id"] for window in segments.logged_windows(tmp_path) for record in segments.read(tmp_path, window)]
    assert len(accepted) >= 100 and set(accepted) <= set(found) and len(found) == len(set(found))
