from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import Receive, Scope, Send

from moon.serving.http_protocol import _OneWrite, protocol


class Recorder(asyncio.Transport):
    """Keeps what it is told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def pause_reading(self) -> None:
        self.told.append("pause")

    def close(self) -> None:
        self.told.append("close")


def test_what_is_written_in_one_turn_leaves_in_one_piece_and_in_order() -> None:
    async def talk() -> list[bytes | str]:
        transport = Recorder()
        joined = _OneWrite(transport)
        joined.write(b"head")
        joined.write(b"body")
        await asyncio.sleep(0)
        joined.pause_reading()
        joined.write(b"next")
        await asyncio.sleep(0)
        joined.write(b"last")
        joined.close()
        await asyncio.sleep(0)
        return transport.told

    assert asyncio.run(talk()) == [b"headbody", "pause", b"next", b"last", "close"]


def test_a_connection_made_just_before_the_end_gets_its_request_answered() -> None:
    async def talk() -> bytes:
        config = uvicorn.Config(_hello, port=0, http=protocol(5.0, 1000), log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        shutdown = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0.02)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await asyncio.gather(shutdown, running)
        return answer

    assert asyncio.run(asyncio.wait_for(talk(), 30)).endswith(b"hello")


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
