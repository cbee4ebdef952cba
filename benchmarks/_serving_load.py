"""Servers as processes, and clients that ask them in a closed loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import httpx
import psutil

from moon import telemetry
from moon.cluster.deployment import free_ports

HOST = "127.0.0.1"
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Turn:
    """What one closed loop saw."""

    seconds: float
    cpu_seconds: float
    """Of the server, with its processes."""
    milliseconds: list[float] = field(repr=False)
    """Of each request."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.milliseconds) / self.seconds


class Served:
    """A server in a process group of its own, stopped on leaving the context.

    Args:
        command: starts it; ``{port}`` and ``{grpc}`` stand for free ports.
        path: where requests are posted.
        ready: answers 200 when it is ready.
        log: gets its output.
        environment: added to ours.
    """

    def __init__(
        self, command: Sequence[str], path: str, ready: str, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        port, grpc = free_ports(HOST, 2)
        self.base = f"http://{HOST}:{port}"
        self.url, self.log, self._ready = self.base + path, log, self.base + ready
        self._command = [part.replace("{port}", str(port)).replace("{grpc}", str(grpc)) for part in command]
        self._environment = {**os.environ, **telemetry.OFF, "HF_HUB_OFFLINE": "1", **(environment or {})}

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self.process = psutil.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._environment, start_new_session=True
            )
        return self

    def wait_ready(self, seconds: float = 300.0) -> None:
        """Returns when it is ready.

        Raises:
            RuntimeError: it has ended or takes longer; the message holds the end of its log.
        """
        until = time.monotonic() + seconds
        with httpx.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() < until and self.process.poll() is None:
                try:
                    if http.get(self._ready).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
        raise RuntimeError(f"{' '.join(self._command[:4])} is not ready; its last words: {self.last_words()}")

    def last_words(self, lines: int = 3) -> str:
        """The end of its log."""
        kept = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(kept[-lines:])

    def tree(self) -> list[psutil.Process]:
        """The server's process and those that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Used so far by all its processes."""
        total = 0.0
        for process in self.tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, then SIGKILL to its group; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code: int = self.process.wait(seconds)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            code = self.process.wait(seconds)
        return code

    def __exit__(self, *error: object) -> None:
        self.stop()


def closed_loop(served: Served, body: Callable[[], bytes], clients: int, seconds: float) -> Turn:
    """Each client sends its next request when the last one is answered; what is not 200 ends the measurement."""
    return asyncio.run(_closed_loop(served, body, clients, seconds))


async def _closed_loop(served: Served, body: Callable[[], bytes], clients: int, seconds: float) -> Turn:
    milliseconds: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=_JSON, trust_env=False) as http:

        async def client(until: float, kept: list[float]) -> None:
            while time.perf_counter() < until:
                data = body()
                started = time.perf_counter()
                async with http.post(served.url, data=data) as answer:
                    text = await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{served.url} answers {answer.status}: {text[:200]!r}")
                kept.append(1000 * (time.perf_counter() - started))

        async def all_clients(span: float, kept: list[float]) -> None:
            until = time.perf_counter() + span
            await asyncio.gather(*(client(until, kept) for _ in range(clients)))

        await all_clients(min(0.5, seconds / 4), [])
        started, worked = time.perf_counter(), served.cpu_seconds()
        await all_clients(seconds, milliseconds)
        return Turn(time.perf_counter() - started, served.cpu_seconds() - worked, milliseconds)


def moon_command(model: Path, *flags: str) -> list[str]:
    """Starts our server on a model."""
    ports = ["--http_port={port}", "--grpc_port={grpc}"]
    return [sys.executable, "-m", "moon.serving", f"--model_dir={model}", *ports, *flags]
