"""Random batches, and every objective written out a second time: plainly, pair by pair, in float64."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moon.config import ObjectivesParams
from moon.model.item import OBJECTIVES
from moon.model.moe import balance_loss
from moon.training.objectives import MemoryBank
from moon.training.plan import BatchIndex

WIDTH = 8
ROUTED = ("router_probs", "router_choices", "routed_tokens", "objective", "sparsity")


def batch(
    seed: int = 0, rows: int = 6, mined: int = 2, views: int = 2, excluded: int = 2, parts: bool = True
) -> BatchIndex:
    """A batch of ``rows`` purchases; views beyond one are asked of some rows only, as are parts of the products."""
    dice = random.Random(seed)
    others = rows * mined // 2 + 1 if mined else 0
    ids = tuple(f"p{number}" for number in range(rows + others))
    entries = sorted((row, view) for row in range(rows) for view in dice.sample(range(3), dice.randint(1, views)))
    units = iter(range(10_000))
    return BatchIndex(
        query_unit=torch.tensor([next(units) for _ in entries]),
        query_row=torch.tensor([row for row, _ in entries]),
        query_view=torch.tensor([view for _, view in entries]),
        candidate_unit=torch.tensor([next(units) for _ in ids]),
        candidate_ids=ids,
        hard_QH=torch.tensor(
            [[dice.choice([-1, *range(len(ids))]) for _ in range(mined)] for _ in range(rows)], dtype=torch.long
        ).reshape(rows, mined),
        excluded=tuple(frozenset(dice.sample([*ids, "elsewhere"], dice.randint(0, excluded))) for _ in range(rows)),
        text_unit=torch.tensor([next(units) if parts and dice.random() < 0.8 else -1 for _ in ids]),
        image_unit=torch.tensor([next(units) if parts and dice.random() < 0.8 else -1 for _ in ids]),
        own=torch.arange(rows),
        rows=rows,
    )


def size(index: BatchIndex) -> int:
    """N, units of a batch."""
    units = (index.query_unit, index.candidate_unit, index.text_unit, index.image_unit)
    return int(max(part.max() for part in units)) + 1


def outputs(index: BatchIndex, seed: int = 0, width: int = WIDTH) -> dict[str, Tensor]:
    """Fields of a model's output as leaves that take a gradient; two layers of three experts."""
    dice, units = torch.Generator().manual_seed(seed), size(index)
    fields = {
        "embedding": functional.normalize(torch.randn(units, width, generator=dice), dim=-1),
        "router_probs": torch.rand(units, 2, 3, generator=dice),
        "objective": torch.rand(units, len(OBJECTIVES), generator=dice) + 0.1,
        "sparsity": torch.rand(1, generator=dice).expand(units).clone(),
    }
    leaves = {name: tensor.requires_grad_() for name, tensor in fields.items()}
    choices = torch.randint(0, 5, (units, 2, 3), generator=dice).float()
    return leaves | {"router_choices": choices, "routed_tokens": choices.sum((1, 2)) / 4}


def bank(index: BatchIndex, seed: int = 0, width: int = WIDTH) -> MemoryBank:
    """Two batches of older embeddings, half of them of products of this batch too."""
    dice = torch.Generator().manual_seed(seed)
    filled = MemoryBank(2)
    for number in range(2):
        ids = [*index.candidate_ids[number::3], f"old{number}", "elsewhere"]
        filled.push(functional.normalize(torch.randn(len(ids), width, generator=dice), dim=-1), ids)
    return filled


def split(index: BatchIndex, processes: int) -> list[BatchIndex]:
    """What each of several processes gets that share the batch."""
    return [dataclasses.replace(index, own=torch.arange(index.rows)[rank::processes]) for rank in range(processes)]


def gradients(total: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of each leaf, zero where there is none."""
    leaves = {name: tensor for name, tensor in fields.items() if tensor.requires_grad}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def _info_nce(anchor: Tensor, positive: Tensor, negatives: Sequence[Tensor], temperature: float) -> Tensor:
    up = torch.exp(anchor @ positive / temperature)
    return -torch.log(up / (up + sum(torch.exp(anchor @ negative / temperature) for negative in negatives)))


@dataclasses.dataclass
class Reference:
    """The loss of a batch by its definition; the same arguments as `Objectives`."""

    params: ObjectivesParams
    index: BatchIndex
    progress: float = 0.0
    bank: MemoryBank | None = None

    def fits(self, row: int, product: str) -> bool:
        """Whether a product is known to fit the query of a row."""
        return product == self.index.candidate_ids[row] or product in self.index.excluded[row]

    def query(self, entry: int, vector: Any, old: Tensor) -> Tensor:
        """Loss of a query entry; ``vector`` maps a unit to its vector."""
        index, row = self.index, int(self.index.query_row[entry])
        ids, mined = index.candidate_ids, index.hard_QH[row].tolist()
        asker, bought = vector(index.query_unit[entry]), vector(index.candidate_unit[row])
        played = [c for c in range(len(ids)) if (self.params.in_batch or c in mined) and not self.fits(row, ids[c])]
        negatives = [vector(index.candidate_unit[c]) for c in played]
        older = [v for v, id_ in zip(old, self.bank.ids if self.bank else (), strict=True) if not self.fits(row, id_)]
        loss = _info_nce(asker, bought, negatives + older, self.params.temperature)
        if self.params.symmetric:
            others = [
                vector(index.query_unit[other])
                for other, its_row in enumerate(index.query_row.tolist())
                if not self.fits(its_row, ids[row])
            ]
            loss = (loss + _info_nce(bought, asker, others, self.params.temperature)) / 2
        own = [v for c, v in zip(played, negatives, strict=True) if c in mined] or negatives + older
        return loss * self.weight(float(asker.detach() @ bought.detach()), [float((asker @ v).detach()) for v in own])

    def weight(self, positive: float, negatives: list[float]) -> float:
        """Weight of dynamic sample filtering."""
        if not negatives:
            return 1.0
        margin = self.params.filter_margin * (1 + math.cos(math.pi * self.progress)) / 2
        phi = 1 / (1 + math.exp(-self.params.filter_kappa * (positive - max(negatives) - margin)))
        return 1.0 if phi >= self.params.filter_threshold else phi

    def product(self, candidate: int, vector: Any) -> Tensor:
        """Loss of a product's pictures against the texts of the batch."""
        index, rows = self.index, len(self.index.excluded)
        ids, texts = index.candidate_ids, index.text_unit
        known = {candidate}
        for other in range(len(ids)):
            if (candidate < rows and self.fits(candidate, ids[other])) or (
                other < rows and self.fits(other, ids[candidate])
            ):
                known.add(other)
        negatives = [vector(texts[other]) for other in range(len(ids)) if other not in known and texts[other] >= 0]
        picture = vector(index.image_unit[candidate])
        return _info_nce(picture, vector(texts[candidate]), negatives, self.params.intra_temperature)

    def samples(self) -> list[list[int]]:
        """Query entries by view, then bought products and others that have both picture and text."""
        index, rows = self.index, len(self.index.excluded)
        views = [[e for e, view in enumerate(index.query_view.tolist()) if view == wanted] for wanted in range(3)]
        whole = [c for c in range(len(index.candidate_ids)) if index.text_unit[c] >= 0 and index.image_unit[c] >= 0]
        whole = whole if self.params.intra_weight else []
        return [*views, [c for c in whole if c < rows], [c for c in whole if c >= rows]]

    def weights(self, samples: list[list[int]], fields: Mapping[str, Tensor]) -> tuple[list[float], Tensor]:
        """Weight of each objective, and the term that trains learned ones."""
        index, (inter, intra) = self.index, (samples[:3], samples[3:])
        if self.params.weighting != "learned":
            counts = [[len(part) for part in level] for level in (inter, intra)]
            if self.params.weighting == "equal":
                counts[0] = [min(count, 1) for count in counts[0]]
            return [count / max(sum(level), 1) for level in counts for count in level], torch.zeros(())
        omega: dict[int, Tensor] = {}
        for m, part in enumerate(samples):
            places = (index.query_unit,) if m < 3 else (index.text_unit, index.image_unit)
            units = [place[sample] for place in places for sample in part]
            if units:
                omega[m] = torch.stack([fields["objective"][unit, m] for unit in units]).mean()
        whole = sum(float(value.detach()) for value in omega.values())
        sizes = [sum(1 for part in level if part) for level in (inter, intra)]
        weights = [
            float(omega[m].detach()) * len(omega) / whole / sizes[m // 3] if m in omega else 0.0 for m in range(5)
        ]
        return weights, fields["sparsity"].mean() - sum(torch.log(value) for value in omega.values()) / len(omega)

    def total(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The whole loss."""
        params, samples = self.params, self.samples()
        fields = {name: tensor.double() for name, tensor in fields.items()}
        weights, training = self.weights(samples, fields)
        total = params.sparsity_weight * training
        probs, choices, tokens = (fields[name].sum(0) for name in ROUTED[:3])
        total = total + params.balance_weight * balance_loss(probs, choices, tokens)
        old = self.bank.vectors_MD.double() if self.bank else torch.zeros(0)
        for length in params.matryoshka:

            def cut(vectors: Tensor, length: int = length) -> Tensor:
                return vectors[..., :length] / vectors[..., :length].norm(dim=-1, keepdim=True) if length else vectors

            def vector(unit: Any, cut: Any = cut) -> Tensor:
                return cut(fields["embedding"][int(unit)])

            for m, part in enumerate(samples):
                for sample in part:
                    inter = m < 3
                    loss = self.query(sample, vector, cut(old)) if inter else self.product(sample, vector)
                    factor = weights[m] * (1 if inter else params.intra_weight)
                    total = total + factor * loss / len(part) / len(params.matryoshka)
        return total
