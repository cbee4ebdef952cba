"""Which queries a report shows: half of them right at rank 1, half of them not, drawn by seed and not by eye."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def pick_examples(first: Mapping[str, npt.NDArray[np.int64]], count: int, seed: int) -> list[tuple[str, int]]:
    """Picks ``count`` queries over several directions.

    Args:
        first: direction -> [Q] rank of each query's first positive.
        count: queries wanted in all; fewer come where there are fewer.
        seed: of the draw.

    Returns:
        ``(direction, query position)`` grouped by direction: each has about the same number, hits and misses by turns
        as long as it has both.
    """
    rng = np.random.default_rng(seed)
    queues = {name: _alternate(ranks, rng) for name, ranks in first.items()}
    picked: list[tuple[str, int]] = []
    while len(picked) < count and any(queues.values()):
        for name, queue in queues.items():
            if queue and len(picked) < count:
                picked.append((name, queue.pop(0)))
    names = list(first)
    return sorted(picked, key=lambda pick: names.index(pick[0]))


def _alternate(ranks: npt.NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Query positions, a hit and a miss by turns, then what is left."""
    hits: list[int] = rng.permutation(np.flatnonzero(ranks == 1)).tolist()
    misses: list[int] = rng.permutation(np.flatnonzero(ranks != 1)).tolist()
    both = min(len(hits), len(misses))
    paired = [position for pair in zip(hits[:both], misses[:both], strict=True) for position in pair]
    return paired + hits[both:] + misses[both:]
