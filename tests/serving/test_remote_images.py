from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon.config import RegionsParams, ServingParams
from moon.model import Embedder
from moon.serving.engine import Engine
from moon.serving.errors import DeadlinePassed, Overloaded, RequestError
from moon.serving.query import Query
from moon.serving.remote_images import FetchingEngine, RemoteImages, engine_kind, remote_url
from tests.catalog.readers.conftest import Shop, png

NEAR = ServingParams(image_urls="any", image_url_seconds=1.0, max_image_bytes=200_000, decode_processes=1)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    server = Shop()
    yield server
    server.close()


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[FetchingEngine]:
    engine = FetchingEngine(Embedder.load(tiny_model), NEAR, RegionsParams())
    engine.warm_up()
    yield engine
    engine.close()


def fetch(params: ServingParams, *urls: str) -> list[bytes | RequestError]:
    async def run() -> list[bytes | RequestError]:
        return await remote.fetch(urls)

    remote = RemoteImages(params)
    try:
        return asyncio.run(run())
    finally:
        remote.close()


def refusal(params: ServingParams, url: str) -> RequestError:
    [error] = fetch(params, url)
    assert isinstance(error, RequestError)
    return error


PUBLIC = dataclasses.replace(NEAR, image_urls="public")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "192.168.1.1",
     "172.16.0.1", "100.64.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "[fd00::1]", "[64:ff9b::7f00:1]"],
)  # fmt: skip
def test_no_private_address_is_connected_to(shop: Shop, host: str) -> None:
    asked = shop.asked.copy()
    error = refusal(PUBLIC, shop.url("1.png", host))
    assert error.code in ("url_not_allowed", "fetch_failed", "bad_url")
    assert shop.asked == asked


def test_a_name_that_leads_to_a_private_address_is_refused_without_telling_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.11.12.13", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = refusal(PUBLIC, "http://pictures.example/1.png")
    assert error.code == "url_not_allowed"
    assert "10.11" not in error.reason and "catalog" not in error.reason


def test_a_redirect_to_a_private_address_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host is taken for public, the one it redirects to is not."""
    from moon.catalog.readers import addresses

    first = socket.gethostbyname("localhost")
    monkeypatch.setattr(addresses, "is_public", lambda address: address == first and not shop.asked["/redirect"])
    error = refusal(PUBLIC, shop.url(f"redirect?to=http://127.0.0.2:{shop.port}/1.png"))
    assert error.code == "url_not_allowed"
    assert shop.asked["/redirect"] == 1 and not shop.asked["/1.png"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_a_redirect_to_another_scheme_is_refused(shop: Shop, to: str) -> None:
    assert refusal(NEAR, shop.url(f"redirect?to={to}")).code == "url_not_allowed"


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("gone", "fetch_failed", "HTTP 404"),
        ("down", "fetch_failed", "HTTP 503"),
        ("slow", "fetch_failed", "more than 1 s"),
        ("cut", "fetch_failed", "could not be fetched"),
        ("endless", "too_many_bytes", "200000 bytes"),
        ("large", "too_many_bytes", "200000 bytes"),
        ("loop", "fetch_failed", "redirects"),
    ],
)
def test_what_cannot_be_had_says_why(shop: Shop, path: str, code: str, said: str) -> None:
    error = refusal(NEAR, shop.url(path))
    assert error.code == code and said in error.reason


def test_a_url_that_is_none_is_refused() -> None:
    assert refusal(NEAR, "http://[").code in ("bad_url", "fetch_failed")
    assert refusal(NEAR, f"http://x/{'y' * 3000}").code == "bad_url"


def test_fetches_are_bounded(shop: Shop) -> None:
    alone = Shop()  # the other's endless answers may still be under way
    alone.pause = 0.1
    try:
        few = dataclasses.replace(NEAR, image_url_fetches=2)
        found = fetch(few, *(alone.url(f"{number}.png") for number in range(8)))
    finally:
        alone.close()
    assert found == [png(number) for number in range(8)]
    assert alone.most_open <= 2
    with pytest.raises(Overloaded):
        fetch(dataclasses.replace(NEAR, max_pending_items=1), shop.url("1.png"), shop.url("2.png"))


def test_a_fetched_picture_equals_one_that_was_sent(shop: Shop, engine: FetchingEngine) -> None:
    queries = [Query("red", f" {shop.url('3.png')}"), Query("red", png(3)), Query("mug")]
    embedded = asyncio.run(engine.embed(queries, "openai"))
    np.testing.assert_allclose(embedded.vectors[0], embedded.vectors[1], atol=1e-6)
    assert embedded.tokens[0] == embedded.tokens[1] > embedded.tokens[2] > 0
    assert embedded.regions[0] == embedded.regions[1]
    assert embedded.errors == [None] * 3


def test_one_picture_is_fetched_once_for_a_request(shop: Shop, engine: FetchingEngine) -> None:
    asyncio.run(engine.embed([Query(str(number), shop.url("77.png")) for number in range(4)], "openai"))
    assert shop.asked["/77.png"] == 1


def test_a_lost_picture_fails_only_its_item(shop: Shop, engine: FetchingEngine) -> None:
    queries = [Query("mug"), Query("", shop.url("gone")), Query("", b"junk"), Query("lamp"), Query("", "%")]
    embedded = asyncio.run(engine.embed(queries, "openai"))
    alone = asyncio.run(engine.embed([Query("mug"), Query("lamp")], "openai"))
    np.testing.assert_allclose(embedded.vectors[[0, 3]], alone.vectors, atol=1e-6)
    assert not embedded.vectors[[1, 2, 4]].any()
    assert [error.code if error else None for error in embedded.errors] == [
        None, "fetch_failed", "not_an_image", None, "bad_base64",
    ]  # fmt: skip
    assert embedded.tokens[1:3] == [0, 0] and embedded.tokens[3] == alone.tokens[1]


@pytest.mark.parametrize("others", [[], [b"junk"]])
def test_where_all_items_fail_each_is_named_by_its_place(
    shop: Shop, engine: FetchingEngine, others: list[bytes]
) -> None:
    pictures: list[bytes | str] = [shop.url("gone"), *others, shop.url("down")]
    with pytest.raises(RequestError) as refused:
        asyncio.run(engine.embed([Query("", picture) for picture in pictures], "openai"))
    parts = refused.value.reason.split("; item ")
    assert len(parts) == len(pictures)
    assert "HTTP 404" in parts[0] and "HTTP 503" in parts[-1] and parts[-1].startswith(str(len(pictures) - 1))


def test_too_many_items_fetch_nothing(shop: Shop, engine: FetchingEngine) -> None:
    with pytest.raises(RequestError, match="a request holds"):
        asyncio.run(engine.embed([Query("", shop.url("88.png"))] * (NEAR.max_request_items + 1), "openai"))
    assert not shop.asked["/88.png"]


def test_the_deadline_covers_the_fetch(tiny_model: Path, shop: Shop) -> None:
    params = dataclasses.replace(NEAR, max_seconds=0.3, image_url_seconds=30.0)
    engine = FetchingEngine(Embedder.load(tiny_model), params, RegionsParams())
    try:
        with pytest.raises(DeadlinePassed):
            asyncio.run(engine.embed([Query("", shop.url("slow"))], "openai"))
    finally:
        engine.close()


def test_urls_are_fetched_only_where_they_are_allowed() -> None:
    assert engine_kind(ServingParams()) is Engine
    assert engine_kind(PUBLIC) is FetchingEngine
    assert remote_url(" HTTPS://x/y.png ") == "HTTPS://x/y.png"
    assert not remote_url("data:image/png;base64,aaaa") and not remote_url(b"http://x") and not remote_url("ftp://x")
