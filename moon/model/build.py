"""Making a model to start from: the tiny random configuration, or a pretrained Qwen2.5-VL with upcycled experts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moon.config import ModelParams
from moon.model.configuration import MoonConfig
from moon.model.modeling import MoonModel
from moon.model.processing import MoonProcessor
from moon.model.tokenizer import IMAGE, VIDEO, VISION_END, VISION_START, train_tokenizer


def build(params: ModelParams, texts: Iterable[str]) -> tuple[MoonModel, MoonProcessor]:
    """The model to start from, by ``params.base``.

    Args:
        params: empty ``base`` builds the tiny configuration with seeded random weights and a tokenizer trained on
            ``texts``; a MOON checkpoint is continued; a Qwen2.5-VL checkpoint is upcycled.
        texts: the catalogue's texts.

    Raises:
        ValueError: ``base`` is not a checkpoint that can be read.
    """
    if not params.base:
        return _tiny(params, texts)
    try:
        kind = AutoConfig.from_pretrained(params.base).model_type
    except (OSError, ValueError) as error:
        raise ValueError(f"model.base: no checkpoint can be read from {params.base!r}: {error}") from None
    if kind == MoonConfig.model_type:
        return MoonModel.from_pretrained(params.base), MoonProcessor.from_pretrained(params.base)
    if kind != "qwen2_5_vl":
        raise ValueError(f"model.base: {params.base!r} is a {kind} checkpoint, expected qwen2_5_vl or moon")
    return upcycle(AutoModel.from_pretrained(params.base), params), _processor(
        params, AutoTokenizer.from_pretrained(params.base), AutoConfig.from_pretrained(params.base)
    )


@torch.no_grad()
def upcycle(backbone: torch.nn.Module, params: ModelParams) -> MoonModel:
    """A `MoonModel` with the weights of a dense backbone; every expert is a copy of the dense feed-forward.

    Its embeddings equal the mean-pooled dense backbone's until training moves the experts apart.
    """
    torch.manual_seed(params.seed)
    model = MoonModel(
        MoonConfig(
            backbone=backbone.config.to_dict(),  # type: ignore[operator, union-attr]
            moe_layers=params.moe_layers,
            general_experts=params.general_experts,
            experts_per_token=params.experts_per_token,
        )
    )
    model.backbone.load_state_dict(backbone.state_dict(), strict=False)
    for index in model.config.moe_layers:
        dense = backbone.language_model.layers[index].mlp  # type: ignore[index, union-attr]
        model.backbone.language_model.layers[index].mlp.copy_dense(dense)
    return model.eval()


def _tiny(params: ModelParams, texts: Iterable[str]) -> tuple[MoonModel, MoonProcessor]:
    tokenizer = train_tokenizer(texts, params.vocab_size)
    start, end, image, video = tokenizer.convert_tokens_to_ids([VISION_START, VISION_END, IMAGE, VIDEO])
    half_head = params.hidden_size // params.heads // 2
    if params.hidden_size % (2 * params.heads) or half_head < 3:
        raise ValueError(
            f"model.hidden_size must be a multiple of {2 * params.heads} and at least {6 * params.heads} "
            f"with {params.heads} heads, got {params.hidden_size}"
        )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": params.hidden_size,
            "intermediate_size": params.intermediate_size,
            "num_hidden_layers": params.layers,
            "num_attention_heads": params.heads,
            "num_key_value_heads": params.heads,
            "max_position_embeddings": 4096,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [half_head - 2 * (half_head // 3), half_head // 3, half_head // 3],
            },
        },
        vision_config={
            "depth": params.vision_layers,
            "hidden_size": params.vision_hidden_size,
            "intermediate_size": 2 * params.vision_hidden_size,
            "num_heads": params.heads,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": params.hidden_size,
            "fullatt_block_indexes": list(range(params.vision_layers)),
        },
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    torch.manual_seed(params.seed)
    return upcycle(AutoModel.from_config(config), params), _processor(params, tokenizer, config)


def _processor(params: ModelParams, tokenizer: object, config: Qwen2_5_VLConfig) -> MoonProcessor:
    vision = config.vision_config
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
    return MoonProcessor(
        image_processor,
        tokenizer,
        image_pixels=params.image_pixels,
        crop_pixels=params.crop_pixels,
        max_images=params.max_images,
        max_text_tokens=params.max_text_tokens,
    )
