"""Processes that train together: who they are, sums over them, and DeepSpeed's share of the work."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor, distributed, nn

from moon.config import TrainingParams

_BUCKET_VALUES: Final = 16 * 2**20
"""Gradient values summed in one collective call: 64 MB."""
_TIMEOUT: Final = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """The processes of one training run; without a launcher there is one.

    Args:
        rank: of this process, from 0.
        size: processes.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.largest(int(flag)))

    def largest(self, value: int) -> int:
        """The largest value of any process."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return int(tensor)

    def from_first(self, value: Any) -> Any:
        """What the first process gives."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the processes.

        A parameter without a gradient in every process keeps none, so that the optimiser passes over it as it would in
        one process.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if self.size == 1 or not trained:
            return
        present = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        present = present.to(self.device)
        distributed.all_reduce(present, distributed.ReduceOp.MAX)
        used = [p for p, somewhere in zip(trained, present.tolist(), strict=True) if somewhere]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in used if parameter.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            distributed.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type in groups of at most `_BUCKET_VALUES`, or single ones that are larger."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(g.numel() for g in bucket) + gradient.numel() > _BUCKET_VALUES
        if bucket and (full or bucket[0].dtype != gradient.dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def launched() -> bool:
    """Whether a launcher such as torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(params: TrainingParams) -> Iterator[World]:
    """The world of this process: gloo on CPUs, NCCL on GPUs, one process where no launcher started it.

    Raises:
        ValueError: ``params.zero_stage`` is set without a launcher, which DeepSpeed needs.
    """
    cuda = torch.cuda.is_available()
    if not launched():
        if params.zero_stage:
            raise ValueError("training.zero_stage needs a launcher: moon train, python -m moon.training or torchrun")
        yield World(device=torch.device("cuda" if cuda else "cpu"))
        return
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


def zero_engine(model: nn.Module, optimizer: torch.optim.Optimizer, params: TrainingParams, world: World) -> Any:
    """A DeepSpeed engine around the model, with its optimiser's state (and gradients, and weights) sharded.

    Gradients add up over any number of backward passes and are averaged over the processes in ``engine.step()``.
    """
    os.environ.setdefault("DS_ACCELERATOR", world.device.type)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # calls of DeepSpeed's
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    if world.device.type == "cpu":
        __compatible_ops__["deepspeed_shm_comm"] = False  # or it compiles an extension for a minute; gloo serves
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": params.max_grad_norm,
        "zero_optimization": {"stage": params.zero_stage, "overlap_comm": False},
        "bf16": {"enabled": params.precision == "bf16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)
    return engine
