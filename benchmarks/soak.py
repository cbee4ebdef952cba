"""Good, hostile and cancelled requests against our server for a while: no 5xx, no hang, no growing memory.

    make soak ARGS="--seconds 600"
    make soak ARGS="--model runs/registry/moon/v1/model --artefact runs/local/deploy/artefact"

Clients send at random a good request (over the Open Inference Protocol, OpenAI's shape, V1 and, with an artefact,
/search), a hostile one (see `_soak_requests.py`), or one that they leave while it is sent or computed. A good one must
be answered with 200 or refused with 429, a hostile one with 4xx. Memory is the resident set of the server and of the
processes that it started, each second; it has grown by the mean of the last fifth less that of the first fifth after a
warm-up, which also fills the cache.

Exits with 1 where an answer was another one, a request took longer than ``--patience`` seconds, memory grew by more
than ``--growth-mb``, a process died or was left over, or the server did not end with 0 on SIGTERM. The last line is one
JSON object; its ``ratio`` is memory at the start over memory at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import psutil
from _serving_inputs import Inputs, prepare
from _serving_load import Served, moon_command
from _soak_requests import OIP, Requests, Sent

from moon import telemetry

_SHARES: Final = {"good": 0.6, "hostile": 0.2, "cancelled": 0.15, "half sent": 0.05}
_LIVE, _READY, _METRICS = "/v2/health/live", "/v2/health/ready", "/metrics"
_BUSY: Final = 429
_SHOWN: Final = 10


class Soak:
    """The clients and what they saw.

    Args:
        served: the running server.
        requests: what they send.
        seed: of the mix.
        patience: seconds after which an answer counts as a hang.
    """

    def __init__(self, served: Served, requests: Requests, seed: int, patience: float) -> None:
        self._served, self._requests, self._patience = served, requests, patience
        self._random = random.Random(seed)
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self.faults: list[str] = []
        self.memory: list[tuple[float, float]] = []
        """Seconds and MiB."""

    async def run(self, clients: int, seconds: float) -> None:
        """Sends for so long, and samples the memory meanwhile."""
        started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=self._patience)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as http:
            watch = asyncio.create_task(self._watch(started))
            await asyncio.gather(*(self._client(http, started + seconds) for _ in range(clients)))
            watch.cancel()
            try:
                await self._check_health(http)
            except (TimeoutError, aiohttp.ClientError) as error:
                self.faults.append(f"after the load: {type(error).__name__}: {error}")

    async def _client(self, http: aiohttp.ClientSession, until: float) -> None:
        kinds, weights = list(_SHARES), list(_SHARES.values())
        while time.monotonic() < until:
            kind = self._random.choices(kinds, weights)[0]
            if kind == "half sent":
                await self._half_send(self._requests.good())
            elif kind == "cancelled":
                await self._cancel(http, self._requests.good())
            else:
                await self._ask(http, self._requests.good() if kind == "good" else self._requests.hostile())

    async def _ask(self, http: aiohttp.ClientSession, sent: Sent) -> None:
        try:
            async with http.post(self._served.base + sent.path, data=sent.body, headers=sent.headers) as answer:
                body = await answer.read()
        except TimeoutError:
            self.faults.append(f"{sent.name}: no answer after {self._patience} s")
            return
        except aiohttp.ClientError as error:
            self.faults.append(f"{sent.name}: {type(error).__name__}: {error}")
            return
        self.answers[sent.name, answer.status] += 1
        if answer.status not in sent.statuses and answer.status != _BUSY:
            self.faults.append(f"{sent.name}: {answer.status} {body[:200]!r} to {sent.body[:80]!r}")
        if answer.status == _BUSY:
            await asyncio.sleep(0.1)

    async def _cancel(self, http: aiohttp.ClientSession, sent: Sent) -> None:
        """Leaves while the request is under way."""
        asking = asyncio.create_task(self._ask(http, sent))
        await asyncio.wait([asking], timeout=self._random.uniform(0, 0.1))
        if asking.cancel():
            self.answers["cancelled", 0] += 1
        await asyncio.gather(asking, return_exceptions=True)

    async def _half_send(self, sent: Sent) -> None:
        """Promises a body, sends part of it and goes."""
        address = urlsplit(self._served.base)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST {sent.path} HTTP/1.1\r\nHost: moon\r\nContent-Type: application/json\r\n"
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(sent.body))
        writer.write(sent.body[: self._random.randrange(len(sent.body))])
        try:
            await writer.drain()
            await asyncio.sleep(self._random.uniform(0, 0.05))
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            self.answers["half sent, reset", 0] += 1
        self.answers["half sent", 0] += 1

    async def _watch(self, started: float) -> None:
        while True:
            self.memory.append((time.monotonic() - started, resident_mb(self._served.tree())))
            await asyncio.sleep(1)

    async def _check_health(self, http: aiohttp.ClientSession) -> None:
        """It must live, be ready, and answer a good request when the load is over."""
        await asyncio.sleep(1)
        for path in (_LIVE, _READY):
            async with http.get(self._served.base + path) as answer:
                if answer.status != 200:
                    self.faults.append(f"{path} says {answer.status} after the load")
        sent = self._requests.good()
        async with http.post(self._served.base + sent.path, data=sent.body, headers=sent.headers) as answer:
            if answer.status != 200:
                self.faults.append(f"{sent.name}: {answer.status} when nothing else was asked")
        async with http.get(self._served.base + _METRICS) as answer:
            lines = (await answer.text()).splitlines()
        pending = [line for line in lines if line.startswith("moon_pending_items ")]
        if pending and float(pending[0].split()[1]):
            self.faults.append(f"'{pending[0]}' when nothing is asked: a place was not freed")


def resident_mb(processes: list[psutil.Process]) -> float:
    """Resident set of them all."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def growth(memory: list[tuple[float, float]], warm_up: float) -> tuple[float, float]:
    """Mean MiB of the first and of the last fifth after the warm-up."""
    kept = [mib for second, mib in memory if second >= warm_up]
    if len(kept) < 5:
        raise SystemExit(f"{len(kept)} samples after a warm-up of {warm_up:.0f} s are too few; raise --seconds")
    fifth = len(kept) // 5
    return float(np.mean(kept[:fifth])), float(np.mean(kept[-fifth:]))


def main() -> int:
    """Prints what was answered and the JSON line; returns the exit code."""
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--warm-up", type=float, default=0.3, help="share of the seconds")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0)
    parser.add_argument("--growth-mb", type=float, default=40.0)
    parser.add_argument("--model", type=Path, help="a model folder; a tiny one with random weights without it")
    parser.add_argument("--artefact", type=Path, help="its search artefact; no /search without it")
    parser.add_argument("--photos", type=int, default=16, help="different drawings")
    arguments = parser.parse_args()
    if arguments.artefact and not arguments.model:
        parser.error("--artefact goes with the --model that it was made with")
    with tempfile.TemporaryDirectory() as name:
        return soak(arguments, Path(name))


def soak(arguments: argparse.Namespace, folder: Path) -> int:
    """One run; returns the exit code."""
    model = arguments.model or folder / "model"
    if not arguments.model:
        prepare(model)
    # A small cache is full after the warm-up.
    flags = [f"--artefact_dir={arguments.artefact}"] if arguments.artefact else ['--serving_params={"cache_mb": 1}']
    served = Served(moon_command(model, *flags), OIP, _READY, folder / "server.log")
    requests = Requests(Inputs(arguments.seed, arguments.photos), arguments.seed, bool(arguments.artefact))
    work = Soak(served, requests, arguments.seed, arguments.patience)
    with served:
        served.wait_ready()
        asyncio.run(work.run(arguments.clients, arguments.seconds))
        processes = served.tree()
        code = served.stop()
    if code != 0:
        work.faults.append(f"the server ended with {code} on SIGTERM")
    _, alive = psutil.wait_procs(processes[1:], timeout=5)
    if alive:
        work.faults.append(f"{len(alive)} of its processes are left")
    log = served.log.read_text(errors="replace")
    if "Traceback" in log:
        work.faults.append("the log holds a traceback: " + log[log.index("Traceback") :][:1500])
    start, end = growth(work.memory, arguments.warm_up * arguments.seconds)
    if end - start > arguments.growth_mb:
        work.faults.append(f"memory grew by {end - start:.0f} MiB, from {start:.0f} to {end:.0f}")
    report(work, start, end, arguments)
    return 1 if work.faults else 0


def report(work: Soak, start: float, end: float, arguments: argparse.Namespace) -> None:
    """The table of answers, the faults and the JSON line."""
    for (name, status), count in sorted(work.answers.items()):
        print(f"{name:20} {status or '-':>5} {count:7d}")
    print(f"memory {start:.0f} MiB after the warm-up, {end:.0f} MiB at the end")
    for fault in work.faults[:_SHOWN]:
        print(f"FAULT {fault}")
    if len(work.faults) > _SHOWN:
        print(f"and {len(work.faults) - _SHOWN} more")
    options: dict[str, Any] = {name: str(value) for name, value in vars(arguments).items()}
    line = {
        "ratio": round(start / end, 3),
        "ratio_of": "memory after the warm-up over memory at the end",
        "start_mb": round(start, 1),
        "end_mb": round(end, 1),
        "requests": sum(work.answers.values()),
        "server_errors": sum(count for (_, status), count in work.answers.items() if status >= 500),
        "faults": len(work.faults),
        **options,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    sys.exit(main())
