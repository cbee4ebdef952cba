from __future__ import annotations

import asyncio
import io
import json
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest
from PIL import Image

from moon.config import RegionsParams, ServingParams
from moon.serving.artefact import Hit, ProductSearch
from moon.serving.engine import Engine
from moon.serving.errors import DeadlinePassed
from moon.serving.schemas import Filters
from moon.serving.search import find
from moon.vision.decode import decode
from moon.vision.detectors import core_region
from tests.serving.running import LIMITS, Server, b64


def search(server: Server, **body: Any) -> Any:
    answer = server.http.post("/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def infer(server: Server, body: dict[str, Any], status: int = 200) -> Any:
    answer = server.http.post("/v2/models/moon-search/infer", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if status != 200 else {one["name"]: one for one in answer.json()["outputs"]}


def tensor(name: str, data: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data}


def a_filter(server: Server) -> tuple[dict[str, Any], set[str]]:
    """A filter on category and attribute, and the products that pass it."""
    products = server.source.products
    prefix = products[server.index_ids[0]]["category_path"][:2]
    key = next(iter(products[server.index_ids[0]]["attributes"]))
    values = products[server.index_ids[0]]["attributes"][key]
    wanted = {
        name
        for name, row in products.items()
        if row["category_path"][:2] == prefix and set(values) & set(row["attributes"].get(key, []))
    }
    assert wanted
    return {"category": prefix, "attributes": {key: [*values, "no such value"]}}, wanted


def test_products_are_the_nearest_by_the_offline_embedding(server: Server) -> None:
    for row in server.rows(3):
        query = server.query(row)
        found = search(server, text=query.text, image=b64(query.image), k=7)["products"]
        scores = server.index_vectors @ server.offline([row])[0]
        np.testing.assert_allclose([one["score"] for one in found], np.sort(scores)[::-1][:7], atol=1e-5)
        by_id = dict(zip(server.index_ids, scores, strict=True))
        for one in found:
            product = server.source.products[one["id"]]
            assert (one["title"], one["category_path"]) == (product["title"], product["category_path"])
            np.testing.assert_allclose(one["score"], by_id[one["id"]], atol=1e-5)


def test_filters_leave_only_what_passes_and_lose_nothing(server: Server) -> None:
    filters, wanted = a_filter(server)
    found = search(server, text="anything", k=LIMITS.max_top_k, filters=filters)["products"]
    assert {one["id"] for one in found} <= wanted
    assert len(found) == min(len(wanted), LIMITS.max_top_k)


def test_a_filter_nothing_passes_finds_nothing(server: Server) -> None:
    assert search(server, text="mug", filters={"category": ["no such category"]})["products"] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"text": "mug", "k": LIMITS.max_top_k + 1}, "k must be 1 to 20, got 21"),
        ({"text": "mug", "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"text": "mug", "filters": {"attributes": {"a": ["x"] * 1001}}}, "have 1002 levels, keys and values"),
        ({"text": "mug", "filters": {"categories": []}}, "filters.categories"),
        ({}, "needs a text or an image"),
    ],
)
def test_what_is_asked_wrongly_is_refused_by_name(server: Server, body: dict[str, Any], reason: str) -> None:
    answer = server.http.post("/search", json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def test_the_region_is_the_one_detected_on_the_photo(server: Server) -> None:
    answer = search(server, image=b64(server.photo()))
    photo = decode(server.photo())
    expected = core_region(photo, RegionsParams())
    assert answer["region"]["detector"] == expected.detector
    assert (answer["region"]["width"], answer["region"]["height"]) == photo.size
    np.testing.assert_allclose(list(answer["region"]["box"].values()), expected.box, atol=1e-3)
    assert answer["latency_ms"]["total"] >= answer["latency_ms"]["search"] > 0


def test_text_alone_has_no_region(server: Server) -> None:
    answer = search(server, text="red mug")
    assert answer["region"] is None
    assert len(answer["products"]) == 10
    assert answer["model_revision"] == server.embedder.revision


def test_the_open_inference_protocol_finds_the_same(server: Server) -> None:
    """Several queries at once, filtered, as plain JSON and with parameters as JSON text."""
    filters, _ = a_filter(server)
    texts, images = ["red mug", "", "lamp"], ["", b64(server.photo()), b64(server.photo())]
    inputs = [tensor("text", texts), tensor("image", images)]
    for given in (filters, {name: json.dumps(value) for name, value in filters.items()}):
        found = infer(server, {"inputs": inputs, "parameters": {"k": 4, **given}})
        assert list(found) == ["ids", "scores", "titles"]
        for row, (text, image) in enumerate(zip(texts, images, strict=True)):
            one = search(server, text=text, image=image, k=4, filters=filters)["products"]
            places = slice(row * len(one), (row + 1) * len(one))
            assert found["ids"]["shape"] == [3, len(one)]
            assert found["ids"]["data"][places] == [hit["id"] for hit in one]
            assert found["titles"]["data"][places] == [hit["title"] for hit in one]
            np.testing.assert_allclose(found["scores"]["data"][places], [hit["score"] for hit in one], atol=1e-6)


def test_a_bad_item_fails_alone(server: Server) -> None:
    found = infer(server, {"inputs": [tensor("image", ["bm90IGEgcGhvdG8=", b64(server.photo())])]})
    assert list(found) == ["ids", "scores", "titles", "error"]
    assert "no picture" in found["error"]["data"][0] and found["error"]["data"][1] == ""
    assert found["ids"]["data"][:10] == [""] * 10 and found["scores"]["data"][:10] == [-1] * 10
    hits = search(server, image=b64(server.photo()))["products"]
    assert found["ids"]["data"][10:] == [one["id"] for one in hits]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parameters": {"k": 21}}, "k must be 1 to 20"),
        ({"parameters": {"k": "3"}}, "k: Input should be a valid integer"),
        ({"parameters": {"category": "{"}}, "parameter 'category' is not JSON"),
        ({"parameters": {"attributes": "[1]"}}, "attributes"),
        ({"outputs": [{"name": "embedding"}]}, "outputs are ids, scores, titles, error; got 'embedding'"),
    ],
)
def test_wrong_parameters_are_refused_by_name(server: Server, change: dict[str, Any], reason: str) -> None:
    assert reason in infer(server, {"inputs": [tensor("text", ["mug"])], **change}, 400)["error"]


def test_only_the_outputs_asked_for_come(server: Server) -> None:
    outputs = [{"name": "scores"}, {"name": "error"}]
    found = infer(server, {"inputs": [tensor("text", ["mug"])], "outputs": outputs})
    assert list(found) == ["scores", "error"]
    assert found["error"]["data"] == [""]


def test_nothing_found_is_an_answer_of_width_zero(server: Server) -> None:
    parameters = {"category": ["no such category"]}
    found = infer(server, {"inputs": [tensor("text", ["mug", "lamp"])], "parameters": parameters})
    assert {name: (one["shape"], one["data"]) for name, one in found.items()} == dict.fromkeys(found, ([2, 0], []))


def test_grpc_finds_the_same(server: Server) -> None:
    filters, _ = a_filter(server)

    async def ask() -> Any:
        client = InferenceGRPCClient(server.endpoint.grpc_url, channel_args=[("grpc.enable_http_proxy", 0)])
        try:
            inputs = [InferInput("text", [1], "BYTES", [b"lamp"]), InferInput("image", [1], "BYTES", [server.photo()])]
            parameters = {"k": 3, "category": json.dumps(filters["category"])}
            return await client.infer(InferRequest("moon-search", inputs, parameters=parameters))
        finally:
            await client.close()

    answer = asyncio.run(ask())
    filters = {"category": filters["category"]}
    hits = search(server, text="lamp", image=b64(server.photo()), k=3, filters=filters)["products"]
    found = {name: answer.get_output_by_name(name).as_numpy() for name in ("ids", "scores", "titles")}
    assert found["ids"].tolist() == [[one["id"].encode() for one in hits]]
    assert found["titles"].tolist() == [[one["title"].encode() for one in hits]]
    np.testing.assert_allclose(found["scores"], [[one["score"] for one in hits]], atol=1e-6)


def test_the_search_model_describes_itself(server: Server) -> None:
    known = server.http.get("/v2/models/moon-search").json()
    assert [one["name"] for one in known["inputs"]] == ["text", "image"]
    assert [one["name"] for one in known["outputs"]] == ["ids", "scores", "titles", "error"]
    assert server.http.get("/v2/models/moon-search/ready").json()["ready"] is True


def test_pictures_and_facets_are_kept_by_the_client_until_the_index_changes(server: Server) -> None:
    hit = search(server, text="mug", k=1)["products"][0]
    assert hit["has_picture"]
    for path in (f"/products/{hit['id']}/picture", "/facets"):
        first = server.http.get(path)
        assert first.status_code == 200
        again = server.http.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert server.http.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    assert (
        server.http.get("/products/none/picture", headers={"If-None-Match": first.headers["etag"]}).status_code == 404
    )
    picture = server.http.get(f"/products/{hit['id']}/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == server.source.product(hit["id"]).images[0].size


@pytest.mark.parametrize("product_id", ["none", "a/b", "../../etc/passwd", "%00", "é", "x" * 5000])
def test_there_is_no_picture_of_what_is_no_product(server: Server, product_id: str) -> None:
    answer = server.http.get(f"/products/{product_id}/picture")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("no_picture", "not_found")


def test_facets_are_the_catalogue_counted(server: Server) -> None:
    facets = server.http.get("/facets").json()
    products = server.source.products.values()
    assert facets["products"] == len(products)
    for one in facets["categories"]:
        path = one["path"]
        assert one["products"] == sum(row["category_path"][: len(path)] == path for row in products)
    for facet in facets["attributes"]:
        for one in facet["values"]:
            counted = sum(one["value"] in row["attributes"].get(facet["key"], []) for row in products)
            assert one["products"] == counted > 0
    assert {len(one["path"]) for one in facets["categories"]} == {1, 2, 3} and facets["complete"]


def test_metrics_tell_of_the_index_and_its_searches(server: Server) -> None:
    search(server, text="mug")
    lines = dict(line.rsplit(" ", 1) for line in server.http.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(lines["moon_index_products"]) == len(server.index_ids)
    assert [name for name in lines if name.startswith("moon_index_info{")]
    assert float(lines["moon_search_seconds_count"]) >= 1 <= float(lines["moon_search_top_score_count"])


def test_a_search_that_takes_too_long_is_given_up() -> None:
    class Slow(ProductSearch):
        def __init__(self) -> None:
            """Nothing to open."""

        def search(self, *args: Any) -> list[list[Hit]]:
            time.sleep(0.5)
            return [[]]

    engine = SimpleNamespace(params=ServingParams(max_seconds=0.05))
    with pytest.raises(DeadlinePassed):
        asyncio.run(find(cast("Engine", engine), Slow(), np.ones((1, 3), np.float32), 1, Filters()))
