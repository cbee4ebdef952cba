"""`MoonConfig`: a Qwen-VL backbone without its language-model head, and the guided mixture of experts in it."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig


class MoonConfig(PretrainedConfig):
    """Configuration of `moon.model.modeling.MoonModel`.

    Args:
        backbone: configuration of the backbone (``qwen2_5_vl``), as an object or a dictionary with ``model_type``.
        moe_layers: decoder layers whose feed-forward is a guided mixture of experts; negative counts from the last.
        general_experts: experts that the learned router chooses among.
        experts_per_token: experts a general token is sent to (top-k).
    """

    model_type = "moon"
    sub_configs = {"backbone": AutoConfig}

    def __init__(
        self,
        backbone: PretrainedConfig | dict[str, Any] | None = None,
        moe_layers: tuple[int, ...] | list[int] = (-1,),
        general_experts: int = 4,
        experts_per_token: int = 2,
        **kwargs: Any,
    ) -> None:
        self.backbone = _backbone_config(backbone or {})
        if not 1 <= experts_per_token <= general_experts:
            raise ValueError(f"experts_per_token must be in 1..{general_experts} (experts), got {experts_per_token}")
        layers = self.backbone.text_config.num_hidden_layers
        outside = [layer for layer in moe_layers if not -layers <= layer < layers]
        if outside:
            raise ValueError(f"moe_layers names layers {outside}, but the backbone has {layers}")
        self.moe_layers = sorted({layer % layers for layer in moe_layers})
        self.general_experts = general_experts
        self.experts_per_token = experts_per_token
        super().__init__(**kwargs)

    @property
    def embedding_size(self) -> int:
        """Dimensions of an embedding: the width of the language model."""
        return int(self.backbone.text_config.hidden_size)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The language model's configuration, where `transformers` looks for sizes."""
        return self.backbone.text_config


def _backbone_config(backbone: PretrainedConfig | dict[str, Any]) -> PretrainedConfig:
    if isinstance(backbone, dict):
        return CONFIG_MAPPING[backbone.get("model_type", "qwen2_5_vl")](**backbone)
    return backbone
