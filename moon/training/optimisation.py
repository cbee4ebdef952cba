"""The optimiser's side of a step: gradients summed over processes, clipping, AdamW, with DeepSpeed ZeRO where asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moon.config import TrainingParams
from moon.training.distributed import World, zero_engine


class Optimisation:
    """Backward passes and optimiser steps of a model and of the loss's own scalars.

    Args:
        model: its weights that require a gradient are trained.
        loss: the loss module, whose few parameters (such as the temperature) are never sharded.
        params: of the run.
        world: the processes.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, params: TrainingParams, world: World) -> None:
        self._model, self._loss, self._params, self._world = model, loss, params, world
        self._optimizer: Any = torch.optim.AdamW(_groups(model, params.weight_decay), lr=params.learning_rate)
        self._engine = zero_engine(model, self._optimizer, params, world) if params.zero_stage else None
        if self._engine is not None:
            self._optimizer = self._engine.optimizer
        scalars = list(loss.parameters())
        self._scalars = torch.optim.AdamW(scalars, lr=params.learning_rate, weight_decay=0.0) if scalars else None
        self.module: nn.Module = self._engine if self._engine is not None else model
        """What a forward pass goes through."""

    @property
    def scale(self) -> float:
        """What a batch's loss is multiplied by before its backward pass.

        Gradients are summed over the processes here and averaged by DeepSpeed; both then over accumulated batches.
        """
        return (self._world.size if self._engine is not None else 1) / self._params.accumulate

    def backward(self, total: Tensor) -> None:
        """Adds the gradient of a scalar."""
        if self._engine is not None:
            self._engine.backward(total)
        else:
            total.backward()

    def update(self, learning_rate: float) -> float:
        """One step with what has been added up; returns the gradient's norm before clipping."""
        for optimizer in (self._optimizer, self._scalars):
            for group in optimizer.param_groups if optimizer is not None else ():
                group["lr"] = learning_rate
        if self._scalars is not None:
            self._world.sum_gradients(self._loss.parameters())
            for parameter in self._loss.parameters():
                if parameter.grad is not None and self._engine is not None:
                    parameter.grad /= self._world.size
            self._scalars.step()
            self._scalars.zero_grad(set_to_none=True)
        if self._engine is not None:
            self._engine.step()
            return float(self._engine.get_global_grad_norm() or 0.0)
        self._world.sum_gradients(self._model.parameters())
        norm = float(nn.utils.clip_grad_norm_(self._model.parameters(), self._params.max_grad_norm))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def whole_weights(self) -> contextlib.AbstractContextManager[object]:
        """A context in which every process holds the whole weights: ZeRO-3 shards them."""
        if self._params.zero_stage < 3:
            return contextlib.nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(self._model.parameters()))

    def write(self, folder: Path) -> dict[str, Any]:
        """Weights and optimiser state, to be kept in a checkpoint; DeepSpeed writes its shards to ``folder``."""
        state: dict[str, Any] = {
            "loss": self._loss.state_dict(),
            "scalars": self._scalars.state_dict() if self._scalars is not None else None,
        }
        if self._engine is not None:
            self._engine.save_checkpoint(str(folder / "zero"), tag="state", exclude_frozen_parameters=True)
            return state
        state["model"] = {name: parameter.detach() for name, parameter in self._trained()}
        state["optimizer"] = self._optimizer.state_dict()
        return state

    def read(self, folder: Path, state: dict[str, Any]) -> None:
        """The inverse of `write`."""
        if self._engine is not None:
            self._engine.load_checkpoint(str(folder / "zero"), tag="state", load_module_strict=False)
        else:
            with torch.no_grad():
                for name, parameter in self._trained():
                    parameter.copy_(state["model"][name])
            self._optimizer.load_state_dict(state["optimizer"])
        self._loss.load_state_dict(state["loss"])
        if self._scalars is not None:
            self._scalars.load_state_dict(state["scalars"])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self._model.named_parameters() if value.requires_grad)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms and biases do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
