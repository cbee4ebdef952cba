"""Vision attention that computes all pictures, or windows, of one size in one call.

The stock module attends to each picture in a Python loop, which on many small pictures costs more than the arithmetic.
Weights, names and results are the stock module's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLVisionAttention,
    apply_rotary_pos_emb_vision,
)


class PackedVisionAttention(Qwen2_5_VLVisionAttention):
    """Full attention within each of the segments that ``cu_seqlens`` marks, grouped by their length."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> Tensor:
        """Maps (P, D) patches to (P, D); ``cu_seqlens`` holds the segments' bounds, ascending from 0."""
        if self.config._attn_implementation != "sdpa":
            return super().forward(hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs)
        patches = hidden_states.shape[0]
        query, key, value = self.qkv(hidden_states).reshape(patches, 3, self.num_heads, -1).unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)

        lengths = cu_seqlens.diff()
        starts = cu_seqlens[:-1]
        out = torch.empty_like(value)
        for length in lengths.unique().tolist():
            rows = (starts[lengths == length, None] + torch.arange(length, device=starts.device)).flatten()
            q, k, v = (x[rows].unflatten(0, (-1, length)).transpose(1, 2) for x in (query, key, value))
            attended = functional.scaled_dot_product_attention(q, k, v, scale=self.scaling)
            out = out.index_copy(0, rows, attended.transpose(1, 2).flatten(0, 1))
        return self.proj(out.reshape(patches, -1))
