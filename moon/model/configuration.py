"""`MoonConfig`: a Qwen-VL backbone without its language-model head, and how pictures, text and experts meet in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

PIXEL_STATISTICS: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "qwen2_5_vl": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "qwen3_vl": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Backbone family -> mean and deviation of red, green and blue that its vision tower was trained with."""


class MoonConfig(PretrainedConfig):
    """Configuration of `moon.model.modeling.MoonModel`.

    Args:
        backbone: configuration of the backbone, as an object or a dictionary with ``model_type``, one of
            `PIXEL_STATISTICS`.
        fusion: ``early`` (pictures and text are one sequence) or ``late`` (two towers; no experts).
        pooling: ``tokens`` (MOON: mean over all tokens) or ``modalities``, see
            `moon.model.modeling.modality_pool`.
        moe_layers: decoder layers whose feed-forward is a mixture of experts; negative counts from the last.
        general_experts: experts beside the category and attribute experts.
        experts_per_token: experts a routed token is sent to (top-k).
        routing: ``guided``, ``soft``, ``free`` or ``modality``, see `moon.model.moe`.
        guidance_bias: what soft guidance adds to a logit.
        image_mean: mean of red, green and blue that the vision tower expects; None takes the family's.
        image_std: their deviations, likewise.

    Raises:
        ValueError: the values do not fit each other or the backbone.
    """

    model_type = "moon"
    sub_configs = {"backbone": AutoConfig}

    def __init__(
        self,
        backbone: PretrainedConfig | dict[str, Any] | None = None,
        fusion: str = "early",
        pooling: str = "tokens",
        moe_layers: Sequence[int] = (-1,),
        general_experts: int = 4,
        experts_per_token: int = 2,
        routing: str = "guided",
        guidance_bias: float = 4.0,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = _backbone_config(backbone or {})
        if not 1 <= experts_per_token <= general_experts:
            raise ValueError(
                f"model.experts_per_token must be in 1..{general_experts} (model.general_experts), "
                f"got {experts_per_token}"
            )
        if fusion not in ("early", "late"):
            raise ValueError(f"model.fusion must be early or late, got {fusion!r}")
        if pooling not in ("tokens", "modalities"):
            raise ValueError(f"model.pooling must be tokens or modalities, got {pooling!r}")
        if fusion == "late" and moe_layers:
            raise ValueError(f"model.fusion: late has no experts; set model.moe_layers to [], got {list(moe_layers)}")
        layers = self.backbone.text_config.num_hidden_layers
        outside = [layer for layer in moe_layers if not -layers <= layer < layers]
        if outside:
            raise ValueError(f"model.moe_layers names layers {outside}, but the backbone has {layers}")
        self.fusion = fusion
        self.pooling = pooling
        self.moe_layers = sorted({layer % layers for layer in moe_layers})
        self.general_experts = general_experts
        self.experts_per_token = experts_per_token
        self.routing = routing
        self.guidance_bias = guidance_bias
        mean, std = PIXEL_STATISTICS[self.backbone.model_type]
        self.image_mean, self.image_std = list(image_mean or mean), list(image_std or std)
        super().__init__(**kwargs)

    @property
    def embedding_size(self) -> int:
        """Dimensions of an embedding: the width of the language model."""
        return int(self.backbone.text_config.hidden_size)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The language model's configuration, where `transformers` looks for sizes."""
        return self.backbone.text_config


def _backbone_config(backbone: PretrainedConfig | dict[str, Any]) -> PretrainedConfig:
    kind = backbone.get("model_type", "qwen2_5_vl") if isinstance(backbone, dict) else backbone.model_type
    if kind not in PIXEL_STATISTICS:
        raise ValueError(f"a MOON backbone is one of {', '.join(PIXEL_STATISTICS)}, got {kind!r}")
    return CONFIG_MAPPING[kind](**backbone) if isinstance(backbone, dict) else backbone
