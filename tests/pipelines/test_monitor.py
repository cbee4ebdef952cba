"""The pipeline ``moon-monitor`` in KFP's local runner: traffic that drifted starts one training, and only one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from moon.cluster.kfp_client import PipelineService
from moon.config import CollectorParams, DriftParams
from moon.steps import collect, probe, windows
from pipelines import local
from pipelines.compile import COMPILED
from pipelines.monitor import moon_monitor
from tests.cluster.fake_kfp import FakeKfp, serving
from tests.monitoring.logging_agent import NOON, search, stored

RECIPE = "drift: {permutations: 99, min_rows: 20, evidently_rows: 30, probes: 6}"
START = NOON - timedelta(days=30)
COLLECTOR = CollectorParams(fsync_seconds=0.05, keep_hours=10**6)


class Search(BaseHTTPRequestHandler):
    """Answers every search with the same product, which is never the right one."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"embedding": [1.0] * 6, "model_revision": "m1", "index_revision": "i1", "products": [{"id": "none"}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path: Path, url: str, tiny_catalog: Path) -> Path:
    """Two hours of traffic, the first the reference; in the second the embeddings have moved."""
    place, bucket = tmp_path / "traffic", tmp_path / "bucket"
    bucket.mkdir()
    rng = np.random.default_rng(0)
    for hour in range(2):
        vectors = rng.normal(size=(60, 6)) + 2.0 * hour
        pairs = [search(f"{hour}-{n}", text="mug", embedding=vector.tolist()) for n, vector in enumerate(vectors)]
        path = bucket / f"{hour}-request.json"
        path.write_text(json.dumps([stored(one) for pair in pairs for one in pair]))
        stamp = (START + timedelta(hours=hour)).timestamp()
        os.utime(path, (stamp, stamp))
    collect.ingest(store=str(bucket), root=place, params=COLLECTOR, out=tmp_path / "ingest")
    made = windows.run(root=place, params=COLLECTOR, out=tmp_path / "windows", now=START + timedelta(hours=3)).windows
    probe.run(url=url, catalog=tiny_catalog, params=DriftParams(probes=6), out=tmp_path / "probe")
    windows.accept(root=place, service="moon", window=made[0].window, probe=tmp_path / "probe" / probe.PROBE)
    return place


@pytest.mark.slow
def test_drifted_traffic_starts_one_training(root: Path, url: str, tiny_catalog: Path, tmp_path: Path) -> None:
    fake = FakeKfp()
    with serving(fake) as host:
        PipelineService(host).upload(COMPILED / "moon-train.yaml")
        arguments = {"service": "moon", "url": url, "data": str(tiny_catalog), "root": str(root), "host": host}
        arguments |= {"arguments": {"data": "/mnt/moon/data"}, "recipe": RECIPE}
        for number in range(2):
            log = tmp_path / f"{number}.log"
            ran = local.run(moon_monitor, arguments, tmp_path / "kfp", log, lambda *_: None)
            assert [task.name for task in ran if not task.failed][-1] == "retrain"
    (run,) = fake.rows["runs"]
    assert run["display_name"].startswith("drift-moon-")
    assert run["runtime_config"]["parameters"] == {"data": "/mnt/moon/data"}
