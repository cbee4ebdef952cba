from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moon.config import RegionsParams, ServingParams
from moon.model import Embedder
from moon.model.processing import Encoded
from moon.serving.batcher import Batcher, Vectors
from moon.serving.client import Client
from moon.serving.engine import Engine
from moon.serving.errors import Overloaded
from moon.serving.query import Query
from tests.serving.running import Server, b64


def one(length: int) -> Encoded:
    return Encoded((1,) * length, (3,) * length, ())


def lengths(items: Sequence[Encoded]) -> Vectors:
    return np.array([[len(item)] for item in items], np.float32)


def test_mixed_requests_at_once_equal_the_offline_embeddings(server: Server) -> None:
    rows = server.rows(15)

    def ask(place: int) -> np.ndarray:
        query = server.query(rows[place])
        with Client(server.endpoint.url, server.endpoint.grpc_url, "moon") as client:
            ways = (client.embed_openai, client.embed_oip, client.embed_grpc)
            return np.asarray(ways[place % 3](query).value)

    before = _batches(server)
    with ThreadPoolExecutor(8) as pool:
        bad = [pool.submit(server.http.post, "/v1/embeddings", content=b"{") for _ in range(5)]
        online = np.stack(list(pool.map(ask, range(len(rows)))))
    np.testing.assert_allclose(online, server.offline(rows), atol=1e-5)
    assert {answer.result().status_code for answer in bad} == {400}
    items, batches = np.subtract(_batches(server), before)
    assert items == len(rows)
    assert batches <= items


def _batches(server: Server) -> tuple[float, float]:
    lines = dict(line.rsplit(" ", 1) for line in server.http.get("/metrics").text.splitlines() if line[0] != "#")
    return float(lines["moon_batch_items_sum"]), float(lines["moon_batch_items_count"])


def test_jobs_that_wait_share_a_forward_pass() -> None:
    entered, gate, sizes = threading.Event(), threading.Event(), []

    def forward(items: Sequence[Encoded]) -> Vectors:
        entered.set()
        gate.wait(10)
        sizes.append(len(items))
        return lengths(items)

    batcher = Batcher(forward, max_items=4, delay=0.0, expected=lambda: 0)
    futures = [batcher.submit([one(1)] * 2)]
    entered.wait(10)
    futures += [batcher.submit([one(n)] * 2) for n in range(2, 6)]
    gate.set()
    for n, future in enumerate(futures, 1):
        np.testing.assert_array_equal(future.result(10), [[n], [n]])
    batcher.close()
    assert sizes == [2, 4, 4]
    assert not batcher.alive


def test_a_batch_waits_for_what_is_on_its_way() -> None:
    sizes: list[int] = []

    def forward(items: Sequence[Encoded]) -> Vectors:
        sizes.append(len(items))
        return lengths(items)

    batcher = Batcher(forward, max_items=8, delay=30.0, expected=lambda: 2)
    futures = [batcher.submit([one(n)]) for n in (1, 2)]
    assert [future.result(10)[0, 0] for future in futures] == [1, 2]
    batcher.close()
    assert sizes == [2]


def test_one_poisonous_item_fails_only_its_own_request() -> None:
    gate = threading.Event()

    def forward(items: Sequence[Encoded]) -> Vectors:
        gate.wait(10)
        if any(len(item) == 13 for item in items):
            raise RuntimeError("poison")
        return lengths(items)

    batcher = Batcher(forward, max_items=8, delay=0.0, expected=lambda: 0)
    first = batcher.submit([one(1)])
    futures = [batcher.submit([one(n)]) for n in (2, 13, 3)]
    gate.set()
    assert [first.result(10)[0, 0], futures[0].result(10)[0, 0], futures[2].result(10)[0, 0]] == [1, 2, 3]
    with pytest.raises(RuntimeError, match="poison"):
        futures[1].result(10)
    batcher.close()


def test_a_cancelled_job_is_not_computed() -> None:
    gate, seen = threading.Event(), []

    def forward(items: Sequence[Encoded]) -> Vectors:
        gate.wait(10)
        seen.extend(len(item) for item in items)
        return lengths(items)

    batcher = Batcher(forward, max_items=1, delay=0.0, expected=lambda: 0)
    kept, left = batcher.submit([one(1)]), batcher.submit([one(2)])
    last = batcher.submit([one(3)])
    assert left.cancel()
    gate.set()
    kept.result(10), last.result(10)
    batcher.close()
    assert seen == [1, 3]


def test_a_full_server_refuses_and_recovers(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder.load(tiny_model)
    compute, gate = embedder.embed_encoded, threading.Event()
    monkeypatch.setattr(embedder, "embed_encoded", lambda items: (gate.wait(10), compute(items))[1])
    engine = Engine(embedder, ServingParams(max_pending_items=4), RegionsParams())

    async def overload() -> None:
        running = asyncio.create_task(engine.embed([Query("mug")] * 3, "test"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await engine.embed([Query("lamp")] * 2, "test")
        assert "3 items are waiting" in refused.value.details
        gate.set()
        assert (await running).vectors.shape == (3, engine.dim)
        assert (await engine.embed([Query("lamp")] * 4, "test")).vectors.shape == (4, engine.dim)

    asyncio.run(overload())
    engine.close()


def test_the_batch_a_query_falls_in_does_not_change_it(server: Server) -> None:
    photo = b64(server.photo())
    items = [{"image": photo}, {"text": "x " * 100}, {"text": "a", "image": photo}]
    together = server.http.post("/v1/embeddings", json={"input": items}).json()["data"]
    for item, row in zip(items, together, strict=True):
        alone = server.http.post("/v1/embeddings", json={"input": [item]}).json()["data"][0]
        np.testing.assert_allclose(row["embedding"], alone["embedding"], atol=1e-5)
