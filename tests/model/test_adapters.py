from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moon.model import Embedder, Item, MoonModel, MoonProcessor, experts
from moon.model.adapters import add_lora, merge_lora, trainable
from moon.model.build import build
from tests.conftest import TINY_MODEL
from tests.model.conftest import TEXTS

RANK, ALPHA = 3, 6.0
GENERAL, LAYERS, WIDTH, INNER = (
    TINY_MODEL.general_experts,
    TINY_MODEL.layers,
    TINY_MODEL.hidden_size,
    TINY_MODEL.intermediate_size,
)
ATTRIBUTE_EXPERT = GENERAL + 1
DELTAS_OF_ATTENTION = LAYERS * 4 * RANK * 2 * WIDTH
DELTAS_OF_EXPERTS = (GENERAL + 2) * RANK * (WIDTH + 2 * INNER + INNER + WIDTH)


@pytest.fixture
def model(built: tuple[MoonModel, MoonProcessor]) -> MoonModel:
    """A copy whose experts have moved apart."""
    torch.manual_seed(1)
    own = copy.deepcopy(built[0])
    with torch.no_grad():
        for moe in own.experts.values():
            moe.gate_up_EGD += 0.02 * torch.randn_like(moe.gate_up_EGD)
            moe.router.weight.normal_()
    return own


@pytest.fixture
def batch(built: tuple[MoonModel, MoonProcessor], items: list[Item]) -> dict[str, Tensor]:
    return built[1](items)


def move_deltas(model: nn.Module, scale: float = 0.1) -> None:
    """As if trained: B starts at zero."""
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=scale)


def deltas(model: nn.Module, end: str) -> Iterator[nn.Parameter]:
    return (parameter for name, parameter in model.named_parameters() if end in name)


def embed(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch).embedding


@pytest.mark.parametrize("grouped", [False, True])
def test_untrained_deltas_change_nothing_and_trained_ones_equal_the_merged_weights(
    model: MoonModel, batch: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    monkeypatch.setattr(experts, "_grouped_is_fast", lambda *_: grouped)
    before = embed(model, batch)
    names = {name for name, _ in model.named_parameters()}
    adapted = add_lora(model, RANK, ALPHA)
    torch.testing.assert_close(embed(adapted, batch), before)

    move_deltas(adapted)
    trained = embed(adapted, batch)
    assert (trained - before).norm(dim=-1).min() > 1e-3
    merged = merge_lora(adapted)
    assert type(merged) is MoonModel
    assert {name for name, _ in merged.named_parameters()} == names
    assert all(parameter.requires_grad for parameter in merged.parameters())
    torch.testing.assert_close(embed(merged, batch), trained, atol=1e-6, rtol=1e-5)

    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(embed(MoonModel.from_pretrained(tmp_path).eval(), batch), embed(merged, batch))
    again = add_lora(merged, RANK, ALPHA)
    torch.testing.assert_close(embed(again, batch), embed(merge_lora(again), batch))


@pytest.mark.parametrize("parameter", ["gate_up_EGD", "down_EDF"])
def test_a_delta_on_one_expert_changes_what_is_routed_to_it(
    model: MoonModel, batch: dict[str, Tensor], parameter: str
) -> None:
    adapted = add_lora(model, RANK, ALPHA)
    before = embed(adapted, batch)
    with torch.no_grad():
        wrapper = next(module for module in adapted.modules() if getattr(module, "parameter_name", "") == parameter)
        weight = wrapper.lora_B["default"].weight
        weight.view(len(weight), RANK, GENERAL + 2)[:, :, ATTRIBUTE_EXPERT] = 0.5
    changed = (embed(adapted, batch) - before).norm(dim=-1)
    has_attributes = torch.tensor([True, False, False, False])
    assert changed[has_attributes].min() > 1e-4
    assert changed[~has_attributes].max() == 0
    merged = next(iter(merge_lora(adapted).experts.values()))
    assert merged.gate_up_EGD.shape == (GENERAL + 2, 2 * INNER, WIDTH)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_reach_the_deltas_and_the_router_only(
    model: MoonModel, batch: dict[str, Tensor], checkpointed: bool, precision: str
) -> None:
    adapted = trainable(model, freeze_vision=True, lora_rank=RANK, lora_alpha=ALPHA)
    move_deltas(adapted)
    adapted.train()
    if checkpointed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    target = torch.randn(len(batch["input_ids"]), WIDTH, generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        embedding = adapted(**batch).embedding
    (embedding.float() * target).sum().backward()

    for name, parameter in adapted.named_parameters():
        whole = name.endswith("router.weight")
        assert parameter.requires_grad == (whole or "lora_" in name), name
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


def test_checkpointed_gradients_equal_the_others(model: MoonModel, batch: dict[str, Tensor]) -> None:
    adapted = add_lora(model, RANK, ALPHA)
    move_deltas(adapted)
    adapted.train()
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": False})
        adapted.zero_grad()
        adapted(**batch).embedding[:, 0].sum().backward()
        found.append([parameter.grad.clone() for parameter in adapted.parameters() if parameter.requires_grad])
    torch.testing.assert_close(*found)


def test_the_rank_says_how_much_is_trained(model: MoonModel) -> None:
    adapted = add_lora(model, RANK, ALPHA)
    counted = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert counted == DELTAS_OF_ATTENTION + DELTAS_OF_EXPERTS + GENERAL * WIDTH
    assert not any("visual" in name for name, p in adapted.named_parameters() if p.requires_grad)


def test_a_dense_model_has_deltas_on_its_feed_forward(
    built: tuple[MoonModel, MoonProcessor], items: list[Item]
) -> None:
    dense, processor = build(dataclasses.replace(TINY_MODEL, moe_layers=()), TEXTS)
    batch = processor(items)
    adapted = add_lora(dense, RANK, ALPHA)
    counted = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert counted == DELTAS_OF_ATTENTION + LAYERS * 3 * RANK * (WIDTH + INNER)
    move_deltas(adapted)
    trained = embed(adapted, batch)
    torch.testing.assert_close(embed(merge_lora(adapted), batch), trained, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"routing": "modality", "backbone": "qwen3_vl"},
        {"routing": "soft", "moe_layers": (0, 1)},
        {"fusion": "late", "moe_layers": ()},
    ],
    ids=str,
)
def test_other_models_are_adapted_too(changes: dict[str, Any], items: list[Item]) -> None:
    model, processor = build(dataclasses.replace(TINY_MODEL, **changes), TEXTS)
    batch = processor(items)
    before = embed(model, batch)
    adapted = add_lora(model, RANK, ALPHA)
    whole = [name for name, p in adapted.named_parameters() if p.requires_grad and "lora_" not in name]
    ends = [name.rpartition("base_layer.")[2] for name in whole]
    assert ends.count("router.weight") == len(model.experts)
    assert any("picture_projection" in end for end in ends) == (changes.get("fusion") == "late")
    assert ends.count("objective_EM") == (changes.get("routing") == "modality")
    move_deltas(adapted)
    trained = embed(adapted, batch)
    assert (trained - before)[0].norm() > 1e-3
    torch.testing.assert_close(embed(merge_lora(adapted), batch), trained, atol=1e-6, rtol=1e-5)


def test_without_lora_the_vision_tower_alone_can_be_frozen(model: MoonModel) -> None:
    assert trainable(model, freeze_vision=False, lora_rank=0, lora_alpha=1.0) is model
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert trainable(model, freeze_vision=True, lora_rank=0, lora_alpha=1.0) is model
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("visual" not in name)
    assert merge_lora(model) is model


def test_what_cannot_be_adapted_is_refused(model: MoonModel) -> None:
    with pytest.raises(ValueError, match="rank is at least 1"):
        add_lora(model, 0, ALPHA)
    add_lora(model, RANK, ALPHA)
    with pytest.raises(ValueError, match="already"):
        add_lora(model, RANK, ALPHA)
    with pytest.raises(ValueError, match="the one inside"):
        merge_lora(model)


def test_an_embedder_takes_the_adapted_model(
    model: MoonModel, built: tuple[MoonModel, MoonProcessor], items: list[Item]
) -> None:
    adapted = add_lora(model, RANK, ALPHA)
    move_deltas(adapted)
    vectors = Embedder(adapted, built[1], revision="adapted").embed(items)
    merged = Embedder(merge_lora(adapted), built[1], revision="merged").embed(items)
    torch.testing.assert_close(torch.from_numpy(vectors), torch.from_numpy(merged), atol=1e-6, rtol=1e-5)
