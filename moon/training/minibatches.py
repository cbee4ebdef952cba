"""Mini-batches within a token budget, from sizes that are known before anything is decoded."""

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
        patches: tokens of the vision tower, before they are merged; likewise.
        encode: reads and decodes it; called once for each forward pass.
    """

    length: int
    patches: int = 0
    encode: Callable[[], Encoded]


def cost(units: Sequence[Unit]) -> int:
    """Tokens of a mini-batch: each unit as long as the longest, and the patches that the vision tower sees."""
    return len(units) * max(unit.length for unit in units) + sum(unit.patches for unit in units)


def fill(units: Sequence[Unit], token_budget: int, at_least: int = 1) -> list[list[int]]:
    """Splits units into mini-batches of similar length, each within the budget.

    Args:
        units: what to embed.
        token_budget: most tokens of a mini-batch by `cost`; a unit that costs more stands alone.
        at_least: mini-batches wanted, so that processes can keep step; fewer are returned where there are fewer units.

    Returns:
        Positions in ``units``, each once; the longest units first.

    Raises:
        ValueError: there is nothing to split.
    """
    if not units:
        raise ValueError("a batch needs at least one purchase, got none")
    batches: list[list[int]] = []
    longest = spent = 0
    for place in sorted(range(len(units)), key=lambda place: (-units[place].length, place)):
        unit = units[place]
        similar = unit.length >= _SIMILAR * longest or spent < _SMALLEST * token_budget
        if batches and similar and spent + longest + unit.patches <= token_budget:
            batches[-1].append(place)
        else:
            batches.append([place])
            longest, spent = unit.length, 0
        spent += longest + unit.patches
    while len(batches) < min(at_least, len(units)):
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        half = len(batches[largest]) // 2
        batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
    return batches
