"""The training loop: purchases through the gradient cache, AdamW, checkpoints from which it resumes bit for bit."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor, nn

from moon.config import ObjectivesParams, TrainingParams, to_dict
from moon.model import Item, MoonModel, MoonProcessor
from moon.model.processing import Encoded
from moon.progress import track
from moon.training.checkpoint import newest_checkpoint, save_checkpoint
from moon.training.collectives import gather_rows, reduce_sums
from moon.training.distributed import World
from moon.training.exits import Interrupted, TrainingError
from moon.training.gradcache import GradientCache, Outputs
from moon.training.logbook import Row, logbook, read_log
from moon.training.objectives import MemoryBank, Objectives, Score
from moon.training.optimisation import Optimisation
from moon.training.pairs import Pairs
from moon.training.plan import Plan, plan_batch
from moon.training.sampler import BatchSampler, SamplerRows
from moon.training.utilisation import Meter, flops_per_token

log = logging.getLogger(__name__)

_FRUITLESS: Final = 20
"""Batches in a row without a single negative after which training gives up."""


class Trainer:
    """Trains a model on purchases.

    Args:
        model: trained in place, where a weight requires a gradient; it may be wrapped by adapters.
        processor: its processor.
        pairs: the training split.
        params: of the engine.
        objectives: of the loss.
        out: folder of checkpoints, ``metrics.jsonl`` and ``tensorboard``; an interrupted run there is resumed.
        fingerprint: names all that the run depends on; a checkpoint of another fingerprint is not resumed.
        world: the processes that train together.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: MoonProcessor,
        pairs: Pairs,
        params: TrainingParams,
        objectives: ObjectivesParams,
        out: Path,
        fingerprint: str = "",
        world: World | None = None,
    ) -> None:
        self.model, self.processor, self.pairs = model, processor, pairs
        self.params, self.out, self.fingerprint = params, out, fingerprint
        self.world = world or World()
        self.core = next(module for module in model.modules() if isinstance(module, MoonModel))
        self.step = 0
        rows = SamplerRows(
            product_ids=pairs.product_ids, views=pairs.views, categories=pairs.categories, groups=pairs.groups
        )
        self._sampler = BatchSampler(rows, params.batch_size, params.seed, params.modality_mix, params.category_batches)
        model.to(self.world.device)
        self._flops = flops_per_token(self.core)
        self.objectives = Objectives(objectives, self.core.config.embedding_size).to(self.world.device)
        self._bank = MemoryBank(objectives.memory_batches) if objectives.memory_batches else None
        # ZeRO-2 and 3 communicate within forward and backward, so every process must touch the same weights in turn.
        self._in_step = params.zero_stage >= 2
        self._everything = processor.encode(Item(title="-", images=(Image.new("RGB", (64, 64)),)))
        self._optimisation = Optimisation(model, self.objectives, params, self.world)
        self._cache = GradientCache(
            self._forward,
            self._optimisation.backward,
            params.token_budget,
            self.world.device,
            self.world.largest if self._in_step else None,
        )
        self._fruitless = 0

    def train(self) -> list[Row]:
        """Runs to ``params.steps`` and returns the logged metrics, those of a resumed run included.

        Raises:
            Interrupted: SIGTERM came; everything is saved.
            TrainingError: the loss is not finite, or no batch has a negative.
        """
        params, world = self.params, self.world
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(params.seed + world.rank)
        self._resume()
        history = read_log(self.out, self.step)
        self.model.train()
        batches = self._sampler.batches(self.step * params.accumulate)
        with contextlib.ExitStack() as stack:
            record = None
            if world.first:
                recipe = {name: str(value) for name, value in to_dict(params).items()}
                record = stack.enter_context(logbook(self.out, history, params.steps, params.mlflow_uri, recipe))
            stack.enter_context(_threads(params.threads))
            terminated = stack.enter_context(_sigterm())
            meter = Meter()
            steps = range(self.step, params.steps)
            for _ in track(steps, "training") if world.first else steps:
                row = self._train_step([next(batches) for _ in range(params.accumulate)], meter)
                if self.step % params.log_every == 0 or self.step == params.steps:
                    row |= meter.row(self._flops, world.device, world.size) | self.core.expert_load()
                    meter = Meter()
                    if record is not None:
                        record(row)
                stop = world.any(terminated.is_set())
                if stop or (self.step % params.checkpoint_every == 0 and self.step < params.steps):
                    save_checkpoint(self.out / "checkpoints", self.step, self._write, world)
                if stop:
                    raise Interrupted(f"stopped by SIGTERM after step {self.step}; the same command goes on from there")
        self.model.eval()
        return history

    def whole_weights(self) -> contextlib.AbstractContextManager[object]:
        """A context in which every process holds the whole weights, whatever is sharded."""
        return self._optimisation.whole_weights()

    def _train_step(self, batches: list[list[int]], meter: Meter) -> Row:
        """One optimiser step on the purchases of one or more batches."""
        params = self.params
        parts: defaultdict[str, float] = defaultdict(float)
        weights: defaultdict[str, float] = defaultdict(float)
        for number, rows in enumerate(batches):
            plan = plan_batch(
                self.pairs,
                rows,
                self.objectives.params,
                (params.seed, self.step, number),
                self.world.rank,
                self.world.size,
            )
            score = self._accumulate(plan, meter)
            for name, (total, weight) in score.parts.items():
                parts[name] += total
                weights[name] += weight
        learning_rate = params.learning_rate * schedule(self.step, params.warmup_steps, params.steps)
        norm = self._optimisation.update(learning_rate)
        meter.steps += 1
        self.step += 1
        row = {"step": float(self.step), "learning_rate": learning_rate, "gradient_norm": norm}
        return row | {name: total / weights[name] for name, total in parts.items() if weights[name]}

    def _accumulate(self, plan: Plan, meter: Meter) -> Score:
        """Adds the gradient of one batch."""
        world = self.world
        scores: list[Score] = []
        bank = self._bank if self.step >= self.objectives.params.memory_warmup else None

        def loss(outputs: Outputs) -> Tensor:
            if len(plan.counts) > 1:
                outputs = {name: gather_rows(value, plan.counts) for name, value in outputs.items()}
            progress = self.step / max(1, self.params.steps - 1)
            score = self.objectives(outputs, plan.index, progress, bank, 1 / world.size)
            if world.any(not bool(torch.isfinite(score.total))):
                raise TrainingError(
                    f"the loss is not a finite number at step {self.step + 1}; lower training.learning_rate, or check "
                    "the weights of the starting model"
                )
            scores.append(score)
            if self._bank is not None:
                self._remember(outputs["embedding"], plan)
            return score.total * self._optimisation.scale

        report = self._cache.run(plan.units, loss)
        score = Score(scores[0].total.detach(), reduce_sums(scores[0].parts))
        self._watch_negatives(score, plan.index.rows)
        meter.pairs += plan.index.rows
        meter.tokens += report.tokens * world.size
        meter.padded += report.padded_tokens * world.size
        meter.minibatches += report.minibatches
        return score

    def _remember(self, embeddings_ND: Tensor, plan: Plan) -> None:
        """Puts the batch's bought products into the memory bank, after they were scored."""
        assert self._bank is not None
        bought = plan.index.candidate_unit[: len(plan.index.excluded)].to(embeddings_ND.device)
        self._bank.push(embeddings_ND[bought], plan.index.candidate_ids[: len(bought)])

    def _watch_negatives(self, score: Score, rows: int) -> None:
        without, _ = score.parts["rows_without_negatives"]
        self._fruitless = self._fruitless + 1 if without >= rows else 0
        if self._fruitless >= _FRUITLESS:
            raise TrainingError(
                f"no query of the last {_FRUITLESS} batches has a negative at step {self.step + 1}: every other "
                "product was bought for the same query or is a near-duplicate; raise training.batch_size or "
                "objectives.hard_negatives"
            )

    def _forward(self, encoded: list[Encoded]) -> Outputs:
        device = self.world.device
        filled = [*encoded, self._everything] if self._in_step else encoded
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in self.processor.collate(filled).items()}
        mixed = self.params.precision == "bf16" and not self.params.zero_stage  # DeepSpeed casts by itself
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            output = self._optimisation.module(**batch)
        return {name: value[: len(encoded)] for name, value in output.items() if value is not None}

    def _write(self, folder: Path) -> None:
        """Writes this process's part of a checkpoint."""
        gpu = torch.cuda.get_rng_state() if self.world.device.type == "cuda" else None
        bank = self._bank.state_dict() if self._bank is not None else None
        torch.save({"cpu": torch.get_rng_state(), "gpu": gpu, "bank": bank}, folder / f"rank-{self.world.rank}.pt")
        state = self._optimisation.write(folder) | {
            "step": self.step,
            "fingerprint": self.fingerprint,
        }
        if self.world.first:
            torch.save(state, folder / "state.pt")

    def _resume(self) -> None:
        folder = newest_checkpoint(self.out / "checkpoints", self.world)
        if folder is None:
            return
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            self.world.barrier()
            if self.world.first:
                log.warning("the checkpoints in %s are of other parameters or data; training starts anew", self.out)
                shutil.rmtree(self.out / "checkpoints")
            self.world.barrier()
            return
        self._optimisation.read(folder, state)
        self._read_rank(folder)
        self.step = state["step"]
        if self.world.first:
            log.info("resuming from step %d in %s", self.step, self.out)

    def _read_rank(self, folder: Path) -> None:
        """Random state and memory bank of this process; a process more than were saved takes the first one's bank."""
        path = folder / f"rank-{self.world.rank}.pt"
        state = torch.load(path if path.is_file() else folder / "rank-0.pt", map_location="cpu", weights_only=True)
        if self._bank is not None:
            self._bank.load_state_dict(state["bank"])
        if not path.is_file():
            log.warning("%s is of fewer processes; random numbers of process %d start anew", folder, self.world.rank)
            return
        torch.set_rng_state(state["cpu"])
        if state["gpu"] is not None and self.world.device.type == "cuda":
            torch.cuda.set_rng_state(state["gpu"])


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets torch's CPU threads for a while; 0 leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that a step is finished before the process ends."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
