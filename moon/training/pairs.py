"""What the trainer learns from: purchases as rows, and their queries and products as units that encode on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from threading import Lock

from moon.model.item import View
from moon.model.processing import Encoded
from moon.training.minibatches import Unit


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of the training split.

    Args:
        product_ids: product bought in each row.
        categories: category path of that product.
        views: what each row's query holds: text, image or both.
        excluded: products that are no negatives of the row: bought for the same query, or near-duplicates of those.
        negatives: mined negatives of each row, hardest first.
        query: unit of a row's query in one of its views.
        product: unit of a product in one view; None where the product lacks it. The last argument draws a variant of
            an augmented product, 0 being the product as it is.
        variants: variants of a product that can be drawn, at least 1.
        groups: near-duplicate group of a product that is in one; a batch holds one product of a group.
    """

    product_ids: Sequence[str]
    categories: Sequence[tuple[str, ...]]
    views: Sequence[View]
    excluded: Sequence[Set[str]]
    negatives: Sequence[Sequence[str]]
    query: Callable[[int, View], Unit]
    product: Callable[[str, View, int], Unit | None]
    variants: Callable[[str], int]
    groups: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.product_ids)


class EncodedCache:
    """Keeps encoded items by key, the most recently used ones within a bound of picture bytes; safe for threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, encode: Callable[[], Encoded]) -> Encoded:
        """The kept item of ``key``, or a new one from ``encode``."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        encoded = encode()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = encoded
                self._bytes += _size(encoded)
            while self._bytes > self._max_bytes and self._kept:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return encoded


def _size(encoded: Encoded) -> int:
    return sum(picture.nbytes for picture in encoded.pictures) + 64 * len(encoded)
