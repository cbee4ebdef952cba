"""The backbones' normalisation and gated feed-forward with little kept for the backward pass.

The stock modules run each as several operations that keep their results. Weights, names and results are the stock
modules'.

Shapes: D width, F feed-forward width; the dimensions before them are free.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP, Qwen2_5_VLRMSNorm, Qwen2MLP
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextMLP, Qwen3VLTextRMSNorm

_NORMS: Final = (Qwen2_5_VLRMSNorm, Qwen3VLTextRMSNorm)
_GATED: Final = (Qwen2_5_VLMLP, Qwen2MLP, Qwen3VLTextMLP)
_SILU: Final = type(ACT2FN["silu"])


def slim(model: nn.Module) -> None:
    """Makes every RMS norm and every SiLU-gated feed-forward of a Qwen-VL backbone a slim one, in place."""
    for module in model.modules():
        if type(module) in _NORMS:
            module.__class__ = SlimRMSNorm
        elif isinstance(module, _GATED) and isinstance(module.act_fn, _SILU):
            module.__class__ = SlimGatedMLP


class SlimRMSNorm(Qwen2_5_VLRMSNorm):
    """The stock norm, ``weight * x / sqrt(mean(x^2) + eps)``, computed in float32; keeps its input."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return out


class SlimGatedMLP(Qwen2MLP):
    """The stock feed-forward, ``down(silu(gate(x)) * up(x))``; does not keep the SiLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = self.down_proj(_SiluGate.apply(self.gate_proj(x), self.up_proj(x)))
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


class _SiluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_F: Tensor, up_F: Tensor) -> Tensor:
        ctx.save_for_backward(gate_F, up_F)
        return functional.silu(gate_F).mul_(up_F)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_F: Tensor) -> tuple[Tensor, Tensor]:
        gate_F, up_F = ctx.saved_tensors
        gate_gradient_F = torch.ops.aten.silu_backward(gradient_F * up_F, gate_F)
        return gate_gradient_F, functional.silu(gate_F).mul_(gradient_F)
