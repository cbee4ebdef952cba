from __future__ import annotations

import asyncio

from moon.serving.http_protocol import _OneWrite


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
