"""Replay against a small HTTP server that speaks the real one's `/search` and embeds by mean colour."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moon.catalog import schema
from moon.catalog.store import write_table
from moon.config import DriftParams
from moon.monitoring.windows import MODALITIES, read_window
from moon.steps import replay

COLOURS = ("red", "lime", "blue", "yellow")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """40 pictures of four products in four categories, bought by text, photo or both."""
    root = tmp_path_factory.mktemp("catalog")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in schema.CATALOG_TABLES}
    for number, colour in enumerate(COLOURS):
        rows["products"].append(
            {"product_id": f"p{number}", "title": colour, "category_path": ["all", colour], "split": "test"}
        )
    for number in range(40):
        colour = COLOURS[number % 4]
        buffer = BytesIO()
        Image.effect_noise((48, 40 + number), 60).convert("RGB").save(buffer, "JPEG")
        photo = Image.blend(Image.open(BytesIO(buffer.getvalue())), Image.new("RGB", (48, 40 + number), colour), 0.4)
        photo.save(buffer := BytesIO(), "JPEG")
        rows["images"].append({"image_id": f"i{number}", "image": {"bytes": buffer.getvalue(), "path": None}})
        rows["interactions"].append(
            {
                "query_id": f"q{number}",
                "query_text": None if number % 3 == 0 else f"a {colour} thing",
                "query_image_id": None if number % 3 == 1 else f"i{number}",
                "product_id": f"p{number % 4}",
                "split": "train" if number < 8 else "test",
            }
        )
    for name, table in schema.CATALOG_TABLES.items():
        write_table(root / name, table, rows[name])
    return root


class Search(BaseHTTPRequestHandler):
    """Answers every request, or refuses those whose text the server's ``refused`` holds."""

    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.refused(body):
            self._answer(400, {"error": "text: refused"})
            return
        vector = [0.0, 0.0, 0.0, 1.0]
        if "image" in body:
            photo = Image.open(BytesIO(base64.b64decode(body["image"]))).convert("RGB")
            vector[:3] = (np.asarray(photo).reshape(-1, 3).mean(axis=0) / 255).tolist()
        best = {"id": "p0", "title": "red", "category_path": ["all", "red"], "score": 0.5}
        self._answer(200, {"products": [best], "embedding": vector, "model_revision": "m1"})

    def _answer(self, status: int, tree: dict[str, Any]) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(deployment: Path, refused: Any = lambda body: False) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    server.bodies, server.refused = [], refused
    deployment.mkdir(parents=True)
    (deployment / "metrics.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_windows_record_what_was_sent_and_answered(catalog, tmp_path):
    with serving(tmp_path / "deploy") as server:
        result = replay.run(
            deployment=tmp_path / "deploy", catalog=catalog, params=DriftParams(window=60), out=tmp_path / "out"
        )
    assert result.windows == {"reference": 60, "steady": 60, "shifted": 60}
    assert (result.errors, result.model_revision, len(server.bodies)) == (0, "m1", 180)
    assert 0 < result.p50_ms <= result.p95_ms
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["windows"] == result.windows
    tables = {name: read_window(tmp_path / "out" / "windows" / f"{name}.parquet") for name in result.windows}
    reference = tables["reference"]
    assert set(reference["modality"].to_pylist()) == set(MODALITIES)
    for row in reference.to_pylist():
        assert (row["text_length"] is None) == (row["modality"] == "image")
        assert (row["brightness"] is None) == (row["modality"] == "text")
        if row["modality"] != "text":  # the photo behind the numbers is the photo behind the embedding
            assert row["brightness"] == pytest.approx(np.dot(row["embedding"][:3], [0.299, 0.587, 0.114]), abs=0.03)
    assert not reference["embedding"].equals(tables["steady"]["embedding"])
    mean = {name: np.nanmean(table["brightness"].to_numpy()) for name, table in tables.items()}
    assert mean["shifted"] < 0.7 * mean["steady"]


def test_only_held_out_queries_are_sent_and_a_seed_repeats_them(catalog, tmp_path):
    sent = []
    for attempt in ("a", "b"):
        with serving(tmp_path / attempt) as server:
            replay.run(
                deployment=tmp_path / attempt, catalog=catalog, params=DriftParams(window=40), out=tmp_path / "o"
            )
        sent.append(sorted(json.dumps(body, sort_keys=True) for body in server.bodies))
    assert sent[0] == sent[1]
    heights = [Image.open(BytesIO(base64.b64decode(body["image"]))).height for body in server.bodies if "image" in body]
    assert min(heights) >= 48  # the pictures of the training rows are 40 to 47 high


def test_new_categories_sends_few_of_them(catalog, tmp_path):
    with serving(tmp_path / "deploy") as server:
        params = DriftParams(window=40, shift="new-categories")
        replay.run(deployment=tmp_path / "deploy", catalog=catalog, params=params, out=tmp_path / "out")
    texts = [{body["text"] for body in server.bodies[start : start + 40] if "text" in body} for start in (0, 80)]
    assert len(texts[0]) == 4 and len(texts[1]) == 1


def test_refused_requests_are_counted_by_reason(catalog, tmp_path):
    with serving(tmp_path / "deploy", refused=lambda body: "blue" in body.get("text", "")) as server:
        result = replay.run(
            deployment=tmp_path / "deploy", catalog=catalog, params=DriftParams(window=40), out=tmp_path / "out"
        )
    refused = sum("blue" in body.get("text", "") for body in server.bodies)
    assert result.errors == refused > 0
    assert result.error_reasons == {'HTTP 400: {"error": "text: refused"}': refused}
    assert sum(result.windows.values()) == 120 - refused


def test_a_server_that_answers_nothing_is_given_up_with_its_reason(catalog, tmp_path):
    arguments = {"catalog": catalog, "params": DriftParams(window=300), "out": tmp_path / "out"}
    with (
        serving(tmp_path / "deploy", refused=lambda body: True) as server,
        pytest.raises(ValueError, match="none of 20 requests; 20 times: HTTP 400.*refused"),
    ):
        replay.run(deployment=tmp_path / "deploy", **arguments)
    assert len(server.bodies) < 60
    with pytest.raises(ValueError, match="ConnectError"):
        replay.run(deployment=tmp_path / "deploy", **arguments)


def test_an_unknown_shift_or_no_deployment_is_refused(catalog, tmp_path):
    arguments = {"deployment": tmp_path, "catalog": catalog, "out": tmp_path / "out"}
    with pytest.raises(ValueError, match="dark-photos, new-categories, got 'sepia'"):
        replay.run(params=DriftParams(shift="sepia"), **arguments)
    with pytest.raises(ValueError, match="no metrics.json"):
        replay.run(params=DriftParams(), **arguments)
