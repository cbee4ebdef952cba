from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from moon.cluster.deployment import free_ports
from moon.serving.server import main
from tests.serving.running import b64, command, stop, wait_ready
from tests.serving.test_decoding import jpeg

EMBED = "/v1/embeddings"


class Running(NamedTuple):
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30)


@pytest.fixture
def running(artefact_dir: Path, tiny_model: Path, tmp_path: Path) -> Iterator[Running]:
    """A server of the test's own."""
    ports, log = free_ports("127.0.0.1", 2), tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command(tiny_model, artefact_dir, ports), stdout=output, stderr=output)
    one = Running(process, f"http://127.0.0.1:{ports[0]}", log)
    try:
        with one.client() as http:
            wait_ready(http, process, log)
        yield one
    finally:
        stop(process)
    assert "Traceback" not in log.read_text()


def test_sigterm_under_load_loses_no_accepted_request(running: Running) -> None:
    """Every request is answered in full, by 200 or 503, or finds the port closed before it is sent."""
    ended = threading.Event()

    def ask(client: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        while not ended.is_set():
            try:
                with running.client() as http:  # a connection each, so that none is closed while it idles
                    answer = http.post(EMBED, json={"input": [f"a red mug {client} {sum(statuses.values())}"] * 12})
            except (httpx.ConnectError, httpx.ReadError):  # reset: the server has not read a byte of it
                break
            statuses[answer.status_code] += 1
            if answer.status_code == 503:
                assert answer.headers["Retry-After"]
                assert answer.json()["error"]["code"] == "draining"
        return statuses

    with ThreadPoolExecutor(4) as pool, running.client() as http:
        clients = [pool.submit(ask, number) for number in range(4)]
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        seen = []
        while not ended.is_set():
            try:
                seen.append((http.get("/v2/health/ready").status_code, http.get("/v2/health/live").status_code))
            except httpx.TransportError:
                break
        assert running.process.wait(30) == 0
        ended.set()
        total = sum((client.result() for client in clients), Counter[int]())
    assert set(total) == {200, 503}
    assert (503, 200) in seen, "not ready, but alive, while it drains"
    assert [ready for ready, _ in seen] == sorted(ready for ready, _ in seen), "readiness does not come back"


def test_killed_processes_lose_no_photo_and_end_with_a_killed_server(running: Running) -> None:
    process = psutil.Process(running.process.pid)
    workers = process.children()
    assert sorted(one.cmdline()[3].rpartition(".")[2] for one in workers) == [*2 * ["decode_worker"], "model_worker"]
    photos = [b64(jpeg(100 + number, 80)) for number in range(24)]
    with running.client() as http, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(http.post, EMBED, json={"input": {"image": photo}}) for photo in photos]
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        assert {answer.result().status_code for answer in answers} == {200}
        lines = http.get("/metrics").text.splitlines()
        assert {"moon_decode_restarts_total 2.0", "moon_model_restarts_total 1.0"} <= set(lines)
        assert http.get("/v2/health/live").status_code == 200
    workers = process.children()
    assert len(workers) == 3
    running.process.kill()
    running.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


@pytest.mark.parametrize("fault", ["no model", "other index"])
def test_a_server_that_cannot_start_says_why_in_one_line(
    fault: str,
    artefact_dir: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, folder = tiny_model, tmp_path / "artefact"
    shutil.copytree(artefact_dir, folder)
    if fault == "no model":
        model, reason = tmp_path / "nothing", f"{tmp_path / 'nothing'} is not a model folder"
    else:
        settings = json.loads((folder / "server.json").read_text())
        (folder / "server.json").write_text(json.dumps({**settings, "model_revision": "another"}))
        reason = "made with model another"
    monkeypatch.setattr(sys, "argv", command(model, folder, [0, 0])[2:])
    assert main() == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("cannot start: ") and reason in line
    assert "\n" not in line
