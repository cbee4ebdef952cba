"""Making a model to start from: the tiny random configuration, or a pretrained Qwen-VL with upcycled experts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moon.config import ModelParams
from moon.model.configuration import PIXEL_STATISTICS, MoonConfig
from moon.model.modeling import MoonModel
from moon.model.processing import MoonProcessor
from moon.model.tokenizer import IMAGE, VIDEO, VISION_END, VISION_START, train_tokenizer
from moon.vision.resize import Resize

_POSITION_GRID: Final = 8
"""Rows and columns of the learned positions of the tiny Qwen3-VL's vision tower."""

_ADDED: Final = ("o_proj.weight", "attn.proj.weight", "down_proj.weight", "linear_fc2.weight")
"""Last weights of the attention and feed-forward blocks of both families: what they make is added to the stream."""


def build(params: ModelParams, texts: Iterable[str]) -> tuple[MoonModel, MoonProcessor]:
    """The model to start from, by ``params.base``.

    Args:
        params: empty ``base`` builds the tiny configuration of the family ``backbone`` with seeded random weights and
            a tokenizer trained on ``texts``; a ``config.json`` gives its shape instead; a MOON checkpoint is continued;
            a Qwen2.5-VL or Qwen3-VL checkpoint, with or without its language-model head, is upcycled.
        texts: the catalogue's texts.

    Raises:
        ValueError: ``base`` is not a checkpoint that can be read, or the parameters do not fit it.
    """
    if not params.base:
        return _random(params, _tiny_config(params), texts)
    try:
        config = AutoConfig.from_pretrained(params.base)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.base: no checkpoint can be read from {params.base!r}: {error}") from None
    kind = config.model_type
    if kind not in (MoonConfig.model_type, *PIXEL_STATISTICS):
        expected = ", ".join((MoonConfig.model_type, *PIXEL_STATISTICS))
        raise ValueError(f"model.base: {params.base!r} is of type {kind}, expected one of {expected}")
    if Path(params.base).is_file():
        return _random(params, config.backbone if kind == MoonConfig.model_type else config, texts)
    try:
        if kind == MoonConfig.model_type:
            return MoonModel.from_pretrained(params.base), MoonProcessor.from_pretrained(params.base)
        backbone, tokenizer = AutoModel.from_pretrained(params.base), AutoTokenizer.from_pretrained(params.base)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.base: no checkpoint can be read from {params.base!r}: {error}") from None
    return upcycle(backbone, params), _processor(params, tokenizer, config)


@torch.no_grad()
def upcycle(backbone: PreTrainedModel, params: ModelParams) -> MoonModel:
    """A float32 `MoonModel` with the weights of a dense backbone; every expert is a copy of the dense feed-forward.

    Its embeddings equal the mean-pooled dense backbone's until training moves the experts apart.

    Args:
        backbone: a Qwen2.5-VL or Qwen3-VL model without head; it becomes part of the result.
        params: experts, routing and fusion.

    Raises:
        ValueError: the parameters do not fit the backbone.
    """
    config = MoonConfig(
        backbone=backbone.config.to_dict(),
        fusion=params.fusion,
        pooling=params.pooling,
        moe_layers=params.moe_layers,
        general_experts=params.general_experts,
        experts_per_token=params.experts_per_token,
        routing=params.routing,
        guidance_bias=params.guidance_bias,
    )
    layers = backbone.float().language_model.layers
    dense = {index: layers[index].mlp for index in config.moe_layers}
    torch.manual_seed(params.seed)
    model = MoonModel(config, backbone)
    for mixture, feed_forward in zip(model.experts.values(), dense.values(), strict=True):
        mixture.copy_dense(feed_forward)
    return model.eval()


def _random(params: ModelParams, config: PretrainedConfig, texts: Iterable[str]) -> tuple[MoonModel, MoonProcessor]:
    """Seeded random weights of a shape, and a tokenizer of its own whose special tokens the configuration names."""
    tokenizer = train_tokenizer(texts, min(params.vocab_size, config.text_config.vocab_size))
    start, end, image, video = tokenizer.convert_tokens_to_ids([VISION_START, VISION_END, IMAGE, VIDEO])
    config.vision_start_token_id, config.vision_end_token_id = start, end
    config.image_token_id, config.video_token_id = image, video
    text = config.text_config
    text.pad_token_id, text.bos_token_id, text.eos_token_id = tokenizer.pad_token_id, None, tokenizer.eos_token_id
    if not params.base:
        text.vocab_size = len(tokenizer)
    torch.manual_seed(params.seed)
    backbone = AutoModel.from_config(config, dtype=torch.float32)
    _start(backbone)
    return upcycle(backbone, params), _processor(params, tokenizer, config)


@torch.no_grad()
def _start(backbone: PreTrainedModel) -> None:
    """Scales random weights for training from nothing.

    The residual stream must start as the tokens themselves: embeddings of unit variance, and what each block adds to
    the stream divided by the square root of the number of additions (GPT-2). As `transformers` draws them, embeddings
    are so small that the first attention layer buries every word under the mean of the pictures before it.
    """
    backbone.get_input_embeddings().weight.div_(backbone.config.text_config.initializer_range)
    for stack in (backbone.language_model.layers, backbone.visual.blocks):
        for name, weight in stack.named_parameters():
            if name.endswith(_ADDED):
                weight.mul_((2 * len(stack)) ** -0.5)


def _tiny_config(params: ModelParams) -> PretrainedConfig:
    half_head = params.hidden_size // params.heads // 2
    if params.hidden_size % (2 * params.heads) or half_head < 3:
        raise ValueError(
            f"model.hidden_size must be a multiple of {2 * params.heads} and at least {6 * params.heads} "
            f"with {params.heads} heads, got {params.hidden_size}"
        )
    third = half_head // 3
    text: dict[str, Any] = {
        "vocab_size": params.vocab_size,
        "hidden_size": params.hidden_size,
        "intermediate_size": params.intermediate_size,
        "num_hidden_layers": params.layers,
        "num_attention_heads": params.heads,
        "num_key_value_heads": params.heads,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [half_head - 2 * third, third, third],
        },
    }
    vision: dict[str, Any] = {
        "depth": params.vision_layers,
        "hidden_size": params.vision_hidden_size,
        "intermediate_size": 2 * params.vision_hidden_size,
        "num_heads": params.heads,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": params.hidden_size,
    }
    if params.backbone == "qwen2_5_vl":
        return Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision | {"patch_size": 14, "fullatt_block_indexes": list(range(params.vision_layers))},
        )
    deep = [] if params.fusion == "late" else list(range(min(params.vision_layers - 1, params.layers)))
    return Qwen3VLConfig(
        text_config=text | {"head_dim": params.hidden_size // params.heads},
        vision_config=vision
        | {
            "patch_size": 16,
            "num_position_embeddings": _POSITION_GRID**2,
            "deepstack_visual_indexes": deep,
        },
    )


def _processor(params: ModelParams, tokenizer: object, config: PretrainedConfig) -> MoonProcessor:
    vision = config.vision_config
    mean, std = PIXEL_STATISTICS[config.model_type]
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        image_mean=list(mean),
        image_std=list(std),
    )
    return MoonProcessor(
        image_processor,
        tokenizer,
        image_pixels=params.image_pixels,
        crop_pixels=params.crop_pixels,
        max_images=params.max_images,
        max_text_tokens=params.max_text_tokens,
        resize=cast(Resize, params.resize),
    )
