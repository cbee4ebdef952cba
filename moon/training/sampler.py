"""Batches of interactions in which no product stands twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


class DistinctProductSampler:
    """An endless, deterministic stream of batches.

    Each epoch takes the interactions in a new seeded order and puts each into the open batch unless its product is in
    it already; then it waits for the next one. What cannot fill a last batch waits for the next epoch's order. Every
    batch is a function of the seed and its number, so a resumed run passes over the batches it has seen.

    Args:
        product_ids: product of each interaction.
        batch_size: interactions in a batch.
        seed: of the order.

    Raises:
        ValueError: there are fewer distinct products than ``batch_size``.
    """

    def __init__(self, product_ids: Sequence[str], batch_size: int, seed: int) -> None:
        distinct = len(set(product_ids))
        if not 1 <= batch_size <= distinct:
            raise ValueError(
                f"training.batch_size is {batch_size}, but {distinct} distinct products are bought in the training "
                f"split and a batch holds each once; give one in 1..{distinct}, or a catalogue with more purchases"
            )
        self._product_ids, self._batch_size, self._seed = product_ids, batch_size, seed

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Batches of row numbers from number ``start`` on."""
        number = epoch = 0
        while True:
            for batch in self._epoch(epoch):
                if number >= start:
                    yield batch
                number += 1
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        waiting = np.random.default_rng([self._seed, epoch]).permutation(len(self._product_ids)).tolist()
        while True:
            batch: list[int] = []
            products: set[str] = set()
            passed: list[int] = []
            for place, row in enumerate(waiting):
                if self._product_ids[row] in products:
                    passed.append(row)
                    continue
                batch.append(row)
                products.add(self._product_ids[row])
                if len(batch) == self._batch_size:
                    passed += waiting[place + 1 :]
                    break
            if len(batch) < self._batch_size:
                return
            yield batch
            waiting = passed
