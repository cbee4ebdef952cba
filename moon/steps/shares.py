"""Work done in shares: which part is whose, and whether all parts have come together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from moon.steps import outcome

T = TypeVar("T")


def names(count: int) -> list[str]:
    """The names of all shares, ``1/n`` to ``n/n``."""
    return [f"{place}/{count}" for place in range(1, count + 1)]


def share(whole: Sequence[T], name: str) -> Sequence[T]:
    """The i-th of n runs of neighbours, as even as they go; some may be empty.

    Args:
        whole: everything.
        name: ``i/n``; empty is all of it.

    Raises:
        ValueError: ``name`` is not ``i/n`` with 1 <= i <= n.
    """
    if not name:
        return whole
    number, _, count = name.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard is '{name}', expected i/n from 1/n to n/n, such as 1/4")
    i, n = int(number), int(count)
    return whole[len(whole) * (i - 1) // n : len(whole) * i // n]


def in_order(parts: Sequence[Path], command: str) -> list[Path]:
    """The outputs of a step that ran on every share, ordered by share.

    Args:
        parts: output folders, in any order; each result has its ``shard``.
        command: that makes a part, for the message.

    Raises:
        ValueError: a share is missing or there twice.
    """
    shards = {part: str(outcome.read(part, "shard")["shard"]) for part in parts}
    ordered = sorted(parts, key=lambda part: int(shards[part].partition("/")[0] or 0))
    if not parts or [shards[part] for part in ordered] != names(len(parts)):
        raise ValueError(
            f"got the shares {', '.join(one or 'all' for one in shards.values()) or 'of nothing'}; expected each of "
            f"1/n to n/n once, as '{command} --shard i/n' writes them"
        )
    return ordered
