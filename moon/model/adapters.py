"""LoRA deltas on the language model through `peft`, and what of a model is trained.

A delta is ``alpha / rank * B A``: on the query, key, value and output projections of every attention layer, and on the
two stacked parameters of each mixture of experts, where every expert has a delta of its own. A model without experts
has deltas on its feed-forward projections in their place. What a pretrained backbone does not bring is small and is
trained whole: the router, the expert-by-objective matrix, the projection of pictures in late fusion. [R]: the papers do
not say which weights a low-rank delta goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import nn

from moon.model.modeling import MoonModel

if TYPE_CHECKING:
    from peft import PeftModel

_ATTENTION: Final = r".*language_model\.layers\.\d+\.self_attn\.[qkvo]_proj"
_ATTENTION_AND_DENSE: Final = rf"{_ATTENTION}|.*language_model\.layers\.\d+\.mlp\.(gate|up|down)_proj"
_EXPERTS: Final = ("gate_up_EGD", "down_EDF")
_WHOLE: Final = ("router.weight", "objective_EM", "picture_projection.weight", "picture_projection.bias")
"""Ends of the names of parameters that are trained whole beside the deltas."""


def trainable(model: MoonModel, *, freeze_vision: bool, lora_rank: int, lora_alpha: float) -> nn.Module:
    """Marks, in place, what of ``model`` is trained.

    Args:
        model: the model.
        freeze_vision: keeps the vision tower as it is. With LoRA it is kept in any case.
        lora_rank: rank of the deltas; 0 trains every weight.
        lora_alpha: the deltas are scaled by ``lora_alpha / lora_rank``.

    Returns:
        ``model`` itself or, with LoRA, the model of `add_lora` around it.
    """
    if lora_rank:
        return add_lora(model, lora_rank, lora_alpha)
    if freeze_vision:
        model.backbone.visual.requires_grad_(False)
    return model


def add_lora(model: MoonModel, rank: int, alpha: float) -> PeftModel:
    """Puts LoRA deltas into ``model``; until they are trained its embeddings stay as they are.

    The model is changed in place, and what comes back wraps it: it is called like the model and has its attributes.
    Only the deltas and what is trained whole require gradients. `peft` applies an expert's delta by adding it to the
    stacked weights, so a mixture holds one more copy of them until its backward pass.

    Args:
        model: the model.
        rank: rank of each delta, at least 1.
        alpha: the deltas are scaled by ``alpha / rank``.

    Raises:
        ValueError: the rank is below 1, or the model has deltas already.
    """
    from peft import LoraConfig, get_peft_model  # takes seconds to import

    if rank < 1:
        raise ValueError(f"a LoRA rank is at least 1, got {rank}; 0 in training.lora_rank trains every weight")
    if _has_deltas(model):
        raise ValueError("the model has LoRA deltas already; merge them with merge_lora first")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=_ATTENTION if model.experts else _ATTENTION_AND_DENSE,
        target_parameters=list(_EXPERTS) if model.experts else None,
    )
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if name.endswith(_WHOLE):
            parameter.requires_grad_(True)
    return adapted


def merge_lora(model: nn.Module) -> MoonModel:
    """Adds the deltas to the weights: a plain `MoonModel` with the same embeddings, saved and loaded as usual.

    The weights are changed in place; merge a copy to go on training. A model without deltas comes back as it is. All
    weights require gradients, as after loading.

    Args:
        model: what `add_lora` or `trainable` returned.

    Raises:
        ValueError: ``model`` is the one that `add_lora` was given, which cannot merge.
    """
    if not isinstance(model, MoonModel):
        model = model.merge_and_unload()  # type: ignore[operator]
    if _has_deltas(model):
        raise ValueError("merge_lora needs the model that add_lora returned, got the one inside it")
    assert isinstance(model, MoonModel)
    return model.requires_grad_(True)


def _has_deltas(model: nn.Module) -> bool:
    return any("lora_" in name for name, _ in model.named_parameters())
