"""What the trainer learns from: purchases as rows, and their queries and products encoded on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from moon.model.processing import Encoded


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of the training split.

    Args:
        product_ids: product bought in each row.
        purchases: every product bought for the row's query; none of them is its negative.
        negatives: mined negatives of each row, hardest first.
        encode_query: encodes a row's query.
        encode_product: encodes a product by id.
    """

    product_ids: Sequence[str]
    purchases: Sequence[Set[str]]
    negatives: Sequence[Sequence[str]]
    encode_query: Callable[[int], Encoded]
    encode_product: Callable[[str], Encoded]

    def __len__(self) -> int:
        return len(self.product_ids)


class EncodedCache:
    """Keeps encoded items by key, the most recently used ones within a bound of picture bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[str, Encoded] = OrderedDict()

    def get(self, key: str, encode: Callable[[], Encoded]) -> Encoded:
        """The kept item of ``key``, or a new one from ``encode``."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        encoded = self._kept[key] = encode()
        self._bytes += _size(encoded)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return encoded


def _size(encoded: Encoded) -> int:
    return sum(picture.nbytes for picture in encoded.pictures) + 64 * len(encoded)
