"""The two levels of alignment (MOON2.0): between queries and products, and within products.

Each level is what a batch asks - anchors, positives, negatives - and can be scored with any vectors of its units, so
with every prefix of the embedding. The negatives are found once.

Legend: N units, A anchors, P candidate products, M products in the memory bank, n query entries, X columns, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from moon.config import ObjectivesParams
from moon.training.objectives.infonce import Contrast, contrast
from moon.training.objectives.negatives import (
    Columns,
    Negatives,
    bought_negatives,
    product_negatives,
    query_negatives,
)
from moon.training.objectives.weighting import aligned
from moon.training.plan import BatchIndex


def prefix(vectors_ND: Tensor, length: int) -> Tensor:
    """The first ``length`` values of each vector at unit length (Matryoshka); 0 is the whole vector as it is."""
    return functional.normalize(vectors_ND[:, :length], dim=-1) if length else vectors_ND


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Inter-product: own query entries against products and, ``backward``, their products against all queries.

    Args:
        index: of the batch.
        entry_A: own query entries.
        row_A: their rows.
        view_A: their views.
        forward: negatives among candidates and memory bank.
        backward: negatives among the query entries of the batch; None where products do not ask.
    """

    index: BatchIndex
    entry_A: Tensor
    row_A: Tensor
    view_A: Tensor
    forward: Negatives
    backward: Negatives | None

    @classmethod
    def of(cls, index: BatchIndex, known: Columns, knowing: Columns, bank: int, params: ObjectivesParams) -> Queries:
        """The queries of the own rows.

        Args:
            index: of the batch.
            known: `known_columns` of the candidates and the memory bank.
            knowing: `rows_knowing`, its inverse.
            bank: vectors in the memory bank.
            params: whether the batch gives negatives, and whether products ask too.
        """
        entry_A = torch.isin(index.query_row, index.own).nonzero().squeeze(1)
        row_A = index.query_row[entry_A]
        rows = row_A.tolist()
        return cls(
            index=index,
            entry_A=entry_A,
            row_A=row_A,
            view_A=index.query_view[entry_A],
            forward=query_negatives(index, rows, known, bank, params.in_batch),
            backward=bought_negatives(index, rows, knowing) if params.symmetric else None,
        )

    def score(self, vectors_ND: Tensor, bank_MD: Tensor, temperature: Tensor) -> tuple[Tensor, Contrast]:
        """(A,) loss, with ``backward`` the mean of both directions, and the forward direction's `Contrast`."""
        device = vectors_ND.device
        candidates_PD = vectors_ND[self.index.candidate_unit]
        queries_nD = vectors_ND[self.index.query_unit]
        columns_XD = torch.cat([candidates_PD, bank_MD])
        row_A, entry_A = self.row_A.to(device), self.entry_A.to(device)
        asked = contrast(queries_nD[entry_A], columns_XD, row_A, self.forward, temperature)
        if self.backward is None:
            return asked.loss_A, asked
        answered = contrast(candidates_PD[row_A], queries_nD, entry_A, self.backward, temperature)
        return (asked.loss_A + answered.loss_A) / 2, asked


@dataclass(frozen=True, kw_only=True)
class Products:
    """Intra-product: the pictures of a product find its text among the texts of the batch.

    Own bought products are anchors, and all others of the batch: nobody owns those.

    Args:
        text_unit: (X,) unit of each text.
        image_unit: (A,) unit of each anchor's pictures.
        target_A: column of its text.
        bought_A: True for a bought product (polarity p of MOON2.0), False for a negative (n).
        negatives: of each anchor among the texts.
    """

    text_unit: Tensor
    image_unit: Tensor
    target_A: Tensor
    bought_A: Tensor
    negatives: Negatives

    @classmethod
    def of(cls, index: BatchIndex, known: Columns, knowing: Columns) -> Products:
        """The products of a batch that have pictures and text; ``known`` and ``knowing`` as in `Queries.of`."""
        both = aligned(index)
        mine_A = both[torch.isin(both, index.own) | (both >= len(index.excluded))]
        texts_X = (index.text_unit >= 0).nonzero().squeeze(1)
        return cls(
            text_unit=index.text_unit[texts_X],
            image_unit=index.image_unit[mine_A],
            target_A=torch.searchsorted(texts_X, mine_A),
            bought_A=mine_A < len(index.excluded),
            negatives=product_negatives(mine_A.tolist(), texts_X.tolist(), known, knowing),
        )

    def score(self, vectors_ND: Tensor, temperature: Tensor) -> Tensor:
        """(A,) loss of each anchor."""
        if not len(self.target_A):
            return vectors_ND.new_zeros(0)
        texts_XD, images_AD = vectors_ND[self.text_unit], vectors_ND[self.image_unit]
        return contrast(images_AD, texts_XD, self.target_A.to(vectors_ND.device), self.negatives, temperature).loss_A
