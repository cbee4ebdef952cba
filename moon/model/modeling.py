"""`MoonModel`: a Qwen-VL backbone whose mean-pooled last hidden states are the embedding.

Shapes: B items, S tokens an item, D width, P image patches, C bytes a patch, V merged patches, N pictures, L layers
with experts, E experts that the router knows, M objectives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from moon.model.configuration import MoonConfig
from moon.model.item import OBJECTIVES, TokenType
from moon.model.moe import MixtureOfExperts, guide
from moon.model.positions import Grid
from moon.model.slim import slim
from moon.model.vision import pack, see


@dataclass
class MoonOutput(ModelOutput):
    """One forward pass, float32, a row an item; what the configuration has no use for is None.

    The routing statistics are sums over the item's routed tokens, so that they can be added up over batches.
    """

    embedding: Tensor | None = None
    """(B, D) of unit length."""
    router_probs: Tensor | None = None
    """(B, L, E), summed router probabilities, with gradient."""
    router_choices: Tensor | None = None
    """(B, L, E), how often each expert was chosen."""
    routed_tokens: Tensor | None = None
    """(B,), tokens that the routers saw."""
    objective: Tensor | None = None
    """(B, M), what the item's experts give to each objective (MOON2.0), mean over layers, with gradient."""
    sparsity: Tensor | None = None
    """(B,), mean entropy of the experts over objectives (MOON2.0), the same for each item, with gradient."""


class MoonModel(PreTrainedModel):
    """The embedder of MOON: mean over all real tokens of the last hidden states, L2-normalised ([R]: the norm).

    With ``fusion: late`` it is a dual encoder in the manner of CLIP: the text goes alone through the language model,
    each picture alone through the vision tower, and the embedding is the sum of their unit vectors.

    Args:
        config: the configuration.
        backbone: takes the place of a new backbone with random weights; changed in place.
    """

    config_class = MoonConfig
    config: MoonConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: MoonConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone) if backbone is None else backbone
        text = config.backbone.text_config
        for index in config.moe_layers:
            moe = MixtureOfExperts(
                text.hidden_size,
                text.intermediate_size,
                config.general_experts,
                config.experts_per_token,
                config.routing,
                config.guidance_bias,
                len(OBJECTIVES) if config.routing == "modality" else 0,
            )
            guide(self.backbone.language_model.layers[index], moe)
        if config.fusion == "late":
            self.picture_projection = nn.Linear(config.backbone.vision_config.out_hidden_size, text.hidden_size)
        pack(self.backbone.visual, config.image_mean, config.image_std)
        slim(self.backbone)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MixtureOfExperts):
            deviation = self.config.backbone.text_config.initializer_range
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=deviation)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint. `transformers` asks DeepSpeed on the way, which would report what device it chose."""
        os.environ.setdefault("DS_ACCELERATOR", self.device.type)
        super().save_pretrained(*args, **kwargs)

    @property
    def experts(self) -> dict[str, MixtureOfExperts]:
        """The mixtures of experts by layer name, from the first layer to the last."""
        return {name: module for name, module in self.named_modules() if isinstance(module, MixtureOfExperts)}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_types: Tensor,
        position_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        image_places: Tensor | None = None,
    ) -> MoonOutput:
        """Embeds a batch made by `moon.model.processing.MoonProcessor`.

        Args:
            input_ids: (B, S), right-padded.
            attention_mask: (B, S), 1 for real tokens.
            token_types: (B, S) of `moon.model.item.TokenType`.
            position_ids: (3, B, S) rotary positions.
            pixel_values: (P, C) bytes of the patches of all pictures.
            image_grid_thw: (N, 3) patches in time, height and width of each picture.
            image_places: (V,) where in the flattened (B, S) each merged patch belongs.
        """
        features_VD: Tensor | None = None
        deep: list[Tensor] = []
        grids: list[Grid] = []
        if pixel_values is not None:
            assert image_grid_thw is not None and image_places is not None, "collate makes all three"
            grids = [(rows, columns) for _, rows, columns in image_grid_thw.tolist()]
            features_VD, deep = see(self.backbone.visual, pixel_values, grids)
        if self.config.fusion == "late":
            return MoonOutput(embedding=self._late(input_ids, token_types, features_VD, grids, image_places))
        hidden_BSD = self.backbone.get_input_embeddings()(input_ids)
        extra: dict[str, Any] = {}
        if features_VD is not None and image_places is not None:
            features_VD = features_VD.to(hidden_BSD.dtype)
            hidden_BSD = hidden_BSD.flatten(0, 1).index_copy(0, image_places, features_VD).view_as(hidden_BSD)
        if deep and image_places is not None:  # the stock layers want them in sequence order
            order_V = image_places.argsort()
            seen_BS = torch.zeros_like(input_ids, dtype=torch.bool).flatten().index_fill(0, image_places, True)
            extra["visual_pos_masks"] = seen_BS.view_as(input_ids)
            extra["deepstack_visual_embeds"] = [feature_VD[order_V] for feature_VD in deep]
        last_BSD = self._read(hidden_BSD, position_ids, token_types=token_types, **extra)
        modal = self.config.pooling == "modalities"
        embedding_BD = modality_pool(last_BSD, token_types) if modal else mean_pool(last_BSD, attention_mask)
        return MoonOutput(embedding=embedding_BD, **self._statistics())

    def _read(self, hidden_BSD: Tensor, position_ids: Tensor, **kwargs: Any) -> Tensor:
        """Last hidden states. Attention is causal and padding is on the right, so no real token needs a mask."""
        out: Tensor = self.backbone.language_model(
            inputs_embeds=hidden_BSD, position_ids=position_ids, attention_mask=None, use_cache=False, **kwargs
        ).last_hidden_state
        return out

    def _late(
        self,
        input_ids: Tensor,
        token_types: Tensor,
        features_VD: Tensor | None,
        grids: Sequence[Grid],
        image_places: Tensor | None,
    ) -> Tensor:
        """Sum of the unit vectors of text and pictures, as a unit vector (B, D)."""
        text_BS = token_types.ge(TokenType.TITLE)
        total_BD = torch.zeros(len(input_ids), self.config.embedding_size, device=input_ids.device)
        rows = text_BS.any(1).nonzero().squeeze(1)
        if len(rows):
            front_BS = text_BS[rows].int().argsort(dim=1, descending=True, stable=True)  # text to the left
            ids_BS = input_ids[rows].gather(1, front_BS)
            mask_BS = text_BS[rows].gather(1, front_BS)
            longest = int(mask_BS.sum(1).max())
            positions = torch.arange(longest, device=ids_BS.device).expand(3, len(rows), -1)
            hidden_BSD = self._read(self.backbone.get_input_embeddings()(ids_BS[:, :longest]), positions)
            total_BD = total_BD.index_add(0, rows, mean_pool(hidden_BSD, mask_BS[:, :longest]))
        if features_VD is not None and image_places is not None:
            merge = self.config.backbone.vision_config.spatial_merge_size**2
            sizes_N = torch.tensor([height * width // merge for height, width in grids], device=input_ids.device)
            picture_V = torch.repeat_interleave(torch.arange(len(grids), device=input_ids.device), sizes_N)
            item_N = image_places[sizes_N.cumsum(0) - 1] // input_ids.shape[1]
            pooled_ND = features_VD.new_zeros(len(grids), features_VD.shape[1], dtype=torch.float32)
            pooled_ND = pooled_ND.index_add(0, picture_V, features_VD.float()) / sizes_N[:, None]
            unit_ND = functional.normalize(self.picture_projection(pooled_ND.to(features_VD.dtype)).float(), dim=-1)
            pictures_BD = functional.normalize(torch.zeros_like(total_BD).index_add(0, item_N, unit_ND), dim=-1)
            total_BD = total_BD + pictures_BD
        return functional.normalize(total_BD, dim=-1)

    def _statistics(self) -> dict[str, Tensor]:
        """The routing statistics of the pass just made; the mixtures let go of them, and of the graph behind them."""
        mixtures = list(self.experts.values())
        found = [moe.statistics for moe in mixtures if moe.statistics is not None]
        for moe in mixtures:
            moe.statistics = None
        if not found:
            return {}
        result = {
            "router_probs": torch.stack([one.probs_BE for one in found], dim=1),
            "router_choices": torch.stack([one.choices_BE for one in found], dim=1),
            "routed_tokens": found[0].tokens_B,
        }
        objectives = [one.objective_BM for one in found if one.objective_BM is not None]
        entropies = [one.sparsity for one in found if one.sparsity is not None]
        if objectives:
            result["objective"] = torch.stack(objectives).mean(0)
            result["sparsity"] = torch.stack(entropies).mean().expand(len(found[0].tokens_B))
        return result

    def expert_load(self) -> dict[str, float]:
        """Where tokens went since the last call: ``load/LAYER/TOKEN TYPE/EXPERT`` -> share of the type's choices."""
        shares: dict[str, float] = {}
        for layer, moe in zip(self.config.moe_layers, self.experts.values(), strict=True):
            for kind, counts in zip(TokenType, moe.load_TE.tolist(), strict=True):
                total = sum(counts)
                for expert, count in enumerate(counts if total else ()):
                    shares[f"load/{layer}/{kind.name.lower()}/{expert}"] = count / total
            moe.reset_load()
        return shares


def mean_pool(hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over real tokens in float32, then unit length: (B, S, D), (B, S) -> (B, D)."""
    mask_BS1 = mask_BS[..., None].float()
    mean_BD = (hidden_BSD.float() * mask_BS1).sum(1) / mask_BS1.sum(1).clamp(min=1)
    return functional.normalize(mean_BD, dim=-1)


def modality_pool(hidden_BSD: Tensor, types_BS: Tensor) -> Tensor:
    """Sum of the unit means over picture tokens and over text tokens, as a unit vector [R].

    (B, S, D), (B, S) -> (B, D). Pictures and text count alike, however many tokens each has; in the mean over all
    tokens a short title drowns in the tokens of the pictures.
    """
    pictures_BS = types_BS.eq(TokenType.IMAGE) | types_BS.eq(TokenType.CROP)
    member_B2S = torch.stack([pictures_BS, types_BS.ge(TokenType.TITLE)], dim=1).float()
    with torch.autocast(hidden_BSD.device.type, enabled=False):
        sums_B2D = member_B2S @ hidden_BSD.float()  # a mean's direction is its sum's
    return functional.normalize(functional.normalize(sums_B2D, dim=-1).sum(1), dim=-1)
