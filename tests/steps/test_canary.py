"""A canary's whole way: start, too little traffic, promotion, and every reason to roll it back.

Prometheus is a small server that answers the step's own queries, so that a bad canary can be had at will; the client
is tested with a real one in `tests/cluster/test_prometheus.py`.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.cli import main
from moon.cluster.registry import LocalRegistry
from moon.config import ServingParams
from moon.steps import canary, outcome
from moon.steps.canary import CanaryResult

PARAMS = ServingParams(storage_uri="s3://bucket/moon/{version}", canary_min_items=100)


class Metrics:
    """What the servers would have reported, by predictor."""

    def __init__(self) -> None:
        self.items = {"moon-v1-predictor": 9000.0, "moon-v2-predictor": 1000.0}
        self.failures = {"moon-v1-predictor": 0.0, "moon-v2-predictor": 0.0}
        self.seconds = {"moon-v1-predictor": 0.02, "moon-v2-predictor": 0.02}
        self.url = ""

    def answer(self, query: str) -> float | None:
        [predictor] = [name for name in self.items if name in query]
        if "moon_items_total" in query:
            return self.items[predictor]
        if "moon_errors_total" in query:
            return self.failures[predictor]
        return self.seconds[predictor] if "moon_forward_seconds_sum" in query else None


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    known = Metrics()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            value = known.answer(urllib.parse.parse_qs(body)["query"][0])
            result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": {"resultType": "vector", "result": result}}).encode())

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        known.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield known
        listening.shutdown()
        thread.join()


def register(tmp_path: Path, digest: str, r10: float, data: str = "same") -> None:
    model = tmp_path / digest
    model.mkdir()
    interval = {"value": r10, "low": r10 - 0.05, "high": r10 + 0.05}
    metadata = {"lineage": {"data": data}, "retrieval": {"text->product": {"R@10": interval, "queries": 90}}}
    LocalRegistry(tmp_path / "registry").register("moon", model, digest, metadata)


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    register(tmp_path, "a", 0.6)
    register(tmp_path, "b", 0.58)
    return tmp_path


def run(folder: Path, prometheus: str = "", **changes: Any) -> tuple[CanaryResult, dict[str, Any]]:
    arguments = {"registry": folder / "registry", "stable": "v1", "canary": "v2", "params": PARAMS, **changes}
    result = canary.run(prometheus=prometheus, out=folder / "out", **arguments)
    assert outcome.read(folder / "out")["verdict"] == result.verdict
    return result, yaml.safe_load((folder / "out" / canary.MANIFEST).read_text())["spec"]


def test_without_prometheus_it_starts(versions: Path) -> None:
    result, spec = run(versions)
    assert result.verdict == "start" and spec["predictor"]["name"] == "v1"
    [entry] = spec["canary"]
    assert entry["predictor"]["model"]["storageUri"] == "s3://bucket/moon/v2"


def test_a_good_canary_is_promoted(versions: Path, metrics: Metrics) -> None:
    result, spec = run(versions, metrics.url)
    assert result.verdict == "promote", result.reasons
    assert spec["predictor"]["name"] == "v2" and "canary" not in spec
    assert spec["predictor"]["model"]["storageUri"] == "s3://bucket/moon/v2"
    assert any("R@10" in reason for reason in result.reasons)


def test_little_traffic_keeps_both(versions: Path, metrics: Metrics) -> None:
    metrics.items["moon-v2-predictor"] = 99
    result, spec = run(versions, metrics.url)
    assert result.verdict == "wait" and spec == run(versions)[1]


@pytest.mark.parametrize("what", ["failures", "seconds"])
def test_a_bad_canary_is_rolled_back(versions: Path, metrics: Metrics, what: str) -> None:
    getattr(metrics, what)["moon-v2-predictor"] = 20.0
    result, spec = run(versions, metrics.url)
    assert result.verdict == "roll back"
    assert [reason for reason in result.reasons if reason.startswith("Failed")]
    assert spec["predictor"]["name"] == "v1" and "canary" not in spec


def test_a_model_that_finds_less_is_rolled_back(versions: Path, metrics: Metrics) -> None:
    register(versions, "c", 0.4)
    metrics.items["moon-v3-predictor"], metrics.failures["moon-v3-predictor"] = 1000.0, 0.0
    metrics.seconds["moon-v3-predictor"] = 0.02
    result, _ = run(versions, metrics.url, canary="v3")
    assert result.verdict == "roll back"
    [failed] = [reason for reason in result.reasons if reason.startswith("Failed")]
    assert "text->product R@10 of 0.400" in failed


def test_measures_of_other_data_are_not_compared(versions: Path, metrics: Metrics) -> None:
    register(versions, "c", 0.1, data="other")
    metrics.items["moon-v3-predictor"], metrics.failures["moon-v3-predictor"] = 1000.0, 0.0
    metrics.seconds["moon-v3-predictor"] = 0.02
    result, _ = run(versions, metrics.url, canary="v3")
    assert result.verdict == "promote" and result.reasons[-1].startswith("Absent")


def test_mistakes_are_named(versions: Path) -> None:
    with pytest.raises(ValueError, match="no version 'v9'.*v1, v2"):
        run(versions, canary="v9")
    with pytest.raises(ValueError, match="both load s3://bucket/model"):
        run(versions, params=ServingParams(storage_uri="s3://bucket/model"))
    with pytest.raises(ValueError, match="--window soon"):
        run(versions, window="soon")


def test_the_command_tells_by_its_exit_code(
    versions: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(versions)
    command = ["canary", "--stable", "v1", "--canary", "v2", "--registry", "registry", "--out", "out"]
    command += ["--set", "serving.canary_min_items=100"]
    assert main(command) == 0
    assert main([*command, "--prometheus", metrics.url]) == 0
    metrics.items["moon-v2-predictor"] = 1
    assert main([*command, "--prometheus", metrics.url]) == 5
    metrics.failures["moon-v2-predictor"] = 500
    assert main([*command, "--prometheus", metrics.url]) == 4
    assert "roll v2 back: Failed: the canary failed 500 times" in capsys.readouterr().err
