from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.training.minibatches import fill

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths=LENGTHS, budget=st.integers(1, 300), at_least=st.integers(1, 12))
def test_every_unit_is_in_one_minibatch_within_the_budget(lengths: list[int], budget: int, at_least: int) -> None:
    batches = fill(lengths, budget, at_least)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= budget
    assert len(batches) >= min(at_least, len(lengths))


@given(lengths=LENGTHS, budget=st.integers(60, 3000))
def test_longest_first_and_little_padding(lengths: list[int], budget: int) -> None:
    batches = fill(lengths, budget)
    longest = [max(lengths[place] for place in batch) for batch in batches]
    shortest = [min(lengths[place] for place in batch) for batch in batches]
    assert all(short >= following for short, following in zip(shortest, longest[1:], strict=False))


def test_nothing_to_embed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one purchase"):
        fill([], 100)
