from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moon.serving.query import Query
from tests.serving.test_engine import Machine, run

SECONDS = 0.6
"""Liveness limit of the tests; above the half second that one probe waits."""


@pytest.fixture
def machine(tiny_model: Path) -> Iterator[Machine]:
    machine = Machine(tiny_model, liveness_seconds=SECONDS, decode_processes=1, max_seconds=20.0)
    machine.engine.warm_up()
    yield machine
    machine.gate.set()
    machine.engine.close()


def test_an_idle_engine_is_alive_by_a_real_pass_once_a_second(machine: Machine) -> None:
    async def probe() -> None:
        await asyncio.sleep(1.1)
        before = len(machine.passes)
        assert await machine.engine.live()
        assert len(machine.passes) == before + 1
        for _ in range(20):
            assert await machine.engine.live()
        assert len(machine.passes) <= before + 2

    run(probe())


def test_a_wedged_model_is_not_alive_and_recovers_when_it_moves(machine: Machine) -> None:
    async def probe() -> None:
        machine.hold()
        request = asyncio.create_task(machine.embed(Query("mug")))
        await machine.held()
        started = time.monotonic()
        while await machine.engine.live():
            assert time.monotonic() - started < 20
        assert time.monotonic() - started >= SECONDS / 2
        assert not machine.engine.ready
        machine.gate.set()
        await request
        assert await machine.engine.live()
        assert machine.engine.ready

    run(probe())


def test_a_model_that_fails_every_pass_is_not_alive(machine: Machine) -> None:
    async def probe() -> None:
        machine.poison = len(machine.engine._tiny)
        await asyncio.sleep(1.1)
        assert not await machine.engine.live()
        machine.poison = -1
        assert await machine.engine.live()

    run(probe())


def test_a_dead_thread_is_not_alive(machine: Machine) -> None:
    machine.engine._batcher.close()
    assert not run(machine.engine.live())
    assert not machine.engine.ready


def test_a_probe_answers_soon_however_long_the_queue(machine: Machine) -> None:
    async def probe() -> None:
        await asyncio.sleep(1.1)
        machine.hold()
        requests = [asyncio.create_task(machine.embed(Query(f"mug {number}"))) for number in range(8)]
        await machine.held()
        started = time.monotonic()
        await machine.engine.live()
        assert time.monotonic() - started < 10
        machine.gate.set()
        await asyncio.gather(*requests)

    run(probe())
