"""Makes shoppers search and buy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from moon.catalog.render.products import make_product
from moon.catalog.render.words import query

Ints = npt.NDArray[np.int64]

MODES: Final = ("image", "text", "both")
_CYCLE: Final = tuple(MODES[int(digit)] for digit in "00102000100020100")
"""Seventeen queries in the proportion 12 : 3 : 2, spread evenly."""
_START: Final = datetime(2025, 3, 1, tzinfo=UTC)
_SPAN: Final = timedelta(days=90)
_HEAD: Final = 2.0
"""How far the law is flattened at its head; 0 is Zipf's own."""


@dataclass(frozen=True, eq=False)
class Log:
    """Purchases in the order of time; every field but the last has one entry a purchase."""

    seed: int
    products: Ints
    """Number of the product bought."""
    modes: Ints
    """Position in `MODES`."""
    photos: Ints
    """Number of the query photo among those of its product, -1 for none."""
    times: Ints
    """Microseconds since the log's start, strictly increasing."""
    photo_counts: Ints
    """Query photos of each product."""

    def rows(self, splits: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows of the interactions table."""
        for number, (index, mode, photo, time) in enumerate(
            zip(self.products.tolist(), self.modes.tolist(), self.photos.tolist(), self.times.tolist(), strict=True)
        ):
            product, kind = make_product(self.seed, index), MODES[mode]
            rng = random.Random(f"{self.seed}/query/{number}")
            yield {
                "query_id": f"t{number:07d}",
                "query_text": None if kind == "image" else query(product, rng, short=kind == "both"),
                "query_image_id": None if kind == "text" else photo_id(index, photo),
                "product_id": product.product_id,
                "event": "purchase",
                "timestamp": _START + timedelta(microseconds=time),
                "split": splits[index],
            }


def photo_id(index: int, photo: int) -> str:
    """The id of a query photo of product ``index``."""
    return f"q{index:05d}-{photo}"


def make_log(seed: int, count: int, splits: Sequence[str], most_photos: int) -> Log:
    """Invents ``count`` purchases of the products whose splits are given.

    Each split gets its share of the purchases and of the kinds of query; within it products follow the law of Zipf and
    Mandelbrot, weight ``1 / (rank + 2)``. The photos of one product are used in turn.
    """
    rng = np.random.default_rng([seed, 1])
    owner = np.asarray(splits)
    bought = []
    for split, share in zip(*_apportioned(count, splits), strict=True):
        members = np.flatnonzero(owner == split)
        weights = np.cumsum(1.0 / (np.arange(len(members)) + 1 + _HEAD))
        ranks = np.searchsorted(weights, rng.random(share) * weights[-1], side="right")
        bought.append(rng.permutation(members)[np.minimum(ranks, len(members) - 1)])
    products = np.concatenate(bought).astype(np.int64)
    cycle = np.asarray([MODES.index(mode) for mode in _CYCLE], np.int64)
    modes = cycle[np.arange(count) % len(cycle)]
    order = rng.permutation(count)
    products, modes = products[order], modes[order]
    photos, photo_counts = _photos(products, modes != MODES.index("text"), len(splits), most_photos)
    gap = _SPAN // timedelta(microseconds=1) // max(count, 1)
    return Log(seed, products, modes, photos, np.cumsum(rng.integers(1, 2 * gap, count)), photo_counts)


def _apportioned(count: int, splits: Sequence[str]) -> tuple[list[str], list[int]]:
    """The splits and how many of ``count`` purchases each gets, in proportion to its products."""
    names = sorted(set(splits))
    ends = [
        count * sum(splits.count(name) for name in names[: place + 1]) // len(splits) for place in range(len(names))
    ]
    return names, [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _photos(products: Ints, with_photo: npt.NDArray[np.bool_], total: int, most: int) -> tuple[Ints, Ints]:
    """Which photo each purchase was searched with, and how many photos each product has."""
    counts = np.minimum(np.bincount(products[with_photo], minlength=total), most)
    used = np.zeros(total, np.int64)
    photos = np.full(len(products), -1, np.int64)
    for number in np.flatnonzero(with_photo).tolist():
        index = products[number]
        photos[number] = used[index] % counts[index]
        used[index] += 1
    return photos, counts
