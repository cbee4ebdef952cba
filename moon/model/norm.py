"""Root-mean-square normalisation that keeps its input for the backward pass and nothing else of that size.

The stock modules run it as six operations, of which two keep a copy. Weights, names and results are the stock modules'.

Shapes: D width; the dimensions before it are free.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRMSNorm


def slim_norms(model: nn.Module) -> None:
    """Makes every RMS norm of a Qwen-VL backbone a `SlimRMSNorm`, in place."""
    for module in model.modules():
        if type(module) in (Qwen2_5_VLRMSNorm, Qwen3VLTextRMSNorm):
            module.__class__ = SlimRMSNorm


class SlimRMSNorm(Qwen2_5_VLRMSNorm):
    """The stock norm, ``weight * x / sqrt(mean(x^2) + eps)``, computed in float32."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_D: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        exact_D = hidden_D.float()
        square_1 = torch.linalg.vector_norm(exact_D, dim=-1, keepdim=True).square_()
        scale_1 = square_1.div_(hidden_D.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden_D, weight_D, scale_1)
        return weight_D * (exact_D * scale_1).to(hidden_D.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_D: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden_D, weight_D, scale_1 = ctx.saved_tensors
        normed_D = hidden_D.float() * scale_1
        weight_gradient_D = None
        if ctx.needs_input_grad[1]:
            weight_gradient_D = (gradient_D * normed_D).flatten(0, -2).sum(0).to(weight_D.dtype)
        inner_D = (gradient_D * weight_D).float()
        mean_1 = (inner_D * normed_D).mean(-1, keepdim=True)
        hidden_gradient_D = inner_D.sub_(normed_D.mul_(mean_1)).mul_(scale_1)
        return hidden_gradient_D.to(hidden_D.dtype), weight_gradient_D, None
