"""uvicorn's HTTP protocol with limits on what comes before and around a body, and fewer system calls.

It waits forever for the end of a request's headers, so that a few thousand connections that send one byte a minute
take all of a server's file descriptors (slow loris, CWE-400), and it keeps headers and trailers of any size in memory.
Where it limits connections it refuses requests on those that are open, the probes' too. The body itself is limited in
`moon.serving.guards`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moon.serving import metrics

MAX_HEADER_BYTES: Final = 65_536
"""Request line and headers together."""
# uvicorn stops reading a body at every 64 KiB until they are taken, which for a photo costs more than reading it, and
# holds nothing back, since the routes take whole bodies.
httptools_impl.HIGH_WATER_LIMIT = 2**20  # type: ignore[attr-defined]  # imported there
_LAST_REQUEST_SECONDS: Final = 0.1
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def protocol(header_seconds: float, max_body_bytes: int, max_connections: int) -> type[HttpToolsProtocol]:
    """A protocol class that closes a connection that sends headers too slowly, or too much of anything.

    Args:
        header_seconds: time for the headers of a request.
        max_body_bytes: the largest body; with what surrounds its chunks a message may take twice as much.
        max_connections: open at once. One more takes the place of the one that has been without a request longest;
            where all have one it is answered with 503.
    """
    limits = {
        "header_seconds": header_seconds,
        "message_bytes": 2 * max_body_bytes + MAX_HEADER_BYTES,
        "max_connections": max_connections,
        "idle": {},
    }
    return type("LimitedProtocol", (_Limited,), limits)


async def close_port(server: uvicorn.Server) -> None:
    """Stops listening, after the connections that clients have made and that nobody has accepted yet are accepted.

    Closing a port resets those, with the requests that lie in them.
    """
    config, loop = server.config, asyncio.get_running_loop()

    def made() -> asyncio.Protocol:
        state = {"server_state": server.server_state, "app_state": server.lifespan.state}
        return config.http_protocol_class(config=config, **state)  # type: ignore[call-arg]

    accepted = []
    for listener in server.servers:
        ports = [socket.socket(fileno=os.dup(port.fileno())) for port in listener.sockets]
        listener.close()
        for port in ports:
            with port, contextlib.suppress(OSError):  # there is no more, or no room for more
                port.setblocking(False)
                while True:
                    accepted.append(port.accept()[0])
    for connection in accepted:
        await loop.connect_accepted_socket(made, connection, ssl=config.ssl)


class _Limited(HttpToolsProtocol):
    header_seconds: float
    message_bytes: int
    max_connections: int
    idle: dict[_Limited, None]
    """The connections that have no request, in the order in which that began."""
    _waiting: asyncio.TimerHandle | None = None
    _in_headers = False
    _received = 0
    """Bytes of the message that is being received, from the read after the one in which it began."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_OneWrite(transport))  # type: ignore[arg-type]  # as far as uvicorn asks
        self.idle[self] = None
        self._wait()
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Closes, or lets the running request finish; a new connection gets a moment for its first."""
        if self.cycle is None:
            self.loop.call_later(_LAST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._received > (MAX_HEADER_BYTES if self._in_headers else self.message_bytes):
            self.transport.write(_TOO_LARGE if self._between_requests else b"")
            self.transport.close()
        elif self._between_requests:
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._received = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # nobody reads trailers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._arrived()
        self.idle.pop(self, None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._between_requests:
            self.idle[self] = None

    def on_message_complete(self) -> None:
        self._received = 0
        super().on_message_complete()

    @property
    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        oldest = next(iter(self.idle))
        del self.idle[oldest]  # its end is told later; another one makes room for the next
        if oldest is self:
            metrics.ERRORS.labels("too_many_connections").inc()
            self.transport.write(_FULL)
        oldest.transport.close()

    def _wait(self) -> None:
        """Starts the clock, unless it runs already: a byte now and then does not set it back."""
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.header_seconds, self._close)

    def _arrived(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close(self) -> None:
        """Ends the connection without an answer, unless one to an earlier request is still under way."""
        self._waiting = None
        if self._between_requests and not self.transport.is_closing():
            self.transport.close()


class _OneWrite:
    """A transport that sends what is written in one turn of the event loop in one piece.

    uvicorn writes the headers of an answer and then its body, which wakes the client twice.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._parts = transport, list[bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()
