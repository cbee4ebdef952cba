from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoProcessor, PreTrainedModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moon.model import Embedder, Item, MoonModel, MoonProcessor
from moon.model.build import build, upcycle
from moon.model.item import OBJECTIVES, VIEWS
from moon.model.modeling import MoonOutput, mean_pool, modality_pool
from tests.conftest import TINY_MODEL
from tests.model.conftest import FAMILIES, TEXTS, picture

Built = tuple[MoonModel, MoonProcessor]


def late(family: str) -> Built:
    return build(dataclasses.replace(FAMILIES[family], fusion="late", moe_layers=()), TEXTS)


def loss(output: MoonOutput) -> Tensor:
    """Uses every output that carries a gradient."""
    assert output.embedding is not None
    total = (output.embedding[0] @ output.embedding[1:].T).sum()
    for value in (output.router_probs, output.objective, output.sparsity):
        if value is not None:
            total = total + (value * torch.linspace(1, 2, value.numel()).view_as(value)).sum()
    return total


def gradients(model: torch.nn.Module, total: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def stock_hidden(dense: PreTrainedModel, processor: MoonProcessor, items: list[Item]) -> tuple[Tensor, Tensor]:
    """Last hidden states of the backbone as `transformers` computes them, and their mask."""
    encoded = [processor.encode(item) for item in items]
    batch = processor.collate(encoded)
    options = processor.image_processor
    stock = Qwen2VLImageProcessorPil(
        patch_size=options.patch_size,
        image_mean=options.image_mean,
        image_std=options.image_std,
        min_pixels=1,
        max_pixels=10**7,
    )
    pictures = [Image.fromarray(one) for each in encoded for one in each.pictures]
    seen = stock(images=pictures, return_tensors="pt")
    hidden = dense(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        pixel_values=seen["pixel_values"],
        image_grid_thw=seen["image_grid_thw"],
        mm_token_type_ids=batch["input_ids"].eq(dense.config.image_token_id).int(),
    ).last_hidden_state
    return hidden, batch["attention_mask"]


def dense_like(model: MoonModel, **vision: Any) -> PreTrainedModel:
    """A backbone of `transformers` with weights of its own; ``vision`` changes its vision configuration."""
    config = copy.deepcopy(model.config.backbone)
    for name, value in vision.items():
        setattr(config.vision_config, name, value)
    torch.manual_seed(1)
    dense = AutoModel.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.normal_(std=0.1)
    return dense


def test_embeddings_do_not_depend_on_the_batch(family: Built, items: list[Item]) -> None:
    embedder = Embedder(*family, revision="test")
    together = embedder.embed(items)
    alone = np.concatenate([embedder.embed([item]) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", [{}, {"routing": "modality"}, {"fusion": "late", "moe_layers": ()}])
def test_saved_is_loaded_bit_for_bit(family: str, change: dict[str, Any], items: list[Item], tmp_path: Path) -> None:
    built = build(dataclasses.replace(FAMILIES[family], **change), TEXTS)
    for part in built:
        part.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = Embedder.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(items), Embedder(*built, revision="test").embed(items))
    assert all(torch.equal(value, built[0].state_dict()[name]) for name, value in loaded.model.state_dict().items())
    assert isinstance(AutoModel.from_pretrained(tmp_path), MoonModel)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), MoonProcessor)
    assert Embedder.load(tmp_path).revision == loaded.revision


def test_revision_follows_the_weights(built: Built, tmp_path: Path) -> None:
    model, processor = copy.deepcopy(built[0]), built[1]
    revisions = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        revisions.add(Embedder.load(folder).revision)
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
    assert len(revisions) == 2


def check_against_stock(dense: PreTrainedModel, processor: MoonProcessor, items: list[Item], routing: str) -> None:
    moon = upcycle(copy.deepcopy(dense), dataclasses.replace(TINY_MODEL, routing=routing, pooling="tokens"))
    hidden, mask = stock_hidden(dense, processor, items)
    expected, ours = mean_pool(hidden, mask), moon(**processor(items)).embedding
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    stock_gradients = gradients(dense, (expected * direction).sum())
    our_gradients = gradients(moon, (ours * direction).sum())
    compared = [name for name in stock_gradients if f"backbone.{name}" in our_gradients]
    assert any("patch_embed.proj.weight" in name for name in compared)
    for name in compared:
        scale = float(stock_gradients[name].abs().max())
        difference = (our_gradients[f"backbone.{name}"] - stock_gradients[name]).abs().max()
        assert difference <= 1e-3 * scale + 1e-7, name


@pytest.mark.parametrize("routing", ["guided", "soft", "free", "modality"])
def test_upcycled_model_equals_its_stock_backbone_in_value_and_gradient(
    family: Built, items: list[Item], routing: str
) -> None:
    """Bytes and folded kernels, looked-up positions, packed attention and no mask: all change nothing."""
    check_against_stock(dense_like(family[0]), family[1], items, routing)


def test_windows_of_the_vision_tower_equal_the_stock_ones(items: list[Item]) -> None:
    params = dataclasses.replace(TINY_MODEL, vision_layers=2, image_pixels=150 * 150, crop_pixels=90 * 90)
    model, processor = build(params, TEXTS)
    large = [Item(images=(picture(200, 120, 1), picture(90, 300, 2)), crops=(picture(90, 90, 3),)), *items]
    assert max(one.shape[0] for item in large for one in processor.encode(item).pictures) > 2 * 56
    check_against_stock(dense_like(model, fullatt_block_indexes=[1], window_size=56), processor, large, "guided")


@pytest.mark.parametrize("change", [{}, {"routing": "modality", "moe_layers": (0, 1)}, {"moe_layers": ()}])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_gradients_equal_plain_ones(family: str, change: dict[str, Any], items: list[Item]) -> None:
    model, processor = build(dataclasses.replace(FAMILIES[family], **change), TEXTS)
    model.train()
    batch = processor(items)
    plain = gradients(model, loss(model(**batch)))
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert model.is_activation_checkpointing
    checkpointed = gradients(model, loss(model(**batch)))
    assert plain.keys() == checkpointed.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(checkpointed[name], expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("change", [{}, {"routing": "modality"}, {"fusion": "late", "moe_layers": ()}])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_parameter(family: str, change: dict[str, Any], items: list[Item]) -> None:
    model, processor = build(dataclasses.replace(FAMILIES[family], **change), TEXTS)
    found = gradients(model.train(), loss(model(**processor(items))))
    assert [name for name, _ in model.named_parameters() if name not in found or not found[name].abs().sum() > 0] == []


@pytest.mark.parametrize("change", [{"routing": "modality"}, {"fusion": "late", "moe_layers": ()}])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_close_to_float32(family: str, autocast: bool, change: dict[str, Any], items: list[Item]) -> None:
    model, processor = build(dataclasses.replace(FAMILIES[family], **change), TEXTS)
    batch = processor(items)
    exact = model(**batch).embedding
    if not autocast:
        model = model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model.train()(**batch)
    assert all(value.dtype == torch.float32 for value in output.values())
    assert gradients(model, loss(output))
    torch.testing.assert_close(output.embedding, exact, atol=0.05, rtol=0)


def test_modality_pooling_weighs_pictures_and_text_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 4, generator=generator)
    types = torch.tensor([[1, 1, 1, 2, 3, 4, 5], [1, 2, 2, 0, 0, 0, 0], [3, 3, 5, 0, 0, 0, 0]])
    unit = functional.normalize
    picture, text = (unit(part.mean(0), dim=0) for part in (hidden[0, :4], hidden[0, 4:]))
    expected = [picture + text, hidden[1, :3].mean(0), hidden[2, :3].mean(0)]
    torch.testing.assert_close(modality_pool(hidden, types), torch.stack([unit(one, dim=0) for one in expected]))


@pytest.mark.parametrize("routing", ["guided", "modality"])
def test_statistics_have_a_row_for_each_item(routing: str, items: list[Item]) -> None:
    params = dataclasses.replace(TINY_MODEL, routing=routing, moe_layers=(0, 1))
    model, processor = build(params, TEXTS)
    whole = model(**processor(items))
    parts = [model(**processor([item])) for item in items]
    assert whole.router_probs.shape == (len(items), 2, params.general_experts)
    for name in ("router_probs", "router_choices", "routed_tokens", "objective", "sparsity"):
        if name not in whole:
            assert routing == "guided" and name in ("objective", "sparsity")
        else:
            torch.testing.assert_close(whole[name], torch.cat([part[name] for part in parts]), atol=1e-4, rtol=1e-4)
    choices = params.experts_per_token * whole.routed_tokens[:, None].expand(-1, 2)
    torch.testing.assert_close(whole.router_choices.sum(-1), choices)
    if routing == "modality":
        assert whole.objective.shape == (len(items), len(OBJECTIVES))
        torch.testing.assert_close(whole.objective.sum(1), torch.ones(len(items)))


def test_expert_load_is_the_share_of_each_token_type_since_the_last_call(items: list[Item]) -> None:
    model, processor = build(dataclasses.replace(TINY_MODEL, moe_layers=(1,)), TEXTS)
    model.expert_load()
    model(**processor(items))
    load = model.expert_load()
    assert {name.split("/")[2] for name in load} == {"image", "crop", "title", "category", "attribute"}
    for kind in ("image", "crop", "title", "category", "attribute"):
        assert sum(share for name, share in load.items() if name.startswith(f"load/1/{kind}/")) == pytest.approx(1)
    assert load[f"load/1/category/{TINY_MODEL.general_experts}"] == 1
    assert model.expert_load() == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_late_fusion_adds_the_unit_vectors_of_text_and_pictures(family: str, items: list[Item]) -> None:
    model, processor = late(family)
    embedder = Embedder(model, processor, "late")
    views = embedder.embed_views(items, VIEWS)
    total = torch.from_numpy(views["text"] + views["image"])
    np.testing.assert_allclose(views["multimodal"], functional.normalize(total, dim=1).numpy(), atol=1e-6)
    alone = np.concatenate([embedder.embed([item]) for item in items])
    np.testing.assert_allclose(alone, views["multimodal"], atol=1e-6)

    pictures = Item(images=items[0].images, crops=items[0].crops)
    each = embedder.embed([Item(images=(one,)) for one in items[0].images])
    crops = embedder.embed([Item(crops=(one,)) for one in items[0].crops])
    expected = functional.normalize(torch.from_numpy(np.concatenate([each, crops]).mean(0)), dim=0)
    np.testing.assert_allclose(embedder.embed([pictures])[0], expected.numpy(), atol=1e-6)
    assert model(**processor(items)).router_probs is None


def test_views_embedded_together_equal_each_alone(embedder: Embedder, items: list[Item]) -> None:
    items = [*items, Item(), Item(title="a scarf", images=(picture(70, 70, 9),))]
    together = embedder.embed_views(iter(items), VIEWS, batch_items=3)
    for view in VIEWS:
        for row, item in enumerate(items):
            one = item.view(view)
            alone = np.zeros(embedder.dim) if one.is_empty else embedder.embed([one])[0]
            np.testing.assert_allclose(together[view][row], alone, atol=1e-6)
    assert embedder.embed_views([], VIEWS)["text"].shape == (0, embedder.dim)


def test_same_seed_same_weights() -> None:
    first, second = (build(TINY_MODEL, ["a red mug"])[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_damaged_model_folder_is_named(built: Built, tmp_path: Path, name: str) -> None:
    for part in built:
        part.save_pretrained(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(ValueError, match=str(tmp_path)):
        Embedder.load(tmp_path)


def test_copied_model_is_guided_by_its_own_calls(embedder: Embedder, items: list[Item]) -> None:
    """A copy must hand the token types to its own experts, not to those it was copied from."""
    copied = copy.deepcopy(embedder.model)
    for moe in copied.experts.values():
        moe.token_types = None
    np.testing.assert_array_equal(Embedder(copied, embedder.processor, "copy").embed(items), embedder.embed(items))
