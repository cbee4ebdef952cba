from __future__ import annotations

import json
import shutil
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import httpx
import numpy as np
import pytest

from moon.catalog.schema import PRODUCTS
from moon.catalog.store import Catalog, write_table
from moon.cluster.deployment import DeploymentError, LocalDeployment
from moon.config import RegionsParams, ServingParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.steps import deploy, outcome
from moon.steps.deploy import DeployResult


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("deploy")
    yield folder
    deploy.stop(folder)


@pytest.fixture(scope="module")
def deployed(tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, out: Path) -> DeployResult:
    return deploy.run(
        model=tiny_model,
        catalog=tiny_catalog,
        regions=tiny_regions,
        params=ServingParams(),
        regions_params=RegionsParams(),
        out=out,
    )


def test_the_answers_are_those_of_the_offline_model(
    deployed: DeployResult, tiny_model: Path, tiny_catalog: Path, tiny_regions: Path
) -> None:
    embedder, source = Embedder.load(tiny_model), ItemSource(tiny_catalog, tiny_regions)
    ids = sorted(source.products)
    vectors = embedder.embed([source.product(product_id) for product_id in ids])
    rows = {row["query_id"]: row for row in Catalog.open(tiny_catalog).rows("interactions")}
    assert list(deployed.answers) == ["text", "image", "both"]
    for kind, answer in deployed.answers.items():
        row = rows[answer["query_id"]]
        assert (bool(row["query_text"]), bool(row["query_image_id"])) == (kind != "image", kind != "text")
        assert row["split"] == "test"
        assert answer["bought_product_id"] == row["product_id"]
        assert (answer["region"] is None) == (kind == "text")
        scores = vectors @ embedder.embed([source.query(row)])[0]
        top = [one["score"] for one in answer["top5"]]
        np.testing.assert_allclose(top, np.sort(scores)[::-1][:5], atol=1e-5)
        by_id = dict(zip(ids, scores, strict=True))
        np.testing.assert_allclose(top, [by_id[one["product_id"]] for one in answer["top5"]], atol=1e-5)
        assert [one["title"] for one in answer["top5"]] == [
            source.products[one["product_id"]]["title"] for one in answer["top5"]
        ]
        assert answer["latency_ms"].keys() == {"openai", "oip_rest", "oip_grpc", "search"}
        assert answer["protocol_difference"] <= 1e-4
    assert (deployed.products, deployed.model_revision) == (len(ids), embedder.revision)


def test_the_server_stays_and_the_result_tells_where(deployed: DeployResult, out: Path) -> None:
    assert outcome.read(out) == json.loads(json.dumps(asdict(deployed)))
    assert LocalDeployment(out / deploy.SERVER).pid == deployed.pid
    with urllib.request.urlopen(f"{deployed.url}/v2/models/moon/ready", timeout=10) as answer:
        assert json.load(answer)["ready"] is True


def ask(url: str, stop: threading.Event) -> list[tuple[int, str, int]]:
    """Searches until told to stop: status, index and number of products of each answer."""
    answers = []
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        while not stop.is_set():
            answer = http.post("/search", json={"text": "mug", "k": 100})
            body = answer.json()
            answers.append((answer.status_code, body["index_revision"], len(body["products"])))
    return answers


def test_a_running_server_takes_a_new_index_and_loses_no_request(
    deployed: DeployResult, tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, out: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(tiny_catalog, catalog)
    rows = Catalog.open(catalog).table("products").to_pylist()
    write_table(catalog / "products", PRODUCTS, rows[:-5])
    folders = {"model": tiny_model, "catalog": catalog, "regions": tiny_regions, "out": out}
    stop = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, deployed.url, stop) for _ in range(3)]
        try:
            swapped = deploy.swap(params=ServingParams(), regions_params=RegionsParams(), **folders)
        finally:
            stop.set()
    answers = [answer for one in asking for answer in one.result()]
    assert set(answers) == {
        (200, deployed.index_revision, len(rows)),
        (200, swapped.index_revision, len(rows) - 5),
    }
    assert LocalDeployment(out / deploy.SERVER).pid == deployed.pid
    known = outcome.read(out)
    assert (known["products"], known["index_revision"]) == (swapped.products, swapped.index_revision)
    assert known["answers"] == json.loads(json.dumps(deployed.answers))


@pytest.mark.parametrize("what", ["no server", "another model"])
def test_a_new_index_needs_the_server_and_its_model(
    what: str,
    deployed: DeployResult,
    tiny_model: Path,
    tiny_catalog: Path,
    tiny_regions: Path,
    out: Path,
    tmp_path: Path,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "tokenizer_config.json").write_text((model / "tokenizer_config.json").read_text() + " ")
    place, reason = (tmp_path, "no server runs in") if what == "no server" else (out, "runs model .* run 'moon deploy'")
    with pytest.raises(ValueError, match=reason):
        deploy.swap(
            model=model,
            catalog=tiny_catalog,
            regions=tiny_regions,
            params=ServingParams(),
            regions_params=RegionsParams(),
            out=place,
        )


def test_stop_ends_it_and_may_be_repeated(deployed: DeployResult, out: Path) -> None:
    assert deploy.stop(out)
    assert not Path(f"/proc/{deployed.pid}").exists()
    assert not deploy.stop(out)


IMPOSTOR = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        self.send_error(404, "what model")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("command", "error", "reason"),
    [
        (lambda port: ["/bin/sh", "-c", "echo out of memory >&2; exit 3"], DeploymentError, "out of memory"),
        (lambda port: [sys.executable, "-c", IMPOSTOR, port], RuntimeError, "/v1/embeddings answers 404.*what model"),
    ],
)
def test_a_server_that_fails_is_stopped_and_its_reason_shown(
    command: Callable[[str], list[str]],
    error: type[Exception],
    reason: str,
    tiny_model: Path,
    tiny_catalog: Path,
    tiny_regions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deploy, "_command", lambda *args: command(args[-1].url.rpartition(":")[2]))
    with pytest.raises(error, match=f"(?s){reason}"):
        deploy.run(
            model=tiny_model,
            catalog=tiny_catalog,
            regions=tiny_regions,
            params=ServingParams(),
            regions_params=RegionsParams(),
            out=tmp_path,
        )
    assert LocalDeployment(tmp_path / deploy.SERVER).pid is None
    assert not (tmp_path / "metrics.json").exists()
