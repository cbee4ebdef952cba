"""Which candidates are negatives of which anchor (MOON, spatial-temporal negative sampling).

Negatives of a query are the other products of the batch, its mined ones and the memory bank, less every product known
to fit it. Sets of columns stand for the mask until a chunk of it is scored, so that it is never held whole.

Legend: A anchors, X candidates (columns), P candidate products of the batch, C anchors of a chunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from moon.training.plan import BatchIndex

Columns = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """The negatives of each anchor among X columns; `masks` draws a part of them.

    Args:
        columns: X.
        forbidden: for each anchor, the columns that are none of its negatives; its positive must be among them.
        mined: for each anchor, the columns that were mined for it.
        common_from: the columns from here on are negatives of every anchor; those before it of none, mined ones apart.
    """

    columns: int
    forbidden: Columns
    mined: Columns
    common_from: int = 0

    def masks(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(C, X) negatives of anchors ``start`` to ``end``, and (C, X) the mined ones among them."""
        forbidden_CX = _mark(self.forbidden[start:end], self.columns, device)
        mined_CX = _mark(self.mined[start:end], self.columns, device) & ~forbidden_CX
        allowed_CX = ~forbidden_CX
        allowed_CX[:, : self.common_from] &= mined_CX[:, : self.common_from]
        return allowed_CX, mined_CX


def _mark(columns: Columns, width: int, device: torch.device) -> Tensor:
    """(C, X) mask, True at the columns of each row."""
    row = torch.tensor([row for row, marked in enumerate(columns) for _ in marked], dtype=torch.long, device=device)
    column = torch.tensor(list(chain.from_iterable(columns)), dtype=torch.long, device=device)
    mask_CX = torch.zeros(len(columns), width, dtype=torch.bool, device=device)
    mask_CX[row, column] = True
    return mask_CX


def known_columns(index: BatchIndex, bank_ids: Sequence[str] = ()) -> list[list[int]]:
    """For each row the columns that are no negatives of it: its own product, and every excluded one.

    The columns are the candidates of the batch and after them the memory bank, in which an id may stand several times.
    """
    columns: dict[str, list[int]] = defaultdict(list)
    for column, id_ in enumerate(chain(index.candidate_ids, bank_ids)):
        columns[id_].append(column)
    ids = frozenset(columns)
    return [
        [column for id_ in (excluded & ids) | {index.candidate_ids[row]} for column in columns[id_]]
        for row, excluded in enumerate(index.excluded)
    ]


def rows_knowing(known: Columns, candidates: int) -> list[list[int]]:
    """`known_columns` turned round: for each of the P candidates of the batch, the rows it is no negative of."""
    rows: list[list[int]] = [[] for _ in range(candidates)]
    for row, columns in enumerate(known):
        for column in columns:
            if column < candidates:
                rows[column].append(row)
    return rows


def query_negatives(index: BatchIndex, rows: Sequence[int], known: Columns, bank: int, in_batch: bool) -> Negatives:
    """Query -> product: the negatives of query entries of ``rows`` among the P candidates and the bank.

    Args:
        index: of the batch.
        rows: row of each anchor.
        known: `known_columns` of the candidates and the bank.
        bank: vectors in the bank.
        in_batch: False leaves the row's own mined negatives and the bank.
    """
    mined = [[column for column in columns if column >= 0] for columns in index.hard_QH.tolist()]
    candidates = len(index.candidate_ids)
    return Negatives(
        columns=candidates + bank,
        forbidden=[known[row] for row in rows],
        mined=[mined[row] for row in rows],
        common_from=0 if in_batch else candidates,
    )


def bought_negatives(index: BatchIndex, rows: Sequence[int], knowing: Columns) -> Negatives:
    """Product -> query: the negatives of the products bought in ``rows`` among all query entries of the batch.

    They are queries, so ``objectives.in_batch`` does not concern them.

    Args:
        index: of the batch.
        rows: row of each anchor.
        knowing: `rows_knowing` of the batch; those rows' queries are no negatives.
    """
    query_rows = index.query_row.tolist()
    entries: dict[int, list[int]] = defaultdict(list)
    for entry, row in enumerate(query_rows):
        entries[row].append(entry)
    forbidden = [[entry for other in knowing[row] for entry in entries[other]] for row in rows]
    return Negatives(columns=len(query_rows), forbidden=forbidden, mined=[()] * len(rows))


def product_negatives(anchors: Sequence[int], texts: Sequence[int], known: Columns, knowing: Columns) -> Negatives:
    """Picture -> text within products: the texts of all other products, less those known to fit the same query.

    Args:
        anchors: candidate of each anchor.
        texts: candidate of each column.
        known: `known_columns`, which says for a bought product what is no negative of it ...
        knowing: ... and `rows_knowing`, the same from the other side.
    """
    column_of = {candidate: column for column, candidate in enumerate(texts)}
    forbidden = [
        [
            column_of[other]
            for other in {anchor, *(known[anchor] if anchor < len(known) else ()), *knowing[anchor]}
            if other in column_of
        ]
        for anchor in anchors
    ]
    return Negatives(columns=len(texts), forbidden=forbidden, mined=[()] * len(anchors))
