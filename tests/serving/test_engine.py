from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from moon.catalog.store import Catalog
from moon.config import RegionsParams, ServingParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.model.processing import Encoded
from moon.serving import deadline, metrics
from moon.serving.batcher import Vectors
from moon.serving.engine import Embedded, Engine
from moon.serving.errors import DeadlinePassed, Draining, Overloaded, RequestError
from moon.serving.query import Query

T = TypeVar("T")
ROWS = 18


class Machine:
    """An engine whose forward pass can be held, failed and counted."""

    def __init__(self, model: Path, **params: Any) -> None:
        embedder = Embedder.load(model)
        self._compute = embedder.embed_encoded
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.passes: list[int] = []
        self.poison = -1
        embedder.embed_encoded = self._forward  # type: ignore[method-assign]
        self.engine = Engine(embedder, ServingParams(**params), RegionsParams())

    def _forward(self, items: Sequence[Encoded]) -> Vectors:
        self.entered.set()
        assert self.gate.wait(30)
        if any(len(item) == self.poison for item in items):
            raise RuntimeError("poison")
        self.passes.append(len(items))
        return np.asarray(self._compute(items))

    def hold(self) -> None:
        self.gate.clear()
        self.entered.clear()

    async def held(self) -> None:
        """Until the model's thread is in a pass."""
        while not self.entered.is_set():
            await asyncio.sleep(0.005)

    async def embed(self, *queries: Query) -> Embedded:
        return await self.engine.embed(queries, "test")


def run(steps: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(steps, 120))


@pytest.fixture
def machine(tiny_model: Path) -> Iterator[Machine]:
    machine = Machine(tiny_model, max_pending_items=4, max_request_items=4, decode_processes=1)
    yield machine
    machine.gate.set()
    machine.engine.close()


@pytest.fixture(scope="module")
def traffic(tiny_catalog: Path, tiny_regions: Path, tiny_model: Path) -> tuple[list[Query], Vectors]:
    """Texts, photos and both, and what they are embedded to without a server."""
    source, catalog = ItemSource(tiny_catalog, tiny_regions), Catalog.open(tiny_catalog)
    kinds: dict[tuple[bool, bool], list[dict[str, Any]]] = {}
    for row in catalog.rows("interactions"):
        kinds.setdefault((bool(row["query_text"]), bool(row["query_image_id"])), []).append(row)
    rows = [row for group in zip(*kinds.values(), strict=False) for row in group][:ROWS]
    store = catalog.image_store()
    queries = [
        Query(row["query_text"] or "", store[row["query_image_id"]] if row["query_image_id"] else b"") for row in rows
    ]
    return queries, Embedder.load(tiny_model).embed([source.query(row) for row in rows])


def test_a_vector_is_the_offline_one_whatever_batch_it_falls_in(
    tiny_model: Path, traffic: tuple[list[Query], Vectors]
) -> None:
    queries, offline = traffic
    random = np.random.default_rng(0)
    machine = Machine(tiny_model, cache_mb=0, max_batch_items=5, max_batch_tokens=150)

    async def one(rows: Sequence[int]) -> None:
        answer = await machine.embed(*(queries[row] for row in rows))
        np.testing.assert_allclose(answer.vectors, offline[rows], atol=1e-5)
        assert [one is not None for one in answer.regions] == [bool(queries[row].image) for row in rows]

    async def all_at_once() -> None:
        for parts in (1, 6, ROWS):
            order = random.permutation(ROWS)
            await asyncio.gather(*(one(part.tolist()) for part in np.array_split(order, parts)))

    try:
        run(all_at_once())
        assert len(set(machine.passes)) > 1, "every batch had one size"
        assert sum(machine.passes) == 3 * ROWS
    finally:
        machine.engine.close()


def test_a_bad_item_fails_only_itself(machine: Machine, traffic: tuple[list[Query], Vectors]) -> None:
    queries, offline = traffic
    photo = next(row for row, query in enumerate(queries) if query.view == "image")
    answer = run(machine.embed(Query("a red mug"), Query(image=b"junk"), queries[photo], Query(" ")))
    assert [error and error.code for error in answer.errors] == [None, "not_an_image", None, "empty"]
    assert [bool(tokens) for tokens in answer.tokens] == [True, False, True, False]
    assert [region is not None for region in answer.regions] == [False, False, True, False]
    np.testing.assert_array_equal(answer.vectors[[1, 3]], 0)
    np.testing.assert_allclose(answer.vectors[2], offline[photo], atol=1e-5)
    assert machine.engine.pending == 0


def test_a_request_without_a_good_item_is_refused_and_names_each(machine: Machine) -> None:
    with pytest.raises(RequestError, match=r"item 0: image: 4 bytes.*; item 1: needs a text") as refused:
        run(machine.embed(Query(image=b"junk"), Query()))
    assert (refused.value.code, refused.value.status) == ("not_an_image", 400)


def test_an_item_that_fails_in_the_model_fails_only_itself(machine: Machine) -> None:
    machine.poison = run(machine.embed(Query("one two three four five six seven"))).tokens[0]
    machine.engine._cache._answers.clear()
    answer = run(machine.embed(Query("a"), Query("one two three four five six seven"), Query("b")))
    assert [error and error.code for error in answer.errors] == [None, "forward_failed", None]
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), [1, 0, 1], atol=1e-5)
    with pytest.raises(RequestError) as refused:
        run(machine.embed(Query("one two three four five six seven")))
    assert refused.value.status == 500


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_or_many_items_are_refused(machine: Machine, count: int) -> None:
    with pytest.raises(RequestError, match=f"1 to 4 items, got {count}"):
        run(machine.embed(*[Query("a")] * count))


def test_what_was_asked_before_is_not_computed_again(machine: Machine, traffic: tuple[list[Query], Vectors]) -> None:
    queries, _ = traffic
    asked = [next(query for query in queries if query.view == view) for view in ("text", "image", "multimodal")]
    first = run(machine.embed(*asked))
    passes = list(machine.passes)
    second = run(machine.embed(*asked[::-1]))
    assert machine.passes == passes
    np.testing.assert_array_equal(second.vectors[::-1], first.vectors)
    assert (second.tokens[::-1], second.regions[::-1]) == (first.tokens, first.regions)
    run(machine.embed(Query(asked[2].text, asked[1].image)))
    assert len(machine.passes) == len(passes) + (asked[2].image != asked[1].image)


def test_a_full_server_refuses_and_recovers(machine: Machine) -> None:
    async def overload() -> None:
        machine.hold()
        running = asyncio.create_task(machine.embed(*[Query("mug")] * 3))
        await machine.held()
        with pytest.raises(Overloaded) as refused:
            await machine.embed(Query("lamp"), Query("lamp"))
        assert "3 items are waiting" in str(refused.value.details)
        assert metrics.PENDING._value.get() == 3
        machine.gate.set()
        assert (await running).vectors.shape == (3, machine.engine.dim)
        assert (await machine.embed(*[Query("lamp")] * 4)).vectors.shape == (4, machine.engine.dim)

    run(overload())


@pytest.mark.parametrize("view", ["text", "image"])
def test_a_cancelled_request_frees_its_place_and_is_not_computed(
    machine: Machine, traffic: tuple[list[Query], Vectors], view: str
) -> None:
    query = next(query for query in traffic[0] if query.view == view)

    async def cancel() -> None:
        machine.hold()
        running = asyncio.create_task(machine.embed(Query("in the pass")))
        await machine.held()
        waiting = asyncio.create_task(machine.embed(query, Query("behind it")))
        await asyncio.sleep(0.05)
        assert machine.engine.pending == 3
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert machine.engine.pending == 1
        machine.gate.set()
        await running
        await machine.embed(Query("after it"))

    run(cancel())
    assert sum(machine.passes) == 2


def test_a_late_request_is_refused_and_frees_its_place(machine: Machine) -> None:
    async def late() -> None:
        machine.hold()
        deadline.begin("50")
        with pytest.raises(DeadlinePassed):
            await machine.embed(Query("mug"), Query("lamp"))
        assert machine.engine.pending == 0
        machine.gate.set()
        with pytest.raises(DeadlinePassed):  # its time is over before it starts
            await machine.embed(Query("vase"))
        deadline.begin("60000")
        assert (await machine.embed(Query("mug"))).errors == [None]

    run(late())


def test_no_request_takes_longer_than_any_may(tiny_model: Path) -> None:
    machine = Machine(tiny_model, max_seconds=0.05, decode_processes=1)
    try:
        machine.hold()
        with pytest.raises(DeadlinePassed):
            run(machine.embed(Query("mug")))
    finally:
        machine.gate.set()
        machine.engine.close()


@pytest.mark.parametrize("given", ["", "0", "-5", "1e3", "1.5", "²", "9" * 13, "soon"])
def test_a_deadline_that_is_no_number_is_refused(machine: Machine, given: str) -> None:
    async def ask() -> None:
        deadline.begin(given)
        await machine.embed(Query("mug"))

    with pytest.raises(RequestError, match="x-request-timeout-ms must be a whole number"):
        run(ask())
    assert machine.engine.pending == 0


def test_a_draining_engine_finishes_what_it_has_and_takes_nothing_more(machine: Machine) -> None:
    async def drain() -> None:
        machine.engine.warm_up()
        assert machine.engine.ready
        machine.hold()
        running = asyncio.create_task(machine.embed(Query("mug")))
        await machine.held()
        machine.engine.drain()
        assert not machine.engine.ready
        with pytest.raises(Draining):
            await machine.embed(Query("lamp"))
        machine.gate.set()
        assert (await running).errors == [None]
        assert await machine.engine.live()

    run(drain())


def test_a_vector_that_is_no_number_is_never_an_answer(machine: Machine) -> None:
    compute = machine._compute
    machine._compute = lambda items: compute(items) * np.array([[np.nan]])  # type: ignore[method-assign]
    for _ in range(2):  # nor is it cached
        with pytest.raises(RequestError) as refused:
            run(machine.embed(Query("mug")))
        assert (refused.value.status, refused.value.code) == (500, "forward_failed")
    machine._compute = compute  # type: ignore[method-assign]
    assert run(machine.embed(Query("mug"))).errors == [None]


def test_the_engine_is_ready_only_after_real_passes(machine: Machine) -> None:
    assert not machine.engine.ready
    machine.engine.warm_up()
    assert machine.engine.ready
    assert len(machine.passes) >= 2


def test_a_model_that_gives_no_unit_vectors_never_gets_ready(machine: Machine) -> None:
    compute = machine._compute
    machine._compute = lambda items: compute(items) * np.nan  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="norm nan, expected 1"):
        machine.engine.warm_up()
    assert not machine.engine.ready
