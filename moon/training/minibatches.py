"""Mini-batches within a token budget, from lengths that are known before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from moon.model.processing import Encoded

_SIMILAR: Final = 0.5
"""A unit shorter than this share of a mini-batch's longest starts the next one ..."""
_SMALLEST: Final = 1 / 8
"""... unless the mini-batch is still smaller than this share of the budget: many tiny ones cost more than padding."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One thing to embed.

    Args:
        length: its tokens, those of its pictures included; counted from their headers.
        encode: reads and decodes it; called once for each forward pass.
    """

    length: int
    encode: Callable[[], Encoded]


def fill(lengths: Sequence[int], token_budget: int, at_least: int = 1) -> list[list[int]]:
    """Splits units into mini-batches of similar length, each within the budget once padded to its longest.

    Args:
        lengths: tokens of each unit.
        token_budget: most tokens of a mini-batch, padding included; a unit that is longer stands alone.
        at_least: mini-batches wanted, so that processes can keep step; fewer are returned where there are fewer units.

    Returns:
        Positions in ``lengths``, each once; the longest units first, so that memory peaks at the start.

    Raises:
        ValueError: there is nothing to split.
    """
    if not lengths:
        raise ValueError("a batch needs at least one purchase, got none")
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    batches: list[list[int]] = []
    for place in order:
        longest, count = (lengths[batches[-1][0]], len(batches[-1])) if batches else (0, 0)
        similar = lengths[place] >= _SIMILAR * longest or longest * count < _SMALLEST * token_budget
        if batches and similar and longest * (count + 1) <= token_budget:
            batches[-1].append(place)
        else:
            batches.append([place])
    while len(batches) < min(at_least, len(lengths)):
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        half = len(batches[largest]) // 2
        batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
    return batches
