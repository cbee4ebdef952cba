"""The training loop: batches of purchases, InfoNCE, AdamW, checkpoints it can resume from bit for bit on a CPU."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from moon.config import TrainingParams
from moon.model.modeling import MoonModel
from moon.model.processing import Encoded, MoonProcessor
from moon.progress import track
from moon.training.checkpoint import load_checkpoint, save_checkpoint
from moon.training.loss import false_negative_mask, info_nce
from moon.training.pairs import Pairs
from moon.training.sampler import DistinctProductSampler

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class Trainer:
    """Trains a model on purchases.

    Args:
        model: trained in place.
        processor: its processor.
        pairs: the training split.
        params: of the run.
        out: folder of checkpoints, ``metrics.jsonl`` and ``tensorboard``; an interrupted run there is resumed.
        fingerprint: names all that the run depends on; a checkpoint of another fingerprint is not resumed.
    """

    def __init__(
        self,
        model: MoonModel,
        processor: MoonProcessor,
        pairs: Pairs,
        params: TrainingParams,
        out: Path,
        fingerprint: str = "",
    ) -> None:
        self.model, self.processor, self.pairs, self.params, self.out = model, processor, pairs, params, out
        self.fingerprint = fingerprint
        self.sampler = DistinctProductSampler(pairs.product_ids, params.batch_size, params.seed)
        self.optimizer = torch.optim.AdamW(_weight_decay_groups(model, params.weight_decay), lr=params.learning_rate)
        self.step = 0

    def train(self) -> list[dict[str, float]]:
        """Runs to ``params.steps`` and returns the logged metrics, those of a resumed run included."""
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.params.seed)
        history = self._resume()
        self.model.train()
        batches = self.sampler.batches(self.step)
        with _metrics_log(self.out, history) as record, _threads(self.params.threads):
            for _ in track(range(self.step, self.params.steps), "training"):
                started = time.perf_counter()
                metrics = self._train_step(next(batches))
                metrics["seconds"] = time.perf_counter() - started
                if self.step % self.params.log_every == 0 or self.step == self.params.steps:
                    record(metrics)
                if self.step % self.params.checkpoint_every == 0 and self.step < self.params.steps:
                    self._save(history)
        self.model.eval()
        return history

    def _train_step(self, rows: Sequence[int]) -> dict[str, float]:
        """One optimiser step on the interactions ``rows``."""
        params, pairs = self.params, self.pairs
        positives = [pairs.product_ids[row] for row in rows]
        hard = [negative for row in rows for negative in pairs.negatives[row][: params.hard_negatives]]
        candidates = positives + sorted(set(hard) - set(positives))
        queries_QD, query_balance = self._embed([pairs.encode_query(row) for row in rows])
        candidates_PD, candidate_balance = self._embed([pairs.encode_product(id_) for id_ in candidates])
        mask_QP = false_negative_mask([pairs.purchases[row] for row in rows], candidates)
        loss, accuracy = info_nce(queries_QD, candidates_PD, mask_QP.to(queries_QD.device), params.temperature)
        balance = (query_balance + candidate_balance) / 2
        total = loss + params.balance_weight * balance
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss became {float(total.detach())} at step {self.step + 1}; lower training.learning_rate"
            )

        learning_rate = params.learning_rate * schedule(self.step, params.warmup_steps, params.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), params.max_grad_norm)
        self.optimizer.step()
        self.step += 1
        return {
            "step": float(self.step),
            "loss": float(loss.detach()),
            "accuracy": float(accuracy),
            "balance_loss": float(balance.detach()),
            "gradient_norm": float(norm),
            "learning_rate": learning_rate,
            "candidates": float(len(candidates)),
        } | self._expert_load()

    def _embed(self, encoded: list[Encoded]) -> tuple[Tensor, Tensor]:
        device = next(self.model.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in self.processor.collate(encoded).items()}
        output = self.model(**batch)
        return output.embedding, output.balance_loss

    def _expert_load(self) -> dict[str, float]:
        """Share of tokens each expert computed in the last forward (products), by layer."""
        return {
            f"load/{name}/{expert}": float(share)
            for name, moe in self.model.experts.items()
            if moe.load_E is not None
            for expert, share in enumerate(moe.load_E)
        }

    def _save(self, history: list[dict[str, float]]) -> None:
        state = {
            "step": self.step,
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "history": history,
        }
        save_checkpoint(self.out / "checkpoints", self.step, state)

    def _resume(self) -> list[dict[str, float]]:
        state = load_checkpoint(self.out / "checkpoints")
        if state is None:
            return []
        if state["fingerprint"] != self.fingerprint:
            log.warning("the checkpoints in %s are of other parameters or data; training starts anew", self.out)
            shutil.rmtree(self.out / "checkpoints")
            return []
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.step = state["step"]
        log.info("resuming from step %d in %s", self.step, self.out)
        return list(state["history"])


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _weight_decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms and biases do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


@contextmanager
def _metrics_log(out: Path, history: list[dict[str, float]]) -> Iterator[Any]:
    """Yields a function that appends one row to ``history``, ``metrics.jsonl`` and TensorBoard."""
    with (out / "metrics.jsonl").open("w", encoding="utf-8") as file, SummaryWriter(str(out / "tensorboard")) as board:
        file.writelines(json.dumps(row) + "\n" for row in history)

        def record(metrics: dict[str, float]) -> None:
            history.append(metrics)
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            for name, value in metrics.items():
                board.add_scalar(name, value, int(metrics["step"]))

        yield record


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets torch's CPU threads for a while; 0 leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
