from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
Load = Callable[[str], ModuleType]


def rows(serving: ModuleType, kind: str, server: str, *turns: tuple[float, float]) -> list[Any]:
    return [
        serving.Row(kind=kind, clients=32, server=server, requests_per_second=rate, p50_ms=1.0, p99_ms=p99, cpu_ms=2.0)
        for rate, p99 in turns
    ]


def test_no_request_is_sent_twice_and_every_photo_can_be_decoded(load: Load) -> None:
    inputs = load("_serving_inputs").Inputs(3, photos=2)
    photos = [inputs.photo() for _ in range(6)]
    texts = [inputs.text(kind) for kind in ("short text", "long text") for _ in range(4)]
    assert len({*photos, *texts}) == 14
    for photo in photos:
        Image.open(io.BytesIO(base64.b64decode(photo, validate=True))).load()
    assert [inputs.again(5).photo(), inputs.again(5).text("short text")] == [
        inputs.again(5).photo(),
        inputs.again(5).text("short text"),
    ]
    assert len({inputs.again(seed).photo() for seed in range(20)}) == 20
    assert orjson.loads(inputs.oip("photo"))["inputs"][0]["name"] == "image"


def test_ratios_are_medians_over_the_rounds(load: Load) -> None:
    serving = load("serving")
    rounds = {
        ("photo", 32, serving.OURS): rows(serving, "photo", serving.OURS, (100, 10), (80, 10), (60, 30)),
        ("photo", 32, serving.QUEUE): rows(serving, "photo", serving.QUEUE, (50, 20), (10, 40), (20, 15)),
    }
    found = serving.against(rounds, "photo", 32, serving.QUEUE)
    assert found == {"requests": 3.0, "p50": 1.0, "p99": 0.5, "cpu": 1.0}


def test_growth_compares_the_ends_of_what_follows_the_warm_up(load: Load) -> None:
    soak = load("soak")
    memory = [(float(second), 500.0 if second < 10 else 100.0 + second) for second in range(60)]
    start, end = soak.growth(memory, 10.0)
    assert (start, end) == (114.5, 154.5)
    with pytest.raises(SystemExit, match="too few"):
        soak.growth(memory[:12], 10.0)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)


@pytest.mark.bench
@pytest.mark.slow
def test_a_short_soak_finds_nothing_wrong() -> None:
    done = run("soak.py", "--seconds", "10", "--clients", "4", "--photos", "2", "--growth-mb", "200")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["server_errors"] == line["faults"] == 0
    assert line["requests"] > 10
    assert next(iter(line)) == "ratio"


def test_a_soak_reports_server_errors_and_a_server_that_is_not_well(load: Load, tmp_path: Path) -> None:
    """Python's file server says 501 to every POST and 404 to what it does not have."""
    soak, load_module, requests = load("soak"), load("_serving_load"), load("_soak_requests")
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
    with load_module.Served(command, "/", "/", tmp_path / "log") as served:
        served.wait_ready(60)
        inputs = load("_serving_inputs").Inputs(0, photos=1)
        work = soak.Soak(served, requests.Requests(inputs, 0, False), 0, 10.0)
        asyncio.run(work.run(2, 1.5))
    faults = "\n".join(work.faults)
    assert ": 501 " in faults
    assert "/v2/health/live says 404" in faults
    assert work.memory and all(mib > 0 for _, mib in work.memory)


def test_a_server_that_ends_at_once_says_its_last_words(load: Load, tmp_path: Path) -> None:
    load_module = load("_serving_load")
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    served = load_module.Served(command, "/", "/", tmp_path / "log")
    with served, pytest.raises(RuntimeError, match="no such model"):
        served.wait_ready(60)
    assert served.stop() == 1


@pytest.mark.bench
@pytest.mark.slow
def test_the_servers_agree_and_the_line_holds_what_it_should() -> None:
    done = run("serving.py", "--seconds", "0.3", "--rounds", "1", "--clients", "1", "2", "--photos", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert next(iter(line)) == "ratio"
    assert max(line["differences"].values()) < 1e-5
    assert line["ratio"] == min(one["requests"] for one in line["against_plain"].values())
    assert line["p99_ratio"] == max(one["p99"] for one in line["against_plain"].values())
    assert {row["server"] for row in line["rows"]} == {"moon", "plain, queue", "plain, threads"}
