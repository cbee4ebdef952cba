from __future__ import annotations

from typing import Any

import numpy as np

from moon.config import RegionsParams
from moon.vision.decode import decode
from moon.vision.detectors import core_region
from tests.serving.running import LIMITS, Server, b64


def search(server: Server, **body: Any) -> Any:
    answer = server.http.post("/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


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
    products = server.source.products
    prefix = products[server.index_ids[0]]["category_path"][:2]
    key = next(iter(products[server.index_ids[0]]["attributes"]))
    values = products[server.index_ids[0]]["attributes"][key]
    filters = {"category": prefix, "attributes": {key: [*values, "no such value"]}}
    wanted = {
        name
        for name, row in products.items()
        if row["category_path"][:2] == prefix and set(values) & set(row["attributes"].get(key, []))
    }
    assert wanted
    found = search(server, text="anything", k=LIMITS.max_top_k, filters=filters)["products"]
    assert {one["id"] for one in found} <= wanted
    assert len(found) == min(len(wanted), LIMITS.max_top_k)


def test_a_filter_nothing_passes_finds_nothing(server: Server) -> None:
    assert search(server, text="mug", filters={"category": ["no such category"]})["products"] == []


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
