"""Processes that work for the server, and the frames that they exchange with it over a socket.

A frame is bytes after their number. Most hold JSON and raw arrays, so that nothing one side says is unpickled by the
other:

    "=", bytes of the JSON, JSON, the arrays one after another
    "!", JSON of a `Refused`

A frame goes out by one system call and comes in by two, which wake the process once each;
`multiprocessing.connection` wakes it for every piece, which for a few pictures takes ten times as long.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

_FINE, _ERROR = b"=", b"!"
_LENGTH, _HEAD = struct.Struct("<Q"), struct.Struct("<cI")
_MAX_MESSAGE: Final = 500
"""Characters of an error that are passed on."""
_MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
"""Lets glibc keep what a picture or a batch needed, up to 128 MiB, for the next one. By default it gives megabytes back
to the kernel after each and gets them again page by page, zeroed, which takes a tenth of all CPU time."""


class Refused(Exception):
    """What a process says instead of an answer.

    Args:
        code: short fixed name.
        message: why.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def pack(head: Mapping[str, Any], arrays: Iterable[NDArray[Any]] = ()) -> bytes:
    """A frame of ``head``, which says what the arrays are, and of their bytes."""
    said = orjson.dumps(head)
    return b"".join([_HEAD.pack(_FINE, len(said)), said, *(array.tobytes() for array in arrays)])


def refusal(code: str, message: str) -> bytes:
    """The frame of a `Refused`."""
    return _ERROR + orjson.dumps({"code": code, "message": message[:_MAX_MESSAGE]})


def unpack(frame: bytes | bytearray) -> tuple[dict[str, Any], memoryview]:
    """What was packed: the head, and the bytes of the arrays.

    Raises:
        Refused: it is a refusal.
    """
    if frame[:1] == _ERROR:
        raise Refused(**orjson.loads(frame[1:]))
    start = _HEAD.size + _HEAD.unpack_from(frame)[1]
    return orjson.loads(frame[_HEAD.size : start]), memoryview(frame)[start:]


def pixels(data: memoryview, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.uint8]]:
    """Pictures of these shapes that lie one after another."""
    ends = np.cumsum([0, *(math.prod(shape) for shape in shapes)]).tolist()
    return [
        np.frombuffer(data[start:end], np.uint8).reshape(shape)
        for start, end, shape in zip(ends, ends[1:], shapes, strict=False)
    ]


class Worker:
    """A process of our own code at the other end of a socket; it ends when the server does, however that ends.

    It starts with one CPU thread. The first frame that it is sent says what to load; its first is a hello.

    Args:
        module: what it runs; it calls `serve`.
        seconds: longest that it may take nothing, or say nothing, once it has said hello; 0 sets no limit.
    """

    def __init__(self, module: str, seconds: float = 0.0) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))
        places = os.pathsep.join(place for place in sys.path if place)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_MALLOC, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """Of the process; 0 where it has ended."""
        return self._process.pid if self._process.poll() is None else 0

    def load(self, frame: bytes, seconds: float | None = None) -> dict[str, Any]:
        """Says what to load, and waits for the hello.

        Args:
            frame: what the module's loader takes.
            seconds: longest wait; None waits as long as the process lives.

        Raises:
            Refused: it cannot be loaded.
            TimeoutError: it says nothing in time.
            EOFError, OSError: it has ended.
        """
        _send(self._socket, frame)
        arrival = select.poll()  # unlike select.select it knows files of any number
        arrival.register(self._socket, select.POLLIN)
        if not arrival.poll(None if seconds is None else 1000 * seconds):
            raise TimeoutError
        return unpack(_receive(self._socket))[0]

    def ask(self, frame: bytes) -> tuple[dict[str, Any], memoryview]:
        """What the process answers, unpacked.

        Raises:
            Refused: it says so.
            BlockingIOError: it has taken or said nothing for too long.
            EOFError, OSError: it has ended.
        """
        _send(self._socket, frame)
        return unpack(_receive(self._socket))

    def ending(self) -> str:
        """How a process that closed its socket has ended, in words."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it has closed its socket and runs on"
        return f"it ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"

    def kill(self) -> None:
        """Ends the process, from any thread; one that waits for its answer is told by `EOFError`."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends the process and closes the socket, which no other thread may be using."""
        self.kill()
        self._socket.close()


def serve(load: Callable[[bytearray], tuple[Mapping[str, Any], Callable[[bytearray], bytes]]]) -> None:
    """The process's side: loads, says hello, and answers until the socket closes.

    Args:
        load: from the first frame to the head of the hello and to what answers the others; what it raises is refused
            under the code ``cannot_load``.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the server stops its processes itself, after the last request
        signal.signal(number, signal.SIG_IGN)
    server = socket.socket(fileno=int(sys.argv[1]))
    try:
        wanted = _receive(server)
        try:
            hello, answer = load(wanted)
        except Exception as error:
            _send(server, refusal("cannot_load", str(error) or type(error).__name__))
            return
        _send(server, pack(hello))
        while True:
            _send(server, answer(_receive(server)))
    except (EOFError, ConnectionError):
        return


def _send(end: socket.socket, frame: bytes) -> None:
    length = _LENGTH.pack(len(frame))
    sent = end.sendmsg([length, frame])
    if sent < len(length) + len(frame):  # interrupted
        end.sendall((length + frame)[sent:])


def _receive(end: socket.socket) -> bytearray:
    return _take(end, _LENGTH.unpack(_take(end, _LENGTH.size))[0])


def _take(end: socket.socket, size: int) -> bytearray:
    """The next ``size`` bytes.

    Raises:
        EOFError: the other end has been closed.
    """
    data, taken = bytearray(size), 0
    while taken < size:
        count = end.recv_into(memoryview(data)[taken:], size - taken, socket.MSG_WAITALL)
        if not count:
            raise EOFError
        taken += count
    return data
