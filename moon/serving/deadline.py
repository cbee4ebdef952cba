"""How long a request may take: what its sender gives it, at most ``serving.max_seconds``.

`Deadline` notes the time at which a REST request arrived and its header ``x-request-timeout-ms``; gRPC calls `begin`
with the metadata of the same name. The engine asks `seconds_left` in the same task and refuses what is late with
`moon.serving.errors.DeadlinePassed`.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from moon.serving.errors import RequestError

HEADER: Final = "x-request-timeout-ms"


class _Arrival(NamedTuple):
    time: float
    milliseconds: str | None


_ARRIVAL: ContextVar[_Arrival | None] = ContextVar("moon_arrival", default=None)


def begin(milliseconds: str | None) -> None:
    """Starts the clock of the request that this task serves.

    Args:
        milliseconds: what its sender gives it, as sent; None where nothing was said.
    """
    _ARRIVAL.set(_Arrival(time.monotonic(), milliseconds))


def seconds_left(max_seconds: float) -> float:
    """Seconds until the deadline of this task's request, 0 or less once it has passed.

    Args:
        max_seconds: the longest that any request may take.

    Raises:
        RequestError: the header is not a positive number of milliseconds.
    """
    arrival = _ARRIVAL.get()
    if arrival is None:
        return max_seconds
    given = arrival.milliseconds
    if given is None:
        allowed = max_seconds
    elif given.isascii() and given.isdigit() and 0 < len(given) <= 12 and int(given):
        allowed = min(int(given) / 1000, max_seconds)
    else:
        raise RequestError(f"{HEADER} must be a whole number of milliseconds from 1 on, got {given!r:.40}")
    return arrival.time + allowed - time.monotonic()


class Deadline:
    """ASGI middleware that starts the clock when a request's headers have arrived."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(HEADER.encode())
            begin(None if given is None else given.decode("latin-1"))
        await self._app(scope, receive, send)
