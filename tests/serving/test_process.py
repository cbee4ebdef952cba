from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from moon.cluster.deployment import free_ports
from moon.serving.server import main
from tests.serving.running import command


def test_sigterm_answers_what_was_accepted_and_exits_with_0(
    artefact_dir: Path, tiny_model: Path, tmp_path: Path
) -> None:
    ports = free_ports("127.0.0.1", 2)
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command(tiny_model, artefact_dir, ports), stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{ports[0]}"
        with httpx.Client(trust_env=False, timeout=30, transport=httpx.HTTPTransport(retries=0)) as http:
            while not _ready(http, url):
                assert process.poll() is None, log.read_text()
            with ThreadPoolExecutor(4) as pool:
                body = {"input": ["a red mug"] * 12}
                pending = [pool.submit(http.post, f"{url}/v1/embeddings", json=body) for _ in range(4)]
                assert pending[0].result().status_code == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
                assert [answer.result().status_code for answer in pending] == [200] * 4
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def _ready(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


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
