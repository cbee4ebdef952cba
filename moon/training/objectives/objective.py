"""`Objectives`: everything that training minimises, of one batch.

    L = L_inter + intra_weight L_intra + balance_weight L_balance + sparsity_weight (L_sparsity + L_unlikelihood)

L_inter and L_intra are weighted sums of the objectives' mean losses (MOON: L_inter alone; MOON2.0: both). The last term
stands only where the weights are learned; see `moon.training.objectives.weighting`.

Several processes share a batch: each holds the embeddings of all its units and scores its own rows. What all of them
compute alike is multiplied by ``share``, so that the sum over processes is the loss, and the sum of their gradients its
gradient, whatever the number of processes. Where a process holds only its own units the loss is the mean over the rows
of all of them likewise.

Legend: N units, A own query entries, D width, L layers with experts, E experts, M objectives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moon.config import ObjectivesParams
from moon.model.item import OBJECTIVES, VIEWS
from moon.model.moe import balance_loss
from moon.training.objectives.filtering import filter_weights
from moon.training.objectives.infonce import Contrast
from moon.training.objectives.levels import Products, Queries, prefix
from moon.training.objectives.memory_bank import MemoryBank
from moon.training.objectives.negatives import known_columns, rows_knowing
from moon.training.objectives.weighting import fixed_weights, learned_weights, members
from moon.training.plan import BatchIndex

LOWEST_TEMPERATURE = 0.01
"""A learned temperature stays above it, as in CLIP, or where it starts if that is lower."""

Sums = dict[str, tuple[Tensor | float, Tensor | float]]


@dataclass(frozen=True)
class Score:
    """The loss of one batch, or this process's part of it.

    Args:
        total: scalar to minimise; a sum over processes.
        parts: metric -> (sum, weight). Added up over processes and batches, sum / weight is the metric; weight 0 says
            that there was nothing to measure. The names are the same in every process.
    """

    total: Tensor
    parts: dict[str, tuple[float, float]]


class Objectives(nn.Module):
    """What training minimises.

    Args:
        params: which objectives, and their weights.
        embedding_size: D.

    Raises:
        ValueError: a Matryoshka prefix is longer than the embedding.
    """

    def __init__(self, params: ObjectivesParams, embedding_size: int) -> None:
        super().__init__()
        if max(params.matryoshka) > embedding_size:
            raise ValueError(
                f"objectives.matryoshka has a prefix of {max(params.matryoshka)} but embeddings have {embedding_size} "
                "values; use shorter prefixes, or 0 for the whole embedding"
            )
        self.params = params
        self._prefixes = sorted(params.matryoshka, key=lambda length: length or embedding_size)
        if params.learn_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(params.temperature)))

    def temperature(self, device: torch.device) -> Tensor:
        """Scalar t of InfoNCE between queries and products."""
        start = self.params.temperature
        if not self.params.learn_temperature:
            return torch.tensor(start, device=device)
        return self.log_temperature.exp().clamp(min=min(start, LOWEST_TEMPERATURE)).to(device)

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        index: BatchIndex,
        progress: float,
        bank: MemoryBank | None = None,
        share: float = 1.0,
    ) -> Score:
        """Scores a batch.

        Args:
            outputs: fields of `moon.model.modeling.MoonOutput` of all N units: ``embedding`` (N, D); with experts
                also ``router_probs`` and ``router_choices`` (N, L, E) and ``routed_tokens`` (N,); with
                ``model.routing=modality`` also ``objective`` (N, M) and ``sparsity`` (N,).
            index: which unit is what.
            progress: share of the training that is done, 0 to 1.
            bank: products of earlier batches as further negatives.
            share: 1 / number of processes.

        Raises:
            ValueError: learned weights without modality-driven experts.
        """
        with torch.autocast(outputs["embedding"].device.type, enabled=False):
            total, sums = self._score(outputs, index, progress, bank, share)
        return Score(total, {name: (_number(value), _number(weight)) for name, (value, weight) in sums.items()})

    def _score(
        self, outputs: Mapping[str, Tensor], index: BatchIndex, progress: float, bank: MemoryBank | None, share: float
    ) -> tuple[Tensor, Sums]:
        params, vectors_ND = self.params, outputs["embedding"].float()
        who = members(index, params.intra_weight > 0)
        extra, sums = self._experts(outputs, share, vectors_ND.device)
        if params.weighting == "learned":
            learned = learned_weights(_objective(outputs), who.units)
            weights = learned.weights
            extra = extra + share * params.sparsity_weight * (outputs["sparsity"].mean() + learned.unlikelihood)
            sums |= {f"omega/{name}": (w * share, share) for name, w in zip(OBJECTIVES, learned.omega, strict=True)}
        else:
            weights = fixed_weights(who.counts, params.weighting)
        # A batch that holds only a part of all rows counts for that part; products that nobody bought have no owner.
        part = len(index.excluded) / index.rows
        scales = [share if name == "negative" else part for name in OBJECTIVES]
        factors = [w * scale / max(count, 1) for w, scale, count in zip(weights, scales, who.counts, strict=True)]

        bank_MD = bank.vectors_MD.to(vectors_ND) if bank else vectors_ND[:0].detach()
        known = known_columns(index, bank.ids if bank else ())
        knowing = rows_knowing(known, len(index.candidate_ids))
        queries = Queries.of(index, known, knowing, len(bank_MD), params)
        inter, inter_sums = self._queries(queries, vectors_ND, bank_MD, progress, share, factors)
        sums |= inter_sums
        total = inter + extra
        if params.intra_weight:
            intra, intra_sums = self._products(Products.of(index, known, knowing), vectors_ND, share, factors)
            sums |= intra_sums
            total = total + params.intra_weight * intra
        return total, sums

    def _queries(
        self,
        queries: Queries,
        vectors_ND: Tensor,
        bank_MD: Tensor,
        progress: float,
        share: float,
        factors: list[float],
    ) -> tuple[Tensor, Sums]:
        """L_inter and its metrics; similarities are those of the longest prefix, which is the last."""
        temperature = self.temperature(vectors_ND.device)
        losses = []
        for length in self._prefixes:
            raw_A, asked = queries.score(prefix(vectors_ND, length), prefix(bank_MD, length), temperature)
            weight_A = filter_weights(asked, self.params, progress)
            losses.append(weight_A * raw_A)
        loss_A = torch.stack(losses).mean(0)
        view_A = queries.view_A.to(loss_A.device)
        inter = (loss_A * torch.tensor(factors, device=loss_A.device)[view_A]).sum()
        sums: Sums = {"loss": (inter, share), "temperature": (temperature * share, share)}
        for view, name in enumerate(VIEWS):
            sums[f"loss/{name}"] = (loss_A[view_A == view].sum(), (view_A == view).sum())
        alone_A = (asked.negatives_A == 0).to(queries.row_A.device)
        sums["rows_without_negatives"] = (len(queries.row_A[alone_A].unique()), share)
        sums["filtered"] = ((weight_A < 1).sum(), len(weight_A))
        return inter, sums | _similarities(asked)

    def _products(
        self, products: Products, vectors_ND: Tensor, share: float, factors: list[float]
    ) -> tuple[Tensor, Sums]:
        """L_intra and its metrics."""
        temperature = torch.tensor(self.params.intra_temperature, device=vectors_ND.device)
        losses = [products.score(prefix(vectors_ND, length), temperature) for length in self._prefixes]
        loss_A = torch.stack(losses).mean(0)
        bought_A = products.bought_A.to(loss_A.device)
        bought_B, others_O = loss_A[bought_A], loss_A[~bought_A]
        positive, negative = factors[len(VIEWS) :]
        return positive * bought_B.sum() + negative * others_O.sum(), {
            "loss/intra_positive": (bought_B.sum(), len(bought_B)),
            "loss/intra_negative": (others_O.sum() * share, len(others_O) * share),
        }

    def _experts(self, outputs: Mapping[str, Tensor], share: float, device: torch.device) -> tuple[Tensor, Sums]:
        """The experts' load-balance loss with its weight; zero for a model without experts."""
        sums: Sums = {}
        if (sparsity_N := outputs.get("sparsity")) is not None:
            sums["sparsity"] = (sparsity_N.mean() * share, share)
        if (probs_NLE := outputs.get("router_probs")) is None:
            return torch.zeros((), device=device), sums
        choices_LE, tokens = outputs["router_choices"].sum(0).detach(), outputs["routed_tokens"].sum().detach()
        balance = balance_loss(probs_NLE.sum(0), choices_LE, tokens)
        return self.params.balance_weight * share * balance, sums | {"balance_loss": (balance * share, share)}


def _number(value: Tensor | float) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


def _objective(outputs: Mapping[str, Tensor]) -> Tensor:
    objective_NM = outputs.get("objective")
    if objective_NM is None:
        raise ValueError(
            "objectives.weighting=learned needs the expert-by-objective matrix of modality-driven experts, and this "
            "model has none; set model.routing=modality and some model.moe_layers, or objectives.weighting=by_count"
        )
    return objective_NM.float()


def _similarities(asked: Contrast) -> Sums:
    has_A = asked.negatives_A > 0
    return {
        "accuracy": ((asked.positive_A > asked.hardest_A)[has_A].sum(), has_A.sum()),
        "negatives": (asked.negatives_A.sum(), len(has_A)),
        "positive_similarity": (asked.positive_A.sum(), len(has_A)),
        "hardest_similarity": (asked.hardest_A[has_A].sum(), has_A.sum()),
    }
