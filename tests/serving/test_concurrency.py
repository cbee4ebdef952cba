from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from moon.serving.client import Client
from tests.serving.running import Server, b64
from tests.serving.test_decoding import jpeg


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


def test_a_late_request_is_refused_and_frees_its_place(server: Server) -> None:
    """No photo is decoded in a millisecond."""
    body = {"input": [{"image": b64(jpeg(200 + number, 150))} for number in range(8)]}
    answer = server.http.post("/v1/embeddings", json=body, headers={"x-request-timeout-ms": "1"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline"
    assert "moon_pending_items 0.0" in server.http.get("/metrics").text.splitlines()
    answer = server.http.post("/v1/embeddings", json={"input": "mug"}, headers={"x-request-timeout-ms": "soon"})
    assert answer.status_code == 400
    assert server.http.post("/v1/embeddings", json=body, headers={"x-request-timeout-ms": "25000"}).status_code == 200


def test_the_batch_a_query_falls_in_does_not_change_it(server: Server) -> None:
    photo = b64(server.photo())
    items = [{"image": photo}, {"text": "x " * 100}, {"text": "a", "image": photo}]
    together = server.http.post("/v1/embeddings", json={"input": items}).json()["data"]
    for item, row in zip(items, together, strict=True):
        alone = server.http.post("/v1/embeddings", json={"input": [item]}).json()["data"][0]
        np.testing.assert_allclose(row["embedding"], alone["embedding"], atol=1e-5)
