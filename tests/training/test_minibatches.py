from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.model.processing import Encoded
from moon.training.minibatches import Unit, cost, fill


def unread() -> Encoded:
    raise AssertionError("sizes are enough")


UNITS = st.lists(
    st.builds(Unit, length=st.integers(1, 60), patches=st.integers(0, 80), encode=st.just(unread)),
    min_size=1,
    max_size=80,
)


@given(units=UNITS, budget=st.integers(1, 600), at_least=st.integers(1, 12))
def test_every_unit_is_in_one_minibatch_within_the_budget(units: list[Unit], budget: int, at_least: int) -> None:
    batches = fill(units, budget, at_least)
    assert sorted(place for batch in batches for place in batch) == list(range(len(units)))
    assert all(len(batch) == 1 or cost([units[place] for place in batch]) <= budget for batch in batches)
    assert len(batches) >= min(at_least, len(units))


@given(units=UNITS, budget=st.integers(60, 3000))
def test_longest_first_and_little_padding(units: list[Unit], budget: int) -> None:
    lengths = [[units[place].length for place in batch] for batch in fill(units, budget)]
    assert all(min(one) >= max(following) for one, following in itertools.pairwise(lengths))


def test_short_units_are_not_padded_to_long_ones_where_both_are_many() -> None:
    units = [Unit(length=length, encode=unread) for length in [50] * 40 + [5] * 20]
    assert [len(batch) for batch in fill(units, 10_000)] == [40, 20]
    assert [len(batch) for batch in fill(units[39:], 10_000)] == [21]


def test_nothing_to_embed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one purchase"):
        fill([], 100)
