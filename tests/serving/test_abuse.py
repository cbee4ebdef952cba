"""Whatever is sent, the answer is a 4xx that says why, and the server goes on."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.running import LIMITS, Server, b64

EMBED, SEARCH, OIP, V1 = "/v1/embeddings", "/search", "/v2/models/moon/infer", "/v1/models/moon:predict"


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG whose header promises ``side`` x ``side`` pixels that are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def noise() -> bytes:
    """A picture of more bytes than allowed, within the pixels allowed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def oip(*tensors: Any, **extra: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), **extra}


def text(data: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [1], "datatype": "BYTES", "data": data, **changes}


PICTURES = {
    "not base64": ("%%%%", "base64"),
    "not a picture": (b64(b"hello, this is text"), "no picture"),
    "truncated": (b64(png(64, 64)[:-30]), "damaged"),
    "one pixel": (b64(png(1, 1)), "smallest side"),
    "bomb": (b64(bomb(60_000)), "pixels"),
    "over the pixels": (b64(png(1100, 1000)), "the limit is 1000000"),
    "over the bytes": (b64(noise()), "the limit is 100000"),
    "http": ("http://169.254.169.254/latest/meta-data", "not fetched"),
    "https": ("https://example.com/a.jpg", "not fetched"),
    "file": ("file:///etc/passwd", "not fetched"),
    "data URL without base64": ("data:image/png,abc", ";base64,"),
    "empty data URL": ("data:image/png;base64,", "no bytes"),
    "svg": (b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no picture"),
}
BODIES: list[tuple[str, Any, str]] = [
    (EMBED, b"", "not valid JSON"),
    (EMBED, b'{"input": "x"', "not valid JSON"),
    (EMBED, b'{"input": "x", "dimensions": NaN}', "not valid JSON"),
    (EMBED, b'{"input": "\\ud800"}', "not valid JSON"),
    (EMBED, b"\xff\xfe\x00", "not valid JSON"),
    (EMBED, b"[" * 100_000, "not valid JSON"),
    (EMBED, [], "body"),
    (EMBED, {}, "either 'input' or 'messages'"),
    (EMBED, {"input": "a", "messages": []}, "either"),
    (EMBED, {"input": []}, "1 to 12 items"),
    (EMBED, {"input": ["x"] * 13}, "1 to 12 items"),
    (EMBED, {"input": ""}, "item 0: needs a text or an image"),
    (EMBED, {"input": ["", " \n"]}, "item 1: needs"),
    (EMBED, {"input": "x" * 401}, "the limit is 400"),
    (EMBED, {"input": 5}, "input"),
    (EMBED, {"input": [1, 2, 3]}, "input"),
    (EMBED, {"input": [{"text": 1}]}, "input"),
    (EMBED, {"input": [{"txt": "x"}]}, "input"),
    (EMBED, {"input": "x", "dimensions": 0}, "dimensions"),
    (EMBED, {"input": "x", "dimensions": 100_000}, "dimensions"),
    (EMBED, {"input": "x", "dimensions": True}, "dimensions"),
    (EMBED, {"input": "x", "encoding_format": "hex"}, "encoding_format"),
    (EMBED, {"input": "x", "unheard_of": 1}, "unheard_of"),
    (EMBED, {"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
    (EMBED, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url: Field required"),
    (EMBED, {"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "'text', 'image_url'"),
    (EMBED, {"messages": []}, "needs a text"),
    (EMBED, {"messages": [{"role": "user", "content": []}]}, "needs a text"),
    (SEARCH, {}, "needs a text or an image"),
    (SEARCH, {"text": "x", "k": 0}, "k"),
    (SEARCH, {"text": "x", "k": 21}, "1 to 20"),
    (SEARCH, {"text": "x", "k": 1e30}, "k"),
    (SEARCH, {"text": "x", "k": "5"}, "k"),
    (SEARCH, {"text": None}, "text"),
    (SEARCH, {"text": "x", "filters": {"colour": "red"}}, "filters.colour"),
    (SEARCH, {"text": "x", "filters": {"attributes": {"colour": "red"}}}, "filters.attributes.colour"),
    (OIP, oip(), "no tensor"),
    (OIP, {"inputs": "x"}, "inputs"),
    (OIP, oip(text(["a"], name="title")), "'text' and 'image'"),
    (OIP, oip(text(["a"]), text(["a"])), "each once"),
    (OIP, oip(text(["a"], datatype="FP32")), "must be BYTES"),
    (OIP, oip(text(["a"], datatype="NOPE")), "must be BYTES"),
    (OIP, oip(text(["a"], shape=[-1])), "shape"),
    (OIP, oip(text(["a"], shape=[1, 2])), "shape"),
    (OIP, oip(text(["a"], shape=[10**12])), "1 elements"),
    (OIP, oip(text(["a", "b"])), "2 elements"),
    (OIP, oip(text([1])), "expected text"),
    (OIP, oip(text([["a", {}]], shape=[2])), "expected text"),
    (OIP, oip(text([], shape=[0])), "1 to 12 items"),
    (OIP, oip({"name": "text", "shape": [1], "datatype": "BYTES"}), "binary_data_size"),
    (OIP, oip({**text(None), "parameters": {"binary_data_size": 99}}), "0 bytes left"),
    (OIP, oip({**text(None), "parameters": {"binary_data_size": -5}}), "bytes left"),
    (OIP, oip(text(["a"]), outputs=[{"name": "logits"}]), "outputs are embedding, view"),
    (OIP, oip(text(["a"]), outputs=[{"name": "view"}, {"name": "view"}]), "once each"),
    (OIP, oip(text(["a"]), outputs=[{"name": "view", "parameters": {"binary_data": "yes"}}]), "binary_data"),
    (OIP, oip(text(["a"]), parameters={"dimensions": 0}), "dimensions"),
    (OIP, oip(text(["a"]), parameters={"dimensions": 100_000}), "dimensions"),
    (OIP, oip(text(["a"]), parameters={"dimensions": 8.0}), "dimensions"),
    (OIP, oip(text(["a"]), parameters={"binary_data_output": 1}), "binary_data_output"),
    (OIP, oip(text(["a"]), id=7), "id"),
    (OIP, oip(text(["a"]), text(["a", "b"], name="image", shape=[2])), "differ in length"),
    ("/v2/models/nope/infer", oip(text(["a"])), "nope"),
    (V1, b"{", "Unrecognized request format"),
    (V1, {}, "instances"),
    (V1, [], "body"),
    (V1, 5, "body"),
    (V1, {"instances": []}, "1 to 12 items"),
    (V1, {"instances": "x"}, "instances"),
    (V1, {"instances": [{"image": {"url": "x"}}]}, "instances"),
    ("/v1/models/moon:explain", {"instances": ["x"]}, "explain"),
    ("/v1/models/nope:predict", {"instances": ["x"]}, "nope"),
]


def refused(server: Server, path: str, body: Any, reason: str, headers: dict[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.http.post(path, content=content, headers={"Content-Type": "application/json", **(headers or {})})
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    message = error["message"] if path == EMBED else error
    assert reason in message
    assert len(message) < 1000
    answers(server)


def answers(server: Server) -> None:
    assert server.http.post(EMBED, json={"input": "red mug"}).status_code == 200


@pytest.mark.parametrize(("path", "body", "reason"), BODIES)
def test_a_wrong_body_is_refused(server: Server, path: str, body: Any, reason: str) -> None:
    refused(server, path, body, reason)


@pytest.mark.parametrize(
    "body", [{"model": "m" * 100_000, "input": "x"}, {"k" * 100_000: 1}, {"input": {"k" * 99_999: 1}}]
)
def test_what_was_sent_is_not_repeated_at_length(server: Server, body: Any) -> None:
    answer = server.http.post(EMBED, json=body)
    assert 400 <= answer.status_code < 500 and len(answer.content) < 10_000


@pytest.mark.parametrize("name", PICTURES)
def test_a_bad_picture_fails_only_itself(server: Server, name: str) -> None:
    picture, reason = PICTURES[name]
    refused(server, SEARCH, {"image": picture}, reason)
    refused(server, EMBED, {"input": [{"image": picture}]}, "item 0: image")

    fine = server.http.post(EMBED, json={"input": "fine"}).json()["data"][0]["embedding"]
    first, second = server.http.post(EMBED, json={"input": ["fine", {"image": picture}]}).json()["data"]
    np.testing.assert_allclose(first["embedding"], fine, atol=1e-6)
    assert (second["index"], second["embedding"]) == (1, [])
    assert reason in second["error"]["message"] and second["error"]["code"]

    instances = ["fine", {"image": {"b64": picture}}]
    vector, failed = server.http.post(V1, json={"instances": instances}).json()["predictions"]
    np.testing.assert_allclose(vector, fine, atol=1e-6)
    assert reason in failed["error"] and failed["code"] == second["error"]["code"]

    rows = [text(["fine", ""], shape=[2]), text(["", picture], shape=[2], name="image")]
    embedding, error = server.http.post(OIP, json=oip(*rows)).json()["outputs"]
    half = len(embedding["data"]) // 2
    np.testing.assert_allclose(embedding["data"][:half], fine, atol=1e-6)
    assert not any(embedding["data"][half:])
    assert (error["name"], error["shape"], error["data"][0]) == ("error", [2], "") and reason in error["data"][1]


def test_every_bad_item_is_named(server: Server) -> None:
    body = {"input": [{"image": "%%%"}, {"text": "also fine", "image": b64(b"junk")}]}
    refused(server, EMBED, body, "item 0: image is not valid base64")
    refused(server, EMBED, body, "item 1: image: 4 bytes that are no picture")


def test_a_failed_item_counts_no_tokens(server: Server) -> None:
    usage = [server.http.post(EMBED, json={"input": items}).json()["usage"] for items in (["fine"], ["fine", ""])]
    assert usage[0] == usage[1]


def test_the_first_of_very_many_frames_is_used(server: Server) -> None:
    frames = [Image.new("P", (8, 8), number % 200) for number in range(2000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], optimize=False)
    assert len(buffer.getvalue()) < LIMITS.max_image_bytes
    many, one = b64(buffer.getvalue()), io.BytesIO()
    frames[0].save(one, "GIF")
    answer = server.http.post(EMBED, json={"input": [{"image": many}, {"image": b64(one.getvalue())}]}).json()
    np.testing.assert_allclose(*(row["embedding"] for row in answer["data"]), atol=1e-5)


def test_a_long_text_is_cut_to_the_tokens_of_the_model(server: Server) -> None:
    long = "mug " * (LIMITS.max_text_chars // 4)
    usage = server.http.post(EMBED, json={"input": [long, long]}).json()["usage"]
    assert usage["prompt_tokens"] <= 2 * (server.embedder.processor.max_text_tokens + 2)


@pytest.mark.parametrize("path", [EMBED, SEARCH, OIP, V1])
def test_a_body_over_the_limit_is_refused(server: Server, path: str) -> None:
    body = b'{"input": "' + b"x" * LIMITS.max_body_bytes + b'"}'

    def chunks() -> Any:
        yield from (body[start : start + 65536] for start in range(0, len(body), 65536))

    for content in (body, chunks()):
        assert server.http.post(path, content=content).status_code == 413
    answers(server)


@pytest.mark.parametrize("length", ["-1", "abc", "99999999", "²", "1e3"])
def test_a_wrong_json_length_is_refused(server: Server, length: str) -> None:
    head = f"POST {OIP} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
    line = head.encode() + b"Inference-Header-Content-Length: " + length.encode() + b"\r\n\r\n{}"
    host, _, port = server.endpoint.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(line)
        assert b" 400 " in connection.recv(4096).split(b"\r\n")[0]
    answers(server)


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/cloudevents+json", "x/y"])
@pytest.mark.parametrize("path", [EMBED, SEARCH, OIP, V1])
def test_another_content_type_is_no_failure(server: Server, path: str, kind: str) -> None:
    refused(server, path, b"hello", "", {"Content-Type": kind})


def test_a_cloud_event_without_a_request_is_refused(server: Server) -> None:
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "x", "ce-type": "y"}
    refused(server, V1, b"hello", "", event)
    refused(server, V1, {"instances": [5]}, "instances", event)


def connect(server: Server) -> socket.socket:
    host, _, port = server.endpoint.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def closed(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; fails where it stays open."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def test_a_client_that_leaves_halfway_does_no_harm(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(f"POST {EMBED} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
    answers(server)


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", b"\r\n\r\n", b"POST /search HTT"])
def test_headers_that_never_end_are_waited_for_in_vain(server: Server, begin: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(begin)
        assert closed(connection) == b""
    answers(server)


def test_headers_that_drip_are_waited_for_in_vain(server: Server) -> None:
    started = time.monotonic()
    with connect(server) as connection, pytest.raises(OSError):
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(65536)
        while time.monotonic() < started + 20:  # on a connection that was kept alive
            connection.sendall(b"G")
            time.sleep(0.2)
    assert time.monotonic() < started + 15
    answers(server)


@pytest.mark.parametrize(
    "begin",
    [b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-Large: ", b"GET /v2/health/live?", b"POST /search HTTP/1.1\r\n"],
    ids=["value", "path", "many"],
)
def test_headers_are_not_kept_without_end(server: Server, begin: bytes) -> None:
    more = b"x" * 999 + b"\r\n" + b"X-A: b" if begin.endswith(b"\n") else b"x" * 1000
    with connect(server) as connection:
        connection.sendall(begin)
        answer = flooded(connection, more, 5000)
    assert answer == b"" or b" 431 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0]
    answers(server)


def test_trailers_are_not_kept_without_end(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ")
        answer = flooded(connection, b"x" * 1000, 5000)
    assert b" 200 " not in answer.split(b"\r\n")[0]
    answers(server)


def flooded(connection: socket.socket, data: bytes, times: int) -> bytes:
    """What the server says before it closes the connection; fails where it takes everything and waits for more."""
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            connection.sendall(data)
    try:
        return closed(connection)
    except ConnectionError:
        return b""


def test_a_body_that_drips_is_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(f"POST {EMBED} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode())
        for _ in range(40):
            connection.sendall(b" ")
            time.sleep(0.1)
        head = connection.recv(65536)
    assert b" 408 " in head.split(b"\r\n")[0] and b"slow_body" in head
    answers(server)


def test_a_body_may_take_its_time(server: Server) -> None:
    body = json.dumps({"input": "red mug"}).encode()
    with connect(server) as connection:
        head = f"POST {EMBED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:9])
        time.sleep(0.5)
        connection.sendall(body[9:])
        assert b" 200 " in closed(connection).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/v1/nothing", "GET", 404, "not_found"),
        ("/openai/v1/nothing", "POST", 404, "not_found"),
        ("/v1/models/nope", "GET", 404, "model_not_found"),
        ("/v1/embeddings", "GET", 405, "method_not_allowed"),
        ("/openai/v1/models", "DELETE", 405, "method_not_allowed"),
    ],
)
def test_every_error_below_v1_has_openai_shape(server: Server, path: str, method: str, status: int, code: str) -> None:
    answer = server.http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == code
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/nothing", "/v2/nothing", "/v2/models/moon/infer", "/v1/models/moon:predict"])
def test_errors_elsewhere_have_kserves_shape(server: Server, path: str) -> None:
    answer = server.http.delete(path)
    assert answer.status_code in (404, 405)
    assert answer.json().keys() == {"error", "code"}
    assert isinstance(answer.json()["error"], str)


def test_refusals_are_counted_by_reason_and_leave_no_traceback(server: Server) -> None:
    def count() -> float:
        lines = server.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith('moon_errors_total{reason="bad_json"}'))

    before = count()
    refused(server, EMBED, b"{", "JSON")
    assert count() == before + 1
    assert "Traceback" not in server.log.read_text()
