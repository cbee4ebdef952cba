"""`MoonModel`: a Qwen-VL backbone whose mean-pooled last hidden states are the embedding.

Shapes: B items, S tokens an item, D width, P image patches, C values a patch, N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention
from transformers.utils import ModelOutput

from moon.model.configuration import MoonConfig
from moon.model.moe import GuidedMoE, guide
from moon.model.vision_attention import PackedVisionAttention


@dataclass
class MoonOutput(ModelOutput):
    """One forward pass: embeddings (B, D) of unit length, and the experts' balance loss (scalar)."""

    embedding: Tensor | None = None
    balance_loss: Tensor | None = None


class MoonModel(PreTrainedModel):
    """The embedder of MOON: mean over all real tokens of the last hidden states, L2-normalised ([R]: the norm)."""

    config_class = MoonConfig
    config: MoonConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: MoonConfig) -> None:
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone)
        text = config.backbone.text_config
        for index in config.moe_layers:
            moe = GuidedMoE(text.hidden_size, text.intermediate_size, config.general_experts, config.experts_per_token)
            guide(self.backbone.language_model.layers[index], moe)
        for module in self.backbone.visual.modules():
            if type(module) is Qwen2_5_VLVisionAttention:
                module.__class__ = PackedVisionAttention
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, GuidedMoE):
            deviation = self.config.backbone.text_config.initializer_range
            nn.init.normal_(module.gate_up_EGD, std=deviation)
            nn.init.normal_(module.down_EDF, std=deviation)

    @property
    def experts(self) -> dict[str, GuidedMoE]:
        """The mixtures of experts by layer name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, GuidedMoE)}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_types: Tensor,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        **kwargs: Any,
    ) -> MoonOutput:
        """Embeds a batch made by `moon.model.processing.MoonProcessor`.

        Args:
            input_ids: (B, S), right-padded.
            attention_mask: (B, S), 1 for real tokens.
            token_types: (B, S) of `moon.model.item.TokenType`.
            pixel_values: (P, C) patches of all pictures in sequence order.
            image_grid_thw: (N, 3) patches in time, height and width of each picture.
            **kwargs: passed on to the backbone.
        """
        hidden_BSD = self.backbone(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            mm_token_type_ids=input_ids.eq(self.config.backbone.image_token_id).int(),
            token_types=token_types,
            use_cache=False,
            **kwargs,
        ).last_hidden_state
        losses = [moe.balance_loss for moe in self.experts.values() if moe.balance_loss is not None]
        return MoonOutput(
            embedding=mean_pool(hidden_BSD, attention_mask),
            balance_loss=torch.stack(losses).mean() if losses else hidden_BSD.new_zeros(()),
        )


def mean_pool(hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over real tokens in float32, then unit length: (B, S, D), (B, S) -> (B, D)."""
    mask_BS1 = mask_BS[..., None].float()
    mean_BD = (hidden_BSD.float() * mask_BS1).sum(1) / mask_BS1.sum(1).clamp(min=1)
    return functional.normalize(mean_BD, dim=-1)
