from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moon.cluster.deployment import DeploymentError, Endpoint, LocalDeployment, free_ports

SERVER = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v2/health/ready" else 404)
        self.end_headers()
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def endpoint() -> Endpoint:
    http, grpc = free_ports("127.0.0.1", 2)
    return Endpoint(url=f"http://127.0.0.1:{http}", grpc_url=f"127.0.0.1:{grpc}")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[LocalDeployment]:
    one = LocalDeployment(tmp_path)
    yield one
    one.stop(seconds=0.1)


def command(endpoint: Endpoint, *more: str) -> list[str]:
    return [sys.executable, "-c", SERVER, endpoint.url.rpartition(":")[2], *more]


def test_it_starts_answers_and_stops(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    pid = deployment.start(command(endpoint), endpoint, os.environ)
    assert deployment.wait_ready(30) < 30
    assert (deployment.pid, deployment.endpoint()) == (pid, endpoint)
    assert os.getsid(pid) == pid != os.getsid(0)
    with pytest.raises(DeploymentError, match="stop it first"):
        deployment.start(command(endpoint), endpoint, os.environ)
    assert deployment.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert "listening" in deployment.log.read_text()
    assert deployment.endpoint() is None
    assert not deployment.stop()


def test_what_ended_by_itself_is_revived_and_what_was_stopped_is_not(
    deployment: LocalDeployment, endpoint: Endpoint
) -> None:
    assert not deployment.revive(os.environ)
    first = deployment.start(command(endpoint), endpoint, os.environ)
    deployment.wait_ready(30)
    assert not deployment.revive(os.environ)
    os.kill(first, signal.SIGKILL)
    while deployment.pid is not None:
        time.sleep(0.01)
    assert deployment.revive(os.environ)
    deployment.wait_ready(30)
    assert deployment.pid not in (None, first) and deployment.endpoint() == endpoint
    deployment.stop()
    assert not deployment.revive(os.environ)


def test_it_outlives_its_starter_and_another_process_stops_it(
    tmp_path: Path, deployment: LocalDeployment, endpoint: Endpoint
) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from moon.cluster.deployment import Endpoint, LocalDeployment\n"
        "endpoint = Endpoint(url=sys.argv[2], grpc_url=sys.argv[3])\n"
        "LocalDeployment(pathlib.Path(sys.argv[1])).start(sys.argv[4:], endpoint, os.environ)"
    )
    starter = [sys.executable, "-c", code, str(tmp_path), endpoint.url, endpoint.grpc_url, *command(endpoint)]
    subprocess.run(starter, check=True, timeout=60)
    deployment.wait_ready(30)
    pid = deployment.pid
    assert deployment.stop()
    assert pid is not None and deployment.pid is None


def test_a_server_that_ignores_sigterm_is_killed(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    deployment.start(command(endpoint, "stubborn"), endpoint, os.environ)
    deployment.wait_ready(30)
    assert deployment.stop(seconds=0.3)
    assert deployment.pid is None


def test_a_failing_start_shows_the_last_words(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    code = "import sys\nfor n in range(100): print('line', n)\nsys.exit('no such checkpoint')"
    deployment.start([sys.executable, "-c", code], endpoint, os.environ)
    begun = time.monotonic()
    with pytest.raises(DeploymentError, match="ended before it was ready") as failed:
        deployment.wait_ready(60)
    assert time.monotonic() - begun < 50
    assert str(failed.value).endswith("no such checkpoint")
    assert "line 99" in str(failed.value) and "line 50" not in str(failed.value)


def test_a_server_that_never_answers_is_given_up(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    deployment.start([sys.executable, "-c", "import time; time.sleep(60)"], endpoint, os.environ)
    with pytest.raises(DeploymentError, match=r"not ready after 0 s(.|\n)*the log is empty"):
        deployment.wait_ready(0.3)


def test_a_missing_program_is_named(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    with pytest.raises(DeploymentError, match="/no/such/program"):
        deployment.start(["/no/such/program"], endpoint, os.environ)


def test_another_process_with_the_old_id_is_left_alone(tmp_path: Path, deployment: LocalDeployment) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state = {"pid": bystander.pid, "started": 1, "url": "http://x", "grpc_url": "x", "command": ["x"]}
        (tmp_path / "server.json").write_text(json.dumps(state))
        assert deployment.pid is None
        assert not deployment.stop()
        assert not (tmp_path / "server.json").exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_died_is_not_running(deployment: LocalDeployment, endpoint: Endpoint) -> None:
    pid = deployment.start(command(endpoint), endpoint, os.environ)
    deployment.wait_ready(30)
    os.kill(pid, 9)
    until = time.monotonic() + 10
    while deployment.pid is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not deployment.stop()


def test_free_ports_differ() -> None:
    assert len(set(free_ports("127.0.0.1", 20))) == 20
