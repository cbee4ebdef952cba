from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.model.item import View
from moon.training.sampler import BatchSampler, SamplerRows, _quotas, rank_rows

KINDS: tuple[View, ...] = ("image", "image", "image", "text", "multimodal", "image", "text")
PATHS = [(top, middle, leaf) for top in "AB" for middle in "cd" for leaf in "xyz"] + [("A",), ()]


def rows(products: list[int], groups: dict[str, int] | None = None) -> SamplerRows:
    """Row ``i`` buys ``products[i]`` with the kind of query ``KINDS[i % 7]``; product ``p`` is in ``PATHS[p % 14]``."""
    return SamplerRows(
        product_ids=[f"p{product}" for product in products],
        views=[KINDS[row % 7] for row in range(len(products))],
        categories=[PATHS[product % 14] for product in products],
        groups=groups or {},
    )


MANY = rows([number * number % 97 % 41 for number in range(400)])


def first(sampler: BatchSampler, number: int, start: int = 0) -> list[list[int]]:
    return list(islice(sampler.batches(start), number))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 3), st.data())
def test_plain_epochs_have_no_row_and_no_batch_a_product_twice(
    products: list[int], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(set(products))))
    counts = Counter(products).values()
    feasible = takewhile(lambda k: sum(min(k, n) for n in counts) >= k * size, range(1, 100))
    length = max(feasible)  # the most batches that these products allow
    batches = first(BatchSampler(rows(products), size, seed), 3 * length)
    for batch in batches:
        assert len(batch) == size == len({products[row] for row in batch})
    for epoch in range(3):
        used = [row for batch in batches[epoch * length : (epoch + 1) * length] for row in batch]
        assert len(used) == len(set(used)) == length * size


@given(st.integers(0, 600), st.integers(0, 3), st.sampled_from([(), (12, 3, 2), (1, 1, 0)]), st.sampled_from([0, 0.3]))
def test_resumed_stream_is_the_rest_of_the_whole(start: int, seed: int, mix: tuple[int, ...], share: float) -> None:
    def sampler() -> BatchSampler:
        return BatchSampler(MANY, 9, seed, mix, share)

    assert first(sampler(), 5, start) == first(sampler(), start + 5)[start:]


@pytest.mark.parametrize("mix", [(), (12, 3, 2)])
def test_seed_changes_the_order(mix: tuple[int, ...]) -> None:
    assert first(BatchSampler(MANY, 9, 0, mix), 20) != first(BatchSampler(MANY, 9, 1, mix), 20)


@given(st.integers(6, 20), st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_batch_has_the_mix_and_no_product_twice(size: int, seed: int, share: float) -> None:
    quotas = _quotas((12, 3, 2), size)
    for batch in first(BatchSampler(MANY, size, seed, (12, 3, 2), share), 40):
        assert len({MANY.product_ids[row] for row in batch}) == size
        kinds = Counter(MANY.views[row] for row in batch)
        assert [kinds[kind] for kind in ("image", "text", "multimodal")] == quotas


def test_mixed_streams_use_every_row_about_equally_often() -> None:
    products = [number % 90 for number in range(1000)]
    batches = first(BatchSampler(rows(products), 17, 0, (12, 3, 2)), 1000)
    used = Counter(row for batch in batches for row in batch)
    for kind, per_batch in (("image", 12), ("text", 3), ("multimodal", 2)):
        mine = [row for row in range(1000) if KINDS[row % 7] == kind]
        mean = per_batch * 1000 / len(mine)
        assert all(0.7 * mean < used[row] < 1.3 * mean for row in mine)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(1, 100))
def test_quotas_are_within_one_of_the_shares(shares: list[int], size: int) -> None:
    quotas = _quotas(shares, size)
    assert sum(quotas) == size
    assert all(abs(q - s * size / sum(shares)) < 1 for q, s in zip(quotas, shares, strict=True))


def test_near_duplicates_stand_in_no_batch_together() -> None:
    groups = {f"p{product}": product // 3 for product in range(30)}
    sampler = BatchSampler(rows(list(range(40)) * 3, groups), 12, 0, category_share=0.4)
    for batch in first(sampler, 60):
        assert len({row % 40 // 3 if row % 40 < 30 else row % 40 + 100 for row in batch}) == 12


def shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@given(st.integers(1, 20), st.integers(0, 20))
def test_category_batch_is_the_nearest_products_of_one_of_its_rows(size: int, seed: int) -> None:
    path = dict(zip(MANY.product_ids, MANY.categories, strict=True))
    for batch in first(BatchSampler(MANY, size, seed, category_share=1.0), 10):
        inside = {MANY.product_ids[row] for row in batch}
        assert len(inside) == size

        def nearest(start: tuple[str, ...], inside: set[str] = inside) -> bool:
            levels = {id_: shared(start, other) for id_, other in path.items()}
            return min(levels[id_] for id_ in inside) >= max(
                (level for id_, level in levels.items() if id_ not in inside), default=0
            )

        assert any(nearest(path[id_]) for id_ in inside)


@pytest.mark.parametrize("share", [0.25, 0.1, 1.0])
def test_category_batches_are_spread_evenly(share: float) -> None:
    flat = SamplerRows(
        product_ids=[str(n) for n in range(2000)],
        views=["text"] * 2000,
        categories=[(str(n % 100),) for n in range(2000)],
    )
    batches = first(BatchSampler(flat, 8, 0, category_share=share), 200)
    pure = [number for number, batch in enumerate(batches) if len({row % 100 for row in batch}) == 1]
    assert len(pure) == 200 * share
    gaps = {after - before for before, after in zip(pure, pure[1:], strict=False)}
    assert gaps == {round(1 / share)}


@given(st.integers(1, 40), st.integers(1, 8))
def test_ranks_share_a_batch_without_overlap(size: int, world: int) -> None:
    batch = list(range(100, 100 + size))
    if size < world:
        with pytest.raises(ValueError, match="training.batch_size"):
            rank_rows(batch, 0, world)
        return
    parts = [rank_rows(batch, rank, world) for rank in range(world)]
    assert [row for part in parts for row in part] == batch
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_rank_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rank 2 of 2 .* 0\.\.1"):
        rank_rows([1, 2], 2, 2)


@pytest.mark.parametrize("size", [0, 8])
def test_impossible_batch_size_names_the_limit(size: int) -> None:
    with pytest.raises(ValueError, match=rf"batch_size is {size}, but 7 distinct products are .* 1\.\.7"):
        BatchSampler(rows(list(range(7)) * 3), size, seed=0)


@pytest.mark.parametrize(
    ("mix", "size", "message"),
    [
        ((1, 2), 4, r"modality_mix is \[1, 2\].*\[12, 3, 2\]"),
        ((0, 0, 0), 4, r"modality_mix is \[0, 0, 0\]"),
        ((12, 0, 1), 4, "leaves no multimodal query .*batch_size 4"),
        ((1, 1, 0), 4, "text queries a share of 1, but the training split has none"),
        ((1, 0, 1), 6, "modality_mix asks for 3 rows .* 2 distinct products"),
    ],
)
def test_impossible_mix_is_refused(mix: tuple[int, ...], size: int, message: str) -> None:
    pictures: list[View] = ["image"] * 8 + ["multimodal"] * 2
    given = SamplerRows(product_ids=list("abcdefghij"), views=pictures, categories=[()] * 10)
    with pytest.raises(ValueError, match=message):
        BatchSampler(given, size, 0, mix)


def test_rows_that_wait_are_not_lost() -> None:
    """One product is in every kind of query, so that rows wait all the time."""
    views: list[View] = ["image"] * 20 + ["text"] * 20
    products = [f"p{number % 5}" for number in range(40)]
    sampler = BatchSampler(SamplerRows(product_ids=products, views=views, categories=[()] * 40), 4, 0, (1, 1, 0))
    used = Counter(row for batch in first(sampler, 250) for row in batch)
    assert set(used) == set(range(40)) and max(used.values()) - min(used.values()) <= 10
