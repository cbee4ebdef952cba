"""The vision towers of Qwen2.5-VL and Qwen3-VL on many small pictures.

Weights, their names and the results are those of `transformers`. What differs is the cost of a batch of small
pictures: all pictures, or windows, of one size that stand together attend in one call, patches come as bytes and are
normalised by the patch embedding's own weights, and positions are looked up by picture size.

Shapes: P patches, C bytes a patch, V merged patches, D width of the tower, H heads, O width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention, rotate_half
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionAttention
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

from moon.model.positions import Grid, VisionLayout, vision_layout


def pack(visual: Any, mean: Sequence[float], std: Sequence[float]) -> None:
    """Makes a tower of `transformers` ready for `see`, in place.

    Args:
        visual: the tower of a Qwen2.5-VL or Qwen3-VL backbone.
        mean: of the red, green and blue values the tower was trained on, as shares of 255.
        std: their standard deviations.
    """
    for module in visual.modules():
        if type(module) in (Qwen2_5_VLVisionAttention, Qwen3VLVisionAttention):
            module.__class__ = PackedVisionAttention
    visual.patch_embed.__class__ = PatchEmbedding
    visual.patch_embed.proj.__class__ = PixelProjection
    visual.patch_embed.proj.mean, visual.patch_embed.proj.std = tuple(mean), tuple(std)


def see(visual: Any, pixels_PC: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, list[Tensor]]:
    """Runs a tower on pictures.

    Args:
        visual: the tower, after `pack`.
        pixels_PC: bytes of the patches, as `moon.model.processing.MoonProcessor` makes them.
        grids: rows and columns of each picture in patches; pictures of one size are fastest next to each other.

    Returns:
        (V, O) features of the merged patches, and the same from each deepstack layer (Qwen3-VL).
    """
    config, device = visual.config, pixels_PC.device
    window = getattr(config, "window_size", 0) // config.spatial_merge_size // config.patch_size
    layout = vision_layout(grids, config.spatial_merge_size, window)
    hidden_PD = visual.patch_embed(pixels_PC)
    if hasattr(visual, "pos_embed"):
        hidden_PD = hidden_PD + _learned_positions(visual, grids).to(hidden_PD.dtype)
    order_V = layout.window_index_V.to(device) if layout.reordered else None
    if order_V is not None:
        hidden_PD = hidden_PD.unflatten(0, (len(order_V), -1))[order_V].flatten(0, 1)
    rotary = visual.rotary_pos_emb(hidden_PD, layout.position_ids_P2.to(device))
    deep: list[Tensor] = []
    for number, block in enumerate(visual.blocks):
        hidden_PD = block(hidden_PD, cu_seqlens=_segments(config, layout, number), position_embeddings=rotary)
        if number in getattr(config, "deepstack_visual_indexes", ()):
            deep.append(visual.deepstack_merger_list[len(deep)](hidden_PD))
    merged_VO = visual.merger(hidden_PD)
    return merged_VO if order_V is None else merged_VO[order_V.argsort()], deep


def _segments(config: Any, layout: VisionLayout, number: int) -> Tensor:
    """Bounds within which layer ``number`` attends: pictures, or windows in most layers of Qwen2.5-VL."""
    full = getattr(config, "fullatt_block_indexes", None)
    return layout.pictures if full is None or number in full else layout.windows


def _learned_positions(visual: Any, grids: Sequence[Grid]) -> Tensor:
    """(P, D) learned positions of Qwen3-VL, interpolated once for each size."""
    device = visual.pos_embed.weight.device
    by_size = {}
    for grid in dict.fromkeys(grids):
        indices_P4, weights_P4 = get_vision_interpolation_indices_and_weights(
            torch.tensor([[1, *grid]], device=device),
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=visual.spatial_merge_size,
        )
        by_size[grid] = (visual.pos_embed(indices_P4) * weights_P4[..., None]).sum(1)
    return torch.cat([by_size[grid] for grid in grids])


class PatchEmbedding(nn.Module):
    """Takes the place of a stock patch embedding, whose ``proj`` is now a `PixelProjection`."""

    proj: PixelProjection

    def forward(self, pixels_PC: Tensor) -> Tensor:
        """Maps (P, C) bytes to (P, D)."""
        out: Tensor = self.proj(pixels_PC)
        return out


class PixelProjection(nn.Conv3d):
    """The patch convolution as one matrix product on bytes, equal to the stock one on normalised patches.

    A still picture is a clip of equal frames, so the kernel's temporal slices are added up instead of the patch being
    repeated; the normalisation is linear and goes into the kernel and the bias. Computed in float32 whatever the
    precision around it, because bytes are large numbers that nearly cancel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def forward(self, pixels_PC: Tensor) -> Tensor:
        """Maps (P, C) bytes in the order row, column, channel to (P, D)."""
        kind = pixels_PC.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        with torch.autocast(kind, enabled=False):
            kernel_D3HW = self.weight.float().sum(2)
            mean, std = (kernel_D3HW.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
            scaled_D3HW = kernel_D3HW / std
            bias_D = -(scaled_D3HW * mean).sum((1, 2, 3))
            if self.bias is not None:
                bias_D = bias_D + self.bias.float()
            kernel_DC = (scaled_D3HW / 255).permute(0, 2, 3, 1).flatten(1)
            return _Project.apply(pixels_PC, kernel_DC, bias_D).to(dtype)


class _Project(torch.autograd.Function):
    """A linear map of bytes that keeps the bytes, not their float32 copy, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, pixels_PC: Tensor, kernel_DC: Tensor, bias_D: Tensor) -> Tensor:
        ctx.save_for_backward(pixels_PC)
        return torch.addmm(bias_D, pixels_PC.float(), kernel_DC.T)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_PD: Tensor) -> tuple[None, Tensor, Tensor]:
        (pixels_PC,) = ctx.saved_tensors
        return None, gradient_PD.T @ pixels_PC.float(), gradient_PD.sum(0)


class PackedVisionAttention(Qwen2_5_VLVisionAttention):
    """Full attention within each of the segments that ``cu_seqlens`` marks; one call for each run of equal lengths."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> Tensor:
        """Maps (P, D) patches to (P, D); ``cu_seqlens`` holds the segments' bounds, ascending from 0."""
        if self.config._attn_implementation != "sdpa":
            out: Tensor = super().forward(hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs)
            return out
        qkv_P3HD = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))
        value_PHD = qkv_P3HD[:, 2]
        both_P2HD = qkv_P3HD[:, :2].float()
        cos, sin = (part[:, None, None] for part in position_embeddings)
        query_PHD, key_PHD = (both_P2HD * cos + rotate_half(both_P2HD) * sin).to(value_PHD.dtype).unbind(1)
        sizes, lengths = _runs(cu_seqlens)
        parts = []
        for *run, length in zip(*(x.split(sizes) for x in (query_PHD, key_PHD, value_PHD)), lengths, strict=True):
            q, k, v = (x.unflatten(0, (-1, length)).transpose(1, 2) for x in run)
            attended = functional.scaled_dot_product_attention(q, k, v, scale=self.scaling)
            parts.append(attended.transpose(1, 2).flatten(0, 1).flatten(1))
        projected: Tensor = self.proj(torch.cat(parts))
        return projected


def _runs(bounds: Tensor) -> tuple[list[int], list[int]]:
    """Patches of each run of segments that have the same length, and that length."""
    edges = bounds.numpy(force=True)
    lengths = np.diff(edges)
    changes = np.flatnonzero(np.diff(lengths, prepend=0, append=0))
    return np.diff(edges[changes]).tolist(), lengths[changes[:-1]].tolist()
