from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moon.serving.cache import Answer, AnswerCache
from moon.serving.query import content_key

ROOM = 4 * 8 + 640
"""Bytes of one entry of the tests."""


def answer(number: int) -> Answer:
    return Answer(vector=np.full(8, number, np.float32), norm=1.0, tokens=number, region=None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 6))
def test_it_is_a_least_recently_used_cache_within_its_bytes(steps: list[tuple[bool, int]], places: int) -> None:
    cache, model = AnswerCache(places * ROOM), OrderedDict[int, None]()
    for put, number in steps:
        key = bytes([number])
        if put:
            cache.put(key, answer(number))
            model[number] = None
            model.move_to_end(number)
            while len(model) > places:
                model.popitem(last=False)
        else:
            found = cache.get(key)
            assert (found is not None) == (number in model)
            if found is not None:
                assert found.tokens == number
                model.move_to_end(number)
        assert len(cache) == len(model)
        assert cache.size == len(model) * ROOM <= places * ROOM


def test_a_kept_row_lets_go_of_its_batch() -> None:
    cache, batch = AnswerCache(10 * ROOM), np.ones((32, 8), np.float32)
    cache.put(b"a", Answer(vector=batch[3], norm=1.0, tokens=1, region=None))
    kept = cache.get(b"a")
    assert kept is not None and kept.vector.base is None


@given(st.text(max_size=5), st.binary(max_size=5), st.text(max_size=5), st.binary(max_size=5))
def test_only_the_same_content_of_one_model_has_one_key(a: str, x: bytes, b: str, y: bytes) -> None:
    assert (content_key("r", a, x) == content_key("r", b, y)) == ((a, x) == (b, y))
    assert content_key("r", a, x) != content_key("s", a, x)
