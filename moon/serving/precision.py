"""The number format that a server computes in, and what it costs in recall.

* ``fp32``: as trained.
* ``bf16``: weights and activations in bfloat16; half the memory, and about twice as fast where the processor
  multiplies bfloat16 (AVX-512 BF16, AMX, a GPU).
* ``int8``: every linear layer of at least `MIN_FEATURES` inputs and outputs multiplies 8-bit integers: a scale for each
  output of the weight, and one for each row of the input, found as it comes. A row's result does not depend on the
  rows beside it, so neither does an embedding on its batch. The stacked weights of the experts, the routers, the
  embeddings and the patch projection stay float32. CPU only.

An index stays as it was made, in float32; only queries are embedded in the other format.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from moon.model import Embedder, Item
from moon.model.moe import MixtureOfExperts
from moon.retrieval.index import VectorIndex

PRECISIONS: Final = ("fp32", "bf16", "int8")
MIN_FEATURES: Final = 32
"""Smaller layers are quicker in float32."""
_LEVELS: Final = 127


@dataclass(frozen=True, kw_only=True)
class RecallLoss:
    """What a precision changes in the results of a search; see `recall_loss`."""

    queries: int
    k: int
    recall: float
    """Recall@k of the queries in float32."""
    changed: float
    """Recall@k of the same queries in the other precision."""
    kept: float
    """Share of the float32 query's first k products that are among the other's."""
    cosine: float
    """Smallest cosine between a query's two vectors."""

    @property
    def loss(self) -> float:
        """Recall lost; negative where it rose."""
        return self.recall - self.changed


def apply(embedder: Embedder, precision: str) -> None:
    """Changes the model of ``embedder`` in place; it can no longer be trained or saved.

    Raises:
        ValueError: an unknown precision, or ``int8`` on another device than the CPU.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"serving.precision must be one of {', '.join(PRECISIONS)}, got '{precision}'")
    if precision == "bf16":
        embedder.model.to(torch.bfloat16)
    elif precision == "int8":
        if embedder.device != "cpu":
            raise ValueError(f"serving.precision int8 computes on the CPU, the model is on {embedder.device}; use bf16")
        _quantize(embedder.model)


def recall_loss(
    reference: Embedder,
    changed: Embedder,
    queries: Sequence[Item],
    positives: Sequence[Set[str]],
    index: VectorIndex,
    k: int = 10,
) -> RecallLoss:
    """Searches a float32 index with queries of two precisions.

    Args:
        reference: the model in float32.
        changed: the same model after `apply`.
        queries: Q queries.
        positives: names in ``index`` of the products that answer each query, at least one.
        index: vectors of the products by ``reference``.
        k: length of a result.

    Raises:
        ValueError: there is no query, a query has no positives, or the index holds fewer than k products.
    """
    if not queries or len(queries) != len(positives) or not all(positives):
        raise ValueError(
            f"each query needs its positives, got {len(queries)} queries and {sum(map(bool, positives))} sets that "
            "hold one"
        )
    if len(index) < k:
        raise ValueError(f"recall@{k} needs an index of {k} products or more, got {len(index)}")
    vectors = [embedder.embed(queries) for embedder in (reference, changed)]
    found = [[set(row) for row in index.search(vectors_QD, k)[1]] for vectors_QD in vectors]
    recalls = [
        np.mean([len(wanted & row) / min(len(wanted), k) for wanted, row in zip(positives, rows, strict=True)])
        for rows in found
    ]
    return RecallLoss(
        queries=len(queries),
        k=k,
        recall=float(recalls[0]),
        changed=float(recalls[1]),
        kept=float(np.mean([len(one & other) / k for one, other in zip(*found, strict=True)])),
        cosine=float((vectors[0] * vectors[1]).sum(1).min()),
    )


class Int8Linear(nn.Module):
    """A linear layer on 8-bit integers; ``y = (round(x / s_x) @ W_q) s_x s_W + b``.

    Args:
        linear: the layer to take over.
    """

    weight_IO: Tensor
    scale_O: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight_OI = linear.weight.detach()
        scale_O = _scale(weight_OI)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # Transposed as a view: the product wants the second matrix by columns.
        self.register_buffer("weight_IO", (weight_OI / scale_O[:, None]).round_().to(torch.int8).T)
        self.register_buffer("scale_O", scale_O)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., I) to (..., O)."""
        rows_NI = x.reshape(-1, self.in_features)
        scale_N1 = _scale(rows_NI)[:, None]
        whole_NI = (rows_NI / scale_N1).round_().to(torch.int8)
        out_NO = torch._int_mm(whole_NI, self.weight_IO).to(x.dtype).mul_(scale_N1).mul_(self.scale_O)
        if self.bias is not None:
            out_NO.add_(self.bias)
        return out_NO.view(*x.shape[:-1], self.out_features)


def _scale(rows_NI: Tensor) -> Tensor:
    """(N,) what one level of each row stands for; a row of zeros gets a tiny one."""
    return rows_NI.abs().amax(-1).div_(_LEVELS).clamp_(min=torch.finfo(rows_NI.dtype).tiny)


def _quantize(model: nn.Module) -> None:
    """Replaces the linear layers, but for a router, whose choices are discrete."""
    for module in list(model.modules()):
        if isinstance(module, MixtureOfExperts):
            continue
        for name, child in module.named_children():
            if type(child) is nn.Linear and min(child.in_features, child.out_features) >= MIN_FEATURES:
                setattr(module, name, Int8Linear(child))
