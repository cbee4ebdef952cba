from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from moon.training.logbook import logbook, read_log


def row(step: int) -> dict[str, float]:
    return {"step": float(step), "loss": 1 / step, "seconds": 0.5}


def test_rows_after_the_resumed_step_and_cut_lines_are_dropped(tmp_path: Path) -> None:
    history: list[dict[str, float]] = []
    with logbook(tmp_path, history, steps=4) as record:
        for step in (1, 2, 3):
            record(row(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4.0, "lo')
    kept = read_log(tmp_path, up_to=2)
    assert kept == [row(1), row(2)] and history == [row(1), row(2), row(3)]
    with logbook(tmp_path, kept, steps=4) as record:
        record(row(3))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_mlflow_gets_parameters_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    with logbook(tmp_path, [], steps=2, mlflow_uri=uri, recipe={"batch_size": "4"}) as record:
        record(row(1))
        record(row(2))
    mlflow.set_tracking_uri(uri)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.params == {"batch_size": "4"} and run.data.metrics["loss"] == 0.5
    assert run.info.status == "FINISHED"


class Controller(BaseHTTPRequestHandler):
    """The status endpoint of Kubeflow Trainer."""

    received: list[tuple[str, dict[str, object]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.headers["authorization"], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[HTTPServer]:
    Controller.received = []
    server = HTTPServer(("127.0.0.1", 0), Controller)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_progress_goes_to_the_trainjob(tmp_path: Path, controller: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", f"http://127.0.0.1:{controller.server_port}/status")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
    with logbook(tmp_path, [], steps=8) as record:
        record(row(2))
    ((authorization, body),) = Controller.received
    status = body["trainerStatus"]
    assert authorization == "Bearer secret"
    assert isinstance(status, dict)
    assert status["progressPercentage"] == 25 and status["estimatedRemainingSeconds"] == 3
    assert {"name": "loss", "value": "0.5"} in status["metrics"]
