from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from moon.catalog.readers import addresses, fetch
from moon.catalog.readers.fetch import FetchError
from moon.catalog.readers.remote import RemotePictures, is_remote
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.table import read_table
from moon.catalog.store import Catalog
from moon.config import CatalogParams
from tests.catalog.readers.conftest import Shop, png

NEAR = CatalogParams(allow_private_hosts=True, fetch_timeout=0.5, fetch_retries=2, max_image_bytes=200_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FIRST_PAUSE", 0.01)


def refused(url: str, folder: Path, params: CatalogParams = NEAR) -> tuple[str, str]:
    with RemotePictures(params, folder) as remote, pytest.raises(FetchError) as caught:
        remote.read(url)
    assert not [path for path in folder.glob("*")]
    return caught.value.reason, str(caught.value)


def test_a_picture_is_fetched_once_and_kept_until_it_is_stored(shop: Shop, tmp_path: Path) -> None:
    url = shop.url("7.png")
    with RemotePictures(NEAR, tmp_path / "kept") as remote:
        assert remote.read(url) == remote.read(url) == png(7)
    with RemotePictures(NEAR, tmp_path / "kept") as later:
        assert later.read(url) == png(7)
        assert shop.asked == {"/7.png": 1}
        later.stored(url)
        assert not list((tmp_path / "kept").iterdir())
        assert later.read(url) == png(7)
    assert shop.asked == {"/7.png": 2}


@pytest.mark.parametrize(
    ("path", "reason", "said", "times"),
    [
        ("gone", "fetch_failed", "HTTP 404", 1),
        ("down", "fetch_failed", "HTTP 503", 3),
        ("slow", "fetch_failed", "more than 0.5 s", 3),
        ("cut", "fetch_failed", "ClientPayloadError", 3),
        ("endless", "too_many_bytes", "200000 bytes", 1),
        ("large", "too_many_bytes", "200000 bytes", 1),
        ("loop", "fetch_failed", "more than 5 redirects", 6),
    ],
)
def test_every_fault_of_a_server_is_named(
    shop: Shop, tmp_path: Path, path: str, reason: str, said: str, times: int
) -> None:
    found, message = refused(shop.url(path), tmp_path / "kept")
    assert found == reason and said in message
    assert shop.asked[f"/{path}"] == times


def test_a_fault_that_passes_is_waited_out(shop: Shop, tmp_path: Path) -> None:
    with RemotePictures(NEAR, tmp_path) as remote:
        assert remote.read(shop.url("flaky")) == png()
    assert shop.asked["/flaky"] == 3


def test_a_slow_drip_ends_with_the_timeout(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            connection.close()

    threading.Thread(target=drip, daemon=True).start()
    once = dataclasses.replace(NEAR, fetch_retries=0)
    reason, said = refused(f"http://127.0.0.1:{listener.getsockname()[1]}/x", tmp_path / "kept", once)
    listener.close()
    assert reason == "fetch_failed" and "more than 0.5 s" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_private_hosts_are_refused(shop: Shop, tmp_path: Path, host: str) -> None:
    far = dataclasses.replace(NEAR, allow_private_hosts=False)
    reason, said = refused(shop.url("1.png", host), tmp_path / "kept", far)
    assert reason == "refused_address" and "allow_private_hosts" in said
    assert not shop.asked


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1%00.example", "user@127.1"]
)
def test_private_hosts_are_refused_however_they_are_written(shop: Shop, tmp_path: Path, host: str) -> None:
    far = dataclasses.replace(NEAR, allow_private_hosts=False, fetch_retries=0)
    assert refused(shop.url("1.png", host), tmp_path / "kept", far)[0] in ("refused_address", "fetch_failed")
    assert not shop.asked


def test_the_address_that_is_connected_to_is_the_one_that_is_checked(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is looked at and private when it is used (DNS rebinding)."""
    answers = iter(["93.184.216.34", *["127.0.0.1"] * 9])

    def resolve(host: str, port: Any, *rest: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), shop.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert socket.getaddrinfo("pictures.example", 80)[0][4][0] == "93.184.216.34"
    far = dataclasses.replace(NEAR, allow_private_hosts=False)
    assert refused(shop.url("1.png", "pictures.example"), tmp_path / "kept", far)[0] == "refused_address"
    assert not shop.asked


def test_a_redirect_is_checked_like_the_first_address(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    far = dataclasses.replace(NEAR, allow_private_hosts=False)
    inside = shop.url("1.png", "127.0.0.2")
    with RemotePictures(far, tmp_path / "kept") as remote:
        assert remote.read(shop.url(f"redirect?to={shop.url('2.png')}")) == png(2)
    reason, said = refused(shop.url(f"redirect?to={inside}"), tmp_path / "other", far)
    assert reason == "refused_address" and "127.0.0.2" in said
    assert shop.asked["/1.png"] == 0
    for other in ("file:///etc/passwd", "ftp://127.0.0.1/x", "s3://bucket/x"):
        assert refused(shop.url(f"redirect?to={other}"), tmp_path / "other", far)[0] == "refused_address"


def test_pictures_are_fetched_side_by_side_but_not_all_at_once(shop: Shop, tmp_path: Path) -> None:
    shop.pause = 0.1
    urls = [shop.url(f"{number}.png") for number in range(12)]
    with RemotePictures(dataclasses.replace(NEAR, fetch_workers=3), tmp_path) as remote:
        remote.want(urls)
        assert [remote.read(url) for url in urls] == [png(number) for number in range(12)]
        remote.drop(urls)
    assert shop.most_open == 3
    assert set(shop.asked.values()) == {1}


def test_an_object_store_without_its_driver_is_an_error_that_names_it(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for name in ("s3fs", "gcsfs"):
        try:
            __import__(name)
        except ImportError:
            break
    else:
        pytest.skip("both drivers are installed")
    scheme = {"s3fs": "s3", "gcsfs": "gs"}[name]
    with RemotePictures(NEAR, tmp_path) as remote, pytest.raises(ValueError, match=f"(?i)install {name}"):
        remote.read(f"{scheme}://bucket/a.png")


@pytest.mark.parametrize("url", ["ftp://host/a.png", "memory://a.png", "s3::http://host/a", "gopher://x", "S3://a::b"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    if is_remote(url):
        assert refused(url, tmp_path / "kept")[0] == "fetch_failed"


def test_paths_are_not_remote() -> None:
    assert not any(map(is_remote, ["a.png", "/a/b.png", "C:\\a.png", "a:b.png", "", "file:///a.png"]))
    assert all(map(is_remote, ["http://a/b", "HTTPS://a/b", "s3://a/b"]))


def import_lines(tmp_path: Path, lines: list[dict[str, Any]], params: CatalogParams, name: str = "out") -> Catalog:
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / name
    with CatalogSink(out, max_image_pixels=50_000, shard_rows=4, params=params) as sink:
        read_table(table, tmp_path / "pictures", {}, sink)
    return Catalog.open(out)


def test_urls_and_paths_stand_side_by_side_in_a_table(shop: Shop, tmp_path: Path, pictures: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": "local", "title": "A", "image": "1.png"},
        {"id": "far", "title": "B", "image": [shop.url("2.png"), "2.png"], "query_image": shop.url("9.png")},
        {"id": "half", "title": "C", "image": f"{shop.url('3.png')}?a=1,2; {shop.url('gone')}"},
        {"id": "none", "title": "D", "image": shop.url("page")},
        {"id": "file", "title": "E", "image": (pictures / "0.png").as_uri()},
        {"id": "outside", "title": "F", "image": "file:///etc/passwd"},
    ]
    catalog = import_lines(tmp_path, lines, NEAR)
    products = {row["product_id"]: row["image_ids"] for row in catalog.rows("products")}
    assert products["far"] == [shop.url("2.png"), "2.png"] and products["half"] == [f"{shop.url('3.png')}?a=1,2"]
    assert list(products) == ["local", "far", "half", "file"]
    store = catalog.image_store()
    assert store[shop.url("2.png")] == store["2.png"] == png(2)
    assert catalog.rows("interactions")[0]["query_image_id"] == shop.url("9.png")
    reasons = [(row["row_id"], row["reason"]) for row in catalog.rows("rejected")]
    assert reasons == [
        (shop.url("gone"), "fetch_failed"),
        (shop.url("page"), "broken_image"),
        ("none", "no_image"),
        ("file:///etc/passwd", "missing_image"),
        ("outside", "no_image"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"t.jsonl", "pictures", "out"}


def test_rows_ahead_are_fetched_while_a_row_is_read(shop: Shop, tmp_path: Path, pictures: Path) -> None:
    shop.pause = 0.05
    lines = [{"id": f"p{n}", "title": "A", "image": shop.url(f"{n}.png")} for n in range(40)]
    catalog = import_lines(tmp_path, lines, dataclasses.replace(NEAR, fetch_workers=8))
    assert catalog.table("images")["image_id"].to_pylist() == [line["image"] for line in lines]
    assert 2 < shop.most_open <= 8
    assert set(shop.asked.values()) == {1}


def test_by_default_a_catalogue_cannot_reach_this_machine(shop: Shop, tmp_path: Path, pictures: Path) -> None:
    lines = [{"id": "p", "title": "A", "image": shop.url("1.png")}]
    catalog = import_lines(tmp_path, lines, CatalogParams())
    assert [row["reason"] for row in catalog.rows("rejected")] == ["refused_address", "no_image"]
    assert not shop.asked
