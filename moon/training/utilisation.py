"""How well training uses its machine: model FLOPs against the accelerator's peak, and memory."""

from __future__ import annotations

import resource
import time
from typing import Final

import torch

from moon.model import MoonModel

_PEAK_BF16: Final = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bf16 FLOP/s of NVIDIA's data sheets; the first name found in the device's name counts."""


def flops_per_token(model: MoonModel) -> float:
    """Floating-point operations of one forward and backward pass for one token: 6 times the weights that touch it.

    Counted are weights of the decoder, with the chosen experts only; attention scores, embeddings and the vision
    tower are not, so the figure is a lower bound.
    """
    active = 0.0
    for name, parameter in model.named_parameters():
        if ".visual." in name or "embed_tokens" in name or ".lora_" in name:
            continue
        share = 1.0
        if parameter.ndim == 3 and parameter.shape[0] > 1:  # stacked experts
            share = model.config.experts_per_token / parameter.shape[0]
        active += share * parameter.numel()
    return 6 * active


def peak_flops(device: torch.device) -> float | None:
    """The device's dense bf16 peak in FLOP/s, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_BF16.items() if key in name), None)


def memory_mb(device: torch.device) -> float:
    """Peak memory so far in MiB: of the GPU where one computes, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Meter:
    """Work done and time passed since it was made; tokens are those of all processes."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.steps = self.pairs = self.tokens = self.padded = self.minibatches = 0

    def row(self, model_flops: float, device: torch.device, processes: int) -> dict[str, float]:
        """Seconds a step, pairs and tokens a second, padding, mini-batches, memory, and FLOPs utilisation on a GPU."""
        seconds = time.perf_counter() - self._start
        row = {
            "seconds": seconds / self.steps,
            "pairs_per_second": self.pairs / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding": 1 - self.tokens / self.padded,
            "minibatches": self.minibatches / self.steps,
            "memory_mb": memory_mb(device),
        }
        peak = peak_flops(device)
        if peak is not None:
            row["flops_utilisation"] = row["tokens_per_second"] * model_flops / (peak * processes)
        return row
