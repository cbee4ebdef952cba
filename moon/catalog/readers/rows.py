"""What readers hand over: products of a source, and rows that cannot enter, each with its reason."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from moon.catalog.schema import SPLITS

Reason = Literal[
    "no_id",
    "no_title",
    "no_image",
    "missing_image",
    "broken_image",
    "too_many_pixels",
    "refused_address",
    "fetch_failed",
    "too_many_bytes",
    "duplicate_id",
    "unknown_split",
    "unknown_product",
    "unknown_image",
    "no_exact_product",
    "bad_row",
    "no_query",
]
"""Codes of the ``rejected`` table."""

Picture = str | bytes
"""A path from the picture folder, a URL, or the encoded bytes themselves."""

_VAL_FROM: Final = 0.8
_TEST_FROM: Final = 0.9


class RowError(ValueError):
    """A row cannot enter the catalogue; ``reason`` is its code, the message what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceProduct:
    """A product as a source gives it, before its pictures are looked at."""

    product_id: str
    title: str
    description: str
    category_path: list[str]
    attributes: dict[str, list[str]]
    pictures: Mapping[str, Picture]
    """Picture id -> path from the picture folder, URL or bytes."""
    split: str

    def fingerprint(self) -> bytes:
        """Equal for products with equal fields; the split does not count."""
        fields = vars(self) | {"split": ""}
        text = json.dumps(fields, sort_keys=True, default=lambda data: hashlib.sha256(data).hexdigest())
        return hashlib.sha256(text.encode()).digest()[:16]


def check_split(split: str) -> None:
    """Refuses a split that is not ours."""
    if split not in SPLITS:
        raise RowError("unknown_split", f"split '{split}', expected one of {', '.join(SPLITS)}")


def share_of(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha1(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def hashed_split(key: str) -> str:
    """80 % train, 10 % val, 10 % test by a hash of the key, for sources that have no splits."""
    share = share_of(f"split:{key}")
    return "train" if share < _VAL_FROM else "val" if share < _TEST_FROM else "test"


def texts(values: Sequence[Any]) -> list[str]:
    """Stripped non-empty texts."""
    return [text for value in values if value is not None and (text := str(value).strip())]
