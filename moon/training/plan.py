"""What one batch needs embedded, which process embeds it, and which embedding is what.

Legend: N units (things to embed), n query entries, Q purchases (rows), P candidate products, H mined negatives a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moon.config import ObjectivesParams
from moon.model.item import VIEWS, View
from moon.training.minibatches import Unit
from moon.training.pairs import Pairs
from moon.training.sampler import rank_rows


@dataclass(frozen=True, kw_only=True)
class BatchIndex:
    """The units of a batch by their part; the first Q candidates are the products bought in the Q rows.

    Args:
        query_unit: (n,) unit of each query entry.
        query_row: (n,) its row, 0..Q-1.
        query_view: (n,) its view, an index into `moon.model.item.VIEWS`.
        candidate_unit: (P,) unit of each product, text and pictures together.
        candidate_ids: P product ids, each once.
        hard_QH: candidate of each mined negative; -1 where a row has fewer.
        excluded: for each row, the ids that are no negatives of it: bought for the same query, or near-duplicates.
        text_unit: (P,) unit of each product's text alone; -1 where it was not asked for or there is none.
        image_unit: (P,) unit of each product's pictures alone; likewise.
        own: (q,) rows that this process scores.
        rows: rows of the batch over all processes; a loss is divided by it.
    """

    query_unit: Tensor
    query_row: Tensor
    query_view: Tensor
    candidate_unit: Tensor
    candidate_ids: tuple[str, ...]
    hard_QH: Tensor
    excluded: tuple[frozenset[str], ...]
    text_unit: Tensor
    image_unit: Tensor
    own: Tensor
    rows: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A batch for one process.

    Args:
        units: what this process embeds.
        counts: units of every process whose embeddings are scored together, in order of rank.
        index: over the units of all of those, in order of rank.
    """

    units: tuple[Unit, ...]
    counts: tuple[int, ...]
    index: BatchIndex


def plan_batch(
    pairs: Pairs, rows: Sequence[int], params: ObjectivesParams, seed: Sequence[int], rank: int = 0, world: int = 1
) -> Plan:
    """Plans one batch.

    Every process plans the whole batch alike, without a word between them, and embeds its share of it: no product is
    embedded twice, and the result does not depend on the number of processes. Where negatives do not cross processes,
    each plans its own rows only.

    Args:
        pairs: the training split.
        rows: rows of the batch over all processes.
        params: which negatives and views are wanted.
        seed: names the batch; augmented variants are drawn by it and the product.
        rank: of this process.
        world: processes.
    """
    rows_total = len(rows)
    if world > 1 and not params.cross_rank:
        rows, rank, world = rank_rows(rows, rank, world), 0, 1
    entries, candidates, hard = _parts(pairs, rows, params)
    owner_of_row = np.repeat(np.arange(world), [len(rank_rows(rows, one, world)) for one in range(world)])

    units: list[Unit] = []
    owners: list[int] = []

    def add(unit: Unit | None, owner: int) -> int:
        if unit is None:
            return -1
        units.append(unit)
        owners.append(int(owner))
        return len(units) - 1

    query_unit = [add(pairs.query(rows[place], view), owner_of_row[place]) for place, view in entries]
    views: dict[View, list[int]] = {view: [] for view in VIEWS}
    for place, product_id in enumerate(candidates):
        owner = owner_of_row[place] if place < len(rows) else place % world
        draw = _draw(seed, product_id, pairs.variants(product_id))
        whole = pairs.product(product_id, "multimodal", draw)
        assert whole is not None, "every product has a text or a picture"
        views["multimodal"].append(add(whole, owner))
        for single in ("text", "image"):
            wanted = params.intra_weight > 0
            views[single].append(add(pairs.product(product_id, single, draw), owner) if wanted else -1)

    order = np.argsort(owners, kind="stable")  # by rank, as the processes' outputs are put together
    place_of = torch.from_numpy(np.append(order.argsort(), -1))  # the last one keeps -1 where it is
    counts = np.bincount(owners, minlength=world)
    start = int(counts[:rank].sum())
    return Plan(
        units=tuple(units[place] for place in order[start : start + counts[rank]]),
        counts=tuple(int(count) for count in counts),
        index=BatchIndex(
            query_unit=place_of[query_unit],
            query_row=torch.tensor([place for place, _ in entries]),
            query_view=torch.tensor([VIEWS.index(view) for _, view in entries]),
            candidate_unit=place_of[views["multimodal"]],
            candidate_ids=tuple(candidates),
            hard_QH=torch.tensor(hard).reshape(len(rows), -1),
            excluded=tuple(frozenset(pairs.excluded[row]) for row in rows),
            text_unit=place_of[views["text"]],
            image_unit=place_of[views["image"]],
            own=torch.from_numpy(np.flatnonzero(owner_of_row == rank)),
            rows=rows_total,
        ),
    )


def _parts(
    pairs: Pairs, rows: Sequence[int], params: ObjectivesParams
) -> tuple[list[tuple[int, View]], list[str], list[list[int]]]:
    """Query entries (row of the batch, view), candidate ids, and the candidates of each row's mined negatives."""
    entries: list[tuple[int, View]] = []
    for place, row in enumerate(rows):
        asked = pairs.views[row]
        alone: Sequence[View] = VIEWS if asked == "multimodal" and params.query_views == "all" else (asked,)
        entries += [(place, view) for view in alone]
    mined = [list(pairs.negatives[row][: params.hard_negatives]) for row in rows]
    positives = [pairs.product_ids[row] for row in rows]
    candidates = list(dict.fromkeys(itertools.chain(positives, *mined)))
    column = {product_id: number for number, product_id in enumerate(candidates)}
    widest = max(map(len, mined), default=0)
    hard = [[column[id_] for id_ in ids] + [-1] * (widest - len(ids)) for ids in mined]
    return entries, candidates, hard


def _draw(seed: Sequence[int], product_id: str, variants: int) -> int:
    if variants <= 1:
        return 0
    return int(np.random.default_rng([*seed, *product_id.encode()]).integers(variants))
