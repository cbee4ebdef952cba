from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.model.processing import Encoded
from moon.serving.batcher import Batcher, BatchLimits, Vectors, choose

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40)
LIMITS = st.builds(
    BatchLimits, max_items=st.integers(1, 20), max_tokens=st.integers(1, 2000), max_padding=st.floats(0, 1)
)


def one(length: int) -> Encoded:
    return Encoded((1,) * length, (3,) * length, ())


def lengths(items: Sequence[Encoded]) -> Vectors:
    return np.array([[len(item)] for item in items], np.float32)


class Gated:
    """A forward pass that waits to be let through and notes what it computed."""

    def __init__(self, poison: int = -1) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.passes: list[list[int]] = []
        self._poison = poison

    def __call__(self, items: Sequence[Encoded]) -> Vectors:
        self.entered.set()
        assert self.gate.wait(10)
        if any(len(item) == self._poison for item in items):
            raise RuntimeError("poison")
        self.passes.append([len(item) for item in items])
        return lengths(items)


def limits(**changes: float) -> BatchLimits:
    return BatchLimits(**{"max_items": 8, "max_tokens": 10_000, **changes})  # type: ignore[arg-type]


@given(LENGTHS, LIMITS)
def test_a_batch_keeps_its_limits_and_holds_the_oldest(waiting: list[int], bounds: BatchLimits) -> None:
    chosen = choose(waiting, bounds)
    assert chosen == sorted(set(chosen)) and chosen[0] == 0
    taken = [waiting[row] for row in chosen]
    padded = len(taken) * max(taken)
    assert len(taken) <= bounds.max_items
    assert padded <= bounds.max_tokens or len(taken) == 1
    assert padded - sum(taken) <= bounds.max_padding * padded + 1e-9


@given(LENGTHS, LIMITS)
def test_no_item_waits_for_more_batches_than_items_were_before_it(waiting: list[int], bounds: BatchLimits) -> None:
    left = list(range(len(waiting)))
    batches = 0
    while left:
        taken = [left[row] for row in choose([waiting[place] for place in left], bounds)]
        batches += 1
        assert all(place + 1 >= batches for place in taken)
        left = [place for place in left if place not in taken]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_what_fits_together_is_computed_together(waiting: list[int]) -> None:
    assert choose(waiting, limits(max_items=20)) == list(range(len(waiting)))


def test_items_of_like_length_share_a_batch() -> None:
    waiting = [10, 200, 11, 190, 9, 210]
    assert choose(waiting, limits(max_padding=0.2)) == [0, 2, 4]
    assert choose(waiting[1:], limits(max_padding=0.2)) == [0, 2, 4]
    assert choose(waiting, limits(max_tokens=25, max_padding=1.0)) in ([0, 2], [0, 4])


def test_what_waits_shares_a_pass() -> None:
    forward = Gated()
    batcher = Batcher(forward, limits(max_items=4))
    futures = [batcher.submit(one(1))]
    assert forward.entered.wait(10)
    futures += [batcher.submit(one(n)) for n in range(2, 8)]
    forward.gate.set()
    for n, future in enumerate(futures, 1):
        np.testing.assert_array_equal(future.result(10), [n])
    batcher.close()
    assert [len(taken) for taken in forward.passes] == [1, 4, 2]
    assert not batcher.alive


def test_a_batch_waits_for_what_is_on_its_way_and_would_fit() -> None:
    forward = Gated()
    forward.gate.set()
    coming = [2]
    batcher = Batcher(forward, limits(delay=30.0), lambda: coming)
    first = batcher.submit(one(1))
    coming.clear()
    second = batcher.submit(one(2))
    assert [first.result(10)[0], second.result(10)[0]] == [1, 2]
    coming.append(100_000)  # more than any batch may hold
    assert batcher.submit(one(3)).result(10)[0] == 3
    batcher.close()
    assert forward.passes == [[1, 2], [3]]


@pytest.mark.parametrize("place", range(6))
def test_one_poisonous_item_fails_alone(place: int) -> None:
    forward = Gated(poison=99)
    batcher = Batcher(forward, limits())
    first = batcher.submit(one(1))
    assert forward.entered.wait(10)
    sizes = [2, 3, 4, 5, 6, 7]
    sizes[place] = 99
    futures = [batcher.submit(one(n)) for n in sizes]
    forward.gate.set()
    assert first.result(10)[0] == 1
    for n, future in zip(sizes, futures, strict=True):
        if n == 99:
            with pytest.raises(RuntimeError, match="poison"):
                future.result(10)
        else:
            assert future.result(10)[0] == n
    batcher.close()


def test_a_cancelled_item_is_not_computed() -> None:
    forward = Gated()
    batcher = Batcher(forward, limits(max_items=1))
    kept = batcher.submit(one(1))
    assert forward.entered.wait(10)
    left, last = batcher.submit(one(2)), batcher.submit(one(3))
    assert left.cancel()
    forward.gate.set()
    assert [kept.result(10)[0], last.result(10)[0]] == [1, 3]
    batcher.close()
    assert forward.passes == [[1], [3]]


def test_closing_finishes_what_is_queued_and_refuses_more() -> None:
    forward = Gated()
    batcher = Batcher(forward, limits(max_items=1))
    futures = [batcher.submit(one(n)) for n in (1, 2, 3)]
    forward.gate.set()
    batcher.close()
    assert [future.result(0)[0] for future in futures] == [1, 2, 3]
    with pytest.raises(RuntimeError, match="stopped"):
        batcher.submit(one(1))
