from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from moon.serving.http_protocol import _OneWrite, close_port, protocol

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
PLAIN: Final[dict[str, Any]] = {"server_header": False, "date_header": False}


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


async def started(connections: int = 100) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    http = protocol(5.0, 1000, connections)
    config = uvicorn.Config(_hello, port=0, http=http, log_level="critical", lifespan="off", **PLAIN)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    return server, running


def test_a_connection_made_just_before_the_end_gets_its_request_answered() -> None:
    async def talk() -> bytes:
        server, running = await started()
        reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        shutdown = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0.02)
        writer.write(REQUEST)
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await asyncio.gather(shutdown, running)
        return answer

    assert asyncio.run(asyncio.wait_for(talk(), 30)).endswith(b"hello")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_closed_port_leaves_no_connection_unaccepted(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def talk() -> list[bytes]:
        server, running = await started()
        place = server.servers[0].sockets[0].getsockname()
        made = [socket.create_connection(place) for _ in range(20)]  # the loop, blocked, accepts none of them
        await close_port(server)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place)
        ends = [await asyncio.open_connection(sock=one) for one in made]
        for _, writer in ends:
            writer.write(REQUEST)
        server.should_exit = True
        answers = [await reader.read() for reader, _ in ends]
        for _, writer in ends:
            writer.close()
        await running
        return answers

    with asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(asyncio.wait_for(talk(), 30))
    assert len(answers) == 20 and all(answer.endswith(b"hello") for answer in answers)


def test_one_connection_too_many_takes_the_place_of_the_one_without_a_request_longest() -> None:
    async def talk() -> None:
        server, running = await started(connections=3)
        place = server.servers[0].sockets[0].getsockname()

        async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            end = await asyncio.open_connection(*place)
            await answer(end)  # so that they are taken in order
            return end

        async def answer(end: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
            end[1].write(REQUEST)
            return await end[0].readexactly(len(HELLO))

        first, second, third = [await connected() for _ in range(3)]
        assert await answer(first) == HELLO
        fourth = await connected()
        assert await second[0].read() == b"", "second had been idle longest"
        for reader, writer in (first, third, fourth):
            writer.write(BEGUN)
            await asyncio.sleep(0.05)
            assert not reader.at_eof()
        reader, writer = await asyncio.open_connection(*place)
        assert b" 503 " in (await reader.read()).split(b"\r\n")[0]
        writer.close()
        for end in (first, third, fourth):
            end[1].write(b"x")
            assert await end[0].readexactly(len(HELLO)) == HELLO
        assert await answer(await connected()) == HELLO
        assert await first[0].read() == b""
        for _, writer in (first, second, third, fourth):
            writer.close()
        server.should_exit = True
        await running

    asyncio.run(asyncio.wait_for(talk(), 30))


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
