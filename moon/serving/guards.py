"""What stands between the network and the routes: limits on a body, clients that leave, failures of our own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moon.serving import errors, metrics
from moon.serving.errors import Overloaded, RequestError

_SMALL_BODY: Final = 2**20
"""A few large bodies, which may come slowly, leave room for those up to this size."""
logger = logging.getLogger(__name__)


class Failures:
    """Answers 500 in the shape of the route, without a word about the inside, and logs the cause."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if scope["type"] != "http":
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise
            await errors.failed(scope["path"])(scope, receive, send)


class BodyLimit:
    """Refuses a body that is too large, by its declared length or as it streams in, or that comes too slowly.

    Args:
        app: what comes next.
        max_bytes: size of the largest body.
        max_held: size of all bodies whose requests are not answered yet, half of it for those of over a MiB; one alone
            always has room.
        seconds: time for the whole body to arrive.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_held: int, seconds: float) -> None:
        self._app, self._max_bytes, self._max_held, self._seconds = app, max_bytes, max_held, seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with a counting ``receive``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        until = asyncio.get_running_loop().time() + self._seconds
        seen, complete = 0, False

        async def limited() -> Message:
            nonlocal seen, complete
            if complete:
                return await receive()
            if declared.isdigit() and int(declared) > self._max_bytes:
                self._too_large()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                reason = f"the body did not arrive within {self._seconds:g} s; {seen} bytes came"
                raise RequestError(reason, status=408, code="slow_body") from None
            complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            seen += size
            self._held += size
            if seen > self._max_bytes:
                self._too_large()
            room = self._max_held if seen <= _SMALL_BODY else self._max_held // 2
            if self._held > max(room, seen):
                raise Overloaded(details=f"{self._held} bytes of requests are waiting; try again in a moment")
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._held -= seen

    def _too_large(self) -> None:
        raise RequestError(f"the body is over {self._max_bytes} bytes", status=413, code="body_too_large")


class Disconnects:
    """Cancels the work on a request whose client has left, so that its place is free for another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and listens for its end once the body is complete."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        gone = asyncio.Event()
        listener: asyncio.Task[None] | None = None
        answered = False

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if not answered:
                task.cancel()

        async def received() -> Message:
            nonlocal listener
            if listener is not None:
                await gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                listener = asyncio.create_task(listen())
            return message

        async def sent(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, received, sent)
        except asyncio.CancelledError:
            if not gone.is_set() or answered:
                raise
            task.uncancel()
            metrics.ERRORS.labels("disconnected").inc()
        finally:
            if listener is not None:
                listener.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listener
