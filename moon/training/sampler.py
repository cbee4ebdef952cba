"""Batches of purchases in which no product stands twice.

Legend: N rows of a stream, K batches of an epoch, Q rows that a stream gives to a batch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Final

import numpy as np
import numpy.typing as npt

from moon.model.item import View

_MIX: Final[tuple[View, ...]] = ("image", "text", "multimodal")
"""Order of training.modality_mix."""
_BLOCK: Final = 256
"""Mixed batches after which rows that still wait are given up until the next epoch, so that a resumed run replays no
more than these."""
_EPOCH, _CATEGORY, _ORDER, _PHASE = range(4)
"""What a random stream is for; keeps the streams of one seed apart."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SamplerRows:
    """What the sampler knows of the training rows."""

    product_ids: Sequence[str]
    """Product bought in each row."""
    views: Sequence[View]
    """What each row's query is: a text, a picture or both."""
    categories: Sequence[tuple[str, ...]]
    """Category path of each row's product."""
    groups: Mapping[str, str | int] = field(default_factory=dict)
    """Near-duplicate group of a product id; a product without one is a group of its own."""


class BatchSampler:
    """An endless, deterministic stream of global batches; a batch is a function of the seed and its number.

    A batch holds each product, and each group of near-duplicates, at most once. In an epoch every row comes at most
    once; what cannot fill a batch, and rows of a product that is bought more often than an epoch has batches, are left
    to the next epoch's draw.

    With ``modality_mix`` each kind of query is a stream with epochs of its own, and every batch has the same number of
    rows of each (MOON: image : text : both = 12 : 3 : 2). A row whose product is in the batch already waits for the
    next one. With ``category_share`` that share of the batches, evenly spread, is drawn around a random row: the rows
    that share most leading levels of its category path come first (MOON, negatives of the same category; [R]).

    Args:
        rows: the training rows.
        batch_size: rows in a batch, over all processes.
        seed: of the order.
        modality_mix: shares of image, text and both queries; empty takes the rows as they come.
        category_share: share of the batches drawn from one branch of the category tree.

    Raises:
        ValueError: fewer distinct products than a batch needs, or a mix that the rows cannot give.
    """

    def __init__(
        self,
        rows: SamplerRows,
        batch_size: int,
        seed: int,
        modality_mix: tuple[int, ...] = (),
        category_share: float = 0.0,
    ) -> None:
        group_N = _groups(rows)
        _check_size(batch_size, group_N, bool(rows.groups))
        parts = _parts(rows.views, batch_size, modality_mix)
        streams = [_Stream(part, group_N[part], quota, (seed, number)) for number, (part, quota) in enumerate(parts)]
        self._streams = sorted(streams, key=lambda stream: stream.distinct)
        _check_distinct(self._streams, batch_size)
        self._group: list[int] = group_N.tolist()
        self._seed, self._share = seed, category_share
        self._phase = float(np.random.default_rng([_PHASE, seed]).random())
        if category_share:
            self._categories = rows.categories
            self._usable = np.concatenate([stream.rows_N for stream in self._streams])
            paths = sorted(set(rows.categories))
            rank = {path: number for number, path in enumerate(paths)}
            ranks_N = np.fromiter((rank[path] for path in rows.categories), np.int64, len(rows.categories))
            for stream in self._streams:
                stream.sort_by_category(paths, ranks_N[stream.rows_N])

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Batches of row numbers from batch number ``start`` on."""
        mixed = self._mixed(start - self._category_batches(start))
        for number in count(start):
            before = self._category_batches(number)
            batch = self._near(before) if self._category_batches(number + 1) > before else next(mixed)
            yield np.random.default_rng([_ORDER, self._seed, number]).permutation(batch).tolist()

    def _category_batches(self, number: int) -> int:
        """How many of the first ``number`` batches are drawn by category."""
        return int(number * self._share + self._phase)

    def _mixed(self, start: int) -> Iterator[list[int]]:
        """Batches with the mix, from number ``start`` among them on."""
        for block in count(start // _BLOCK):
            sources = [stream.read(block * _BLOCK) for stream in self._streams]
            waiting: list[deque[int]] = [deque() for _ in self._streams]
            for number in range(block * _BLOCK, (block + 1) * _BLOCK):
                taken: set[int] = set()
                batch: list[int] = []
                for stream, source, late in zip(self._streams, sources, waiting, strict=True):
                    batch += self._take(source, late, stream.quota, taken)
                if number >= start:
                    yield batch

    def _take(self, source: Iterator[int], late: deque[int], quota: int, taken: set[int]) -> list[int]:
        """Rows of groups that are not ``taken``, those that came too ``late`` for an earlier batch first."""
        picked: list[int] = []
        again = [late.popleft() for _ in range(len(late))]
        for row in chain(again, source):
            if self._group[row] in taken:
                late.append(row)
            else:
                taken.add(self._group[row])
                picked.append(row)
            if len(picked) == quota:
                break
        late.extend(again[len(picked) + len(late) :])
        return picked

    def _near(self, number: int) -> list[int]:
        """The batch around a random row, number ``number`` among those drawn by category."""
        random = np.random.default_rng([_CATEGORY, self._seed, number])
        start = int(self._usable[random.integers(len(self._usable))])
        taken: set[int] = set()
        batch: list[int] = []
        for stream in self._streams:
            first = [start] if start in stream else []
            nearest = chain(first, stream.near(self._categories[start], random))
            batch += self._take(nearest, deque(), stream.quota, taken)
        return batch


class _Stream:
    """Rows of one kind of query, dealt in epochs to batches of ``quota`` rows.

    Args:
        rows_N: row numbers, ascending.
        group_N: group of each.
        quota: rows in a batch.
        seed: of the order.
    """

    def __init__(self, rows_N: Ints, group_N: Ints, quota: int, seed: tuple[int, ...]) -> None:
        _, self._group_N, sizes = np.unique(group_N, return_inverse=True, return_counts=True)
        self.rows_N, self.quota, self.distinct = rows_N, quota, len(sizes)
        self._seed = seed
        self._length = _epoch_length(sizes, quota)
        self._epochs: dict[int, Ints] = {}

    def __contains__(self, row: int) -> bool:
        place = np.searchsorted(self.rows_N, row)
        return bool(place < len(self.rows_N) and self.rows_N[place] == row)

    def read(self, start: int) -> Iterator[int]:
        """Rows from batch number ``start`` on, without end."""
        epoch, place = divmod(start, self._length)
        while True:
            for rows_Q in self._epoch(epoch)[place:]:
                yield from rows_Q.tolist()
            epoch, place = epoch + 1, 0

    def _epoch(self, epoch: int) -> Ints:
        """(K, Q) the batches of one epoch.

        Rows that lie side by side by group, at most K of a group, are dealt round to the K batches: so none gets two
        of one group.
        """
        if epoch in self._epochs:
            return self._epochs[epoch]
        random = np.random.default_rng([_EPOCH, epoch, *self._seed])
        order = random.permutation(len(self.rows_N))
        group = random.permutation(self.distinct)[self._group_N[order]]
        side_by_side = np.argsort(group, kind="stable")
        order, group = order[side_by_side], group[side_by_side]
        first = np.searchsorted(group, np.arange(self.distinct))
        order = order[np.arange(len(order)) - first[group] < self._length]
        surplus = len(order) - self._length * self.quota
        order = np.delete(order, random.choice(len(order), surplus, replace=False))
        dealt_KQ = self.rows_N[order].reshape(self.quota, self._length).T
        batches_KQ = dealt_KQ[random.permutation(self._length)]
        # A block reads a little into the next epoch, and the next block steps back.
        self._epochs = {near: kept for near, kept in self._epochs.items() if abs(near - epoch) == 1}
        self._epochs[epoch] = batches_KQ
        return batches_KQ

    def sort_by_category(self, paths: list[tuple[str, ...]], ranks_N: Ints) -> None:
        """Prepares `near`: ``paths`` are all category paths in order, ``ranks_N`` each row's number among them."""
        order = np.argsort(ranks_N, kind="stable")
        self._paths, self._ranks_N, self._sorted_N = paths, ranks_N[order], self.rows_N[order]

    def near(self, path: tuple[str, ...], random: np.random.Generator) -> Iterator[int]:
        """Rows by the leading levels shared with ``path``, most first, ties at random; a row may come again."""
        for level in range(len(path), -1, -1):
            low, high = np.searchsorted(self._ranks_N, _branch(self._paths, path[:level])).tolist()
            # Most often a sample is enough, and shuffling a million rows for one batch is slow.
            for size in {min(high - low, 16 * self.quota): None, high - low: None}:
                yield from self._sorted_N[low + random.choice(high - low, size, replace=False)].tolist()


def rank_rows(batch: Sequence[int], rank: int, world: int) -> list[int]:
    """The rows of a global batch that process ``rank`` of ``world`` computes.

    The parts are contiguous, in the order of the ranks, and differ by at most one row in size.

    Raises:
        ValueError: no such rank, or fewer rows than processes.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} processes does not exist; expected one in 0..{world - 1}")
    if len(batch) < world:
        raise ValueError(f"{len(batch)} rows of a batch cannot feed {world} processes; raise training.batch_size")
    return list(batch[rank * len(batch) // world : (rank + 1) * len(batch) // world])


def _branch(paths: list[tuple[str, ...]], prefix: tuple[str, ...]) -> tuple[int, int]:
    """Where the paths that begin with ``prefix`` start and end among the sorted ``paths``."""

    def start(path: tuple[str, ...]) -> tuple[str, ...]:
        return path[: len(prefix)]

    return bisect_left(paths, prefix, key=start), bisect_right(paths, prefix, key=start)


def _groups(rows: SamplerRows) -> Ints:
    """(N,) a number for the near-duplicate group of each row's product."""
    numbers: dict[str | tuple[str | int], int] = {}
    keys = ((rows.groups[id_],) if id_ in rows.groups else id_ for id_ in rows.product_ids)
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(rows.product_ids))


def _epoch_length(sizes: Ints, quota: int) -> int:
    """The most batches of ``quota`` rows without two of one group, from groups of these sizes."""
    low, high = 0, int(sizes.sum()) // quota
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(sizes, middle).sum() >= middle * quota:
            low = middle
        else:
            high = middle - 1
    return max(1, low)


def _parts(views: Sequence[View], batch_size: int, mix: tuple[int, ...]) -> list[tuple[Ints, int]]:
    """Row numbers and quota of each stream."""
    if not mix:
        return [(np.arange(len(views)), batch_size)]
    if len(mix) != len(_MIX) or min(mix) < 0 or not any(mix):
        raise ValueError(
            f"training.modality_mix is {list(mix)}; give shares of image, text and both queries, such as [12, 3, 2]"
        )
    quotas = _quotas(mix, batch_size)
    parts = []
    for view, share, quota in zip(_MIX, mix, quotas, strict=True):
        if not share:
            continue
        rows = np.flatnonzero(np.fromiter((given == view for given in views), bool, len(views)))
        if not quota:
            raise ValueError(
                f"training.modality_mix {list(mix)} leaves no {view} query in a batch of training.batch_size "
                f"{batch_size}; give a larger batch, or set its share to 0"
            )
        if not len(rows):
            raise ValueError(
                f"training.modality_mix gives {view} queries a share of {share}, but the training split has none; "
                f"set its share to 0, or import a catalogue with such queries"
            )
        parts.append((rows, quota))
    return parts


def _quotas(shares: Sequence[int], size: int) -> list[int]:
    """``size`` split by ``shares``, by largest remainder; of equal remainders the earlier."""
    whole = [share * size // sum(shares) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda place: -(shares[place] * size % sum(shares)))
    for place in by_remainder[: size - sum(whole)]:
        whole[place] += 1
    return whole


def _check_size(batch_size: int, group_N: Ints, grouped: bool) -> None:
    distinct = len(np.unique(group_N))
    if not 1 <= batch_size <= distinct:
        kind = "products, near-duplicates counted once," if grouped else "products"
        raise ValueError(
            f"training.batch_size is {batch_size}, but {distinct} distinct {kind} are bought in the training "
            f"split and a batch holds each once; give one in 1..{distinct}, or a catalogue with more purchases"
        )


def _check_distinct(streams: Sequence[_Stream], batch_size: int) -> None:
    """Streams with few products choose first; each must have enough whatever those before it chose."""
    chosen = 0
    for stream in streams:
        chosen += stream.quota
        if stream.distinct < chosen:
            raise ValueError(
                f"training.modality_mix asks for {stream.quota} rows of a kind of query that has {stream.distinct} "
                f"distinct products, beside {chosen - stream.quota} other products of a batch of {batch_size}; lower "
                f"training.batch_size or that share"
            )
