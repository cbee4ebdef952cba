from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.training.sampler import DistinctProductSampler

PRODUCTS = [f"p{number % 7 if number % 3 else 0}" for number in range(60)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 3), st.data())
def test_no_product_twice_and_no_row_twice_in_an_epoch(products: list[int], seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(set(products))))
    sampler = DistinctProductSampler([str(p) for p in products], size, seed)
    epoch = list(sampler._epoch(0))
    rows = [row for batch in epoch for row in batch]
    assert epoch and len(rows) == len(set(rows))
    for batch in epoch:
        assert len(batch) == size == len({products[row] for row in batch})


def test_resumed_stream_is_the_rest_of_the_whole() -> None:
    sampler = DistinctProductSampler(PRODUCTS, 4, seed=3)
    whole = list(islice(sampler.batches(), 40))
    assert list(islice(sampler.batches(13), 27)) == whole[13:]


def test_seed_and_epoch_change_the_order() -> None:
    first = list(islice(DistinctProductSampler(PRODUCTS, 4, seed=0).batches(), 20))
    assert first != list(islice(DistinctProductSampler(PRODUCTS, 4, seed=1).batches(), 20))
    sampler = DistinctProductSampler(PRODUCTS, 4, seed=0)
    assert list(sampler._epoch(0)) != list(sampler._epoch(1))


@pytest.mark.parametrize("size", [0, 8])
def test_impossible_batch_size_names_the_limit(size: int) -> None:
    with pytest.raises(ValueError, match=rf"batch_size is {size}, but 7 distinct .* 1\.\.7"):
        DistinctProductSampler(PRODUCTS, size, seed=0)
