from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from moon.serving import errors
from moon.serving.errors import Overloaded, RequestError
from moon.serving.guards import BodyLimit, Disconnects, Failures


class App:
    """An application behind all guards, on a real port; ``state`` is what its slow route saw."""

    def __init__(self) -> None:
        self.state: list[str] = []
        app = FastAPI(openapi_url=None)
        app.add_middleware(BodyLimit, max_bytes=1000, max_held=10_000, seconds=1.0)
        app.add_middleware(Disconnects)
        app.add_middleware(Failures)
        errors.install(app)

        @app.post("/slow")
        async def slow(request: Request) -> Response:
            await request.body()
            self.state.append("began")
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                self.state.append("cancelled")
                raise
            self.state.append("done")
            return Response()

        @app.post("/stream")
        async def stream(request: Request) -> StreamingResponse:
            body = await request.body()
            return StreamingResponse(iter([body, body]))

        @app.post("/v1/fails")
        @app.post("/fails")
        async def fails(request: Request) -> Response:
            raise KeyError("a secret of the inside")

        @app.post("/wrong")
        async def wrong(request: Request) -> Response:
            raise RequestError("no", code="bad")

        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    app = App()
    yield app
    app.close()


def test_work_for_a_client_that_left_is_cancelled(app: App) -> None:
    app.state.clear()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{app.url}/slow", content=b"x", timeout=0.5, trust_env=False)
    until(lambda: "cancelled" in app.state)
    assert app.state == ["began", "cancelled"]


def test_a_client_that_stays_is_answered_and_may_come_again(app: App) -> None:
    with httpx.Client(base_url=app.url, timeout=30, trust_env=False) as http:
        for _ in range(3):
            assert http.post("/stream", content=b"abc").content == b"abcabc"
            assert http.post("/wrong", content=b"abc").json() == {"error": "no", "code": "bad"}


def test_a_failure_says_nothing_of_the_inside(app: App, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/fails", "/v1/fails"):
        answer = httpx.post(app.url + path, timeout=30, trust_env=False)
        assert answer.status_code == 500
        assert "secret" not in answer.text and "KeyError" not in answer.text
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert [record.message for record in caplog.records if "fails failed" in record.message]


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_is_refused(app: App, declared: bool) -> None:
    body = b"x" * 2000
    content: Any = body if declared else iter([body[:900], body[900:]])
    answer = httpx.post(f"{app.url}/stream", content=content, timeout=30, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_slow_body_is_refused(app: App) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x"
            time.sleep(0.1)

    answer = httpx.post(f"{app.url}/stream", content=drip(), timeout=30, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (408, "slow_body")
    assert json.loads(answer.content)["error"].startswith("the body did not arrive within 1 s")


def test_bodies_are_held_as_far_as_there_is_room_and_large_ones_in_half_of_it() -> None:
    answering = asyncio.Event()
    mebibyte = 2**20

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await answering.wait()

    limited = BodyLimit(app, max_bytes=8 * mebibyte, max_held=4 * mebibyte, seconds=20.0)

    def body(mebibytes: int) -> asyncio.Task[None]:
        parts = [{"type": "http.request", "body": bytes(mebibyte), "more_body": True}] * mebibytes
        parts[-1] = {**parts[-1], "more_body": False}
        messages = iter(parts)

        async def receive() -> Message:
            return next(messages)

        async def send(message: Message) -> None:
            pass

        return asyncio.create_task(limited({"type": "http", "headers": []}, receive, send))

    async def talk() -> None:
        waiting = [body(6)]  # alone, it is larger than all that there is room for
        await asyncio.sleep(0)
        refused = [body(1), body(2)]
        answering.set()
        await asyncio.gather(*waiting)
        for one in refused:
            with pytest.raises(Overloaded):
                await one
        answering.clear()
        waiting = [body(2), body(1), body(1)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await body(1)
        answering.set()
        await asyncio.gather(*waiting)
        answering.clear()
        waiting = [body(1), body(1)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await body(2)
        answering.set()
        await asyncio.gather(*waiting, body(6))

    asyncio.run(asyncio.wait_for(talk(), 20))
