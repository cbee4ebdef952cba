from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel, Qwen2_5_VLVisionAttention

from moon.model import Embedder, Item, MoonModel, MoonProcessor
from moon.model.build import build, upcycle
from moon.model.modeling import mean_pool
from moon.model.vision_attention import PackedVisionAttention
from tests.conftest import TINY_MODEL


def test_embeddings_do_not_depend_on_the_batch(embedder: Embedder, items: list[Item]) -> None:
    together = embedder.embed(items)
    alone = np.concatenate([embedder.embed([item]) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_saved_is_loaded_bit_for_bit(
    built: tuple[MoonModel, MoonProcessor], embedder: Embedder, items: list[Item], tmp_path: Path
) -> None:
    for part in built:
        part.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = Embedder.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(items), embedder.embed(items))
    assert isinstance(AutoModel.from_pretrained(tmp_path), MoonModel)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), MoonProcessor)
    assert Embedder.load(tmp_path).revision == loaded.revision


def test_revision_follows_the_weights(built: tuple[MoonModel, MoonProcessor], tmp_path: Path) -> None:
    model, processor = copy.deepcopy(built[0]), built[1]
    revisions = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        revisions.add(Embedder.load(folder).revision)
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
    assert len(revisions) == 2


def test_upcycled_model_equals_its_dense_backbone(embedder: Embedder, items: list[Item]) -> None:
    torch.manual_seed(1)
    dense = Qwen2_5_VLModel(copy.deepcopy(embedder.model.config.backbone)).eval()
    moon = upcycle(dense, TINY_MODEL)
    batch = embedder.processor(items)
    with torch.inference_mode():
        hidden = dense(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            pixel_values=batch["pixel_values"],
            image_grid_thw=batch["image_grid_thw"],
            mm_token_type_ids=batch["input_ids"].eq(dense.config.image_token_id).int(),
        ).last_hidden_state
        torch.testing.assert_close(
            moon(**batch).embedding, mean_pool(hidden, batch["attention_mask"]), atol=1e-5, rtol=1e-4
        )


def test_packed_attention_equals_the_stock_loop(embedder: Embedder, items: list[Item]) -> None:
    packed = embedder.embed(items)
    stock = copy.deepcopy(embedder.model)
    swapped = 0
    for module in stock.modules():
        if type(module) is PackedVisionAttention:
            module.__class__ = Qwen2_5_VLVisionAttention
            swapped += 1
    assert swapped == TINY_MODEL.vision_layers
    np.testing.assert_allclose(Embedder(stock, embedder.processor, "stock").embed(items), packed, atol=1e-6)


def test_gradients_reach_every_parameter(built: tuple[MoonModel, MoonProcessor], items: list[Item]) -> None:
    model = copy.deepcopy(built[0]).train()
    output = model(**built[1](items))
    (output.embedding[0] @ output.embedding[1:].T).sum().add(output.balance_loss).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == set()


def test_same_seed_same_weights() -> None:
    first, second = (build(TINY_MODEL, ["a red mug"])[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_base_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    import dataclasses

    with pytest.raises(ValueError, match=r"model\.base.*nowhere"):
        build(dataclasses.replace(TINY_MODEL, base=str(tmp_path / "nowhere")), [])
    with pytest.raises(ValueError, match="not a model folder"):
        Embedder.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_damaged_model_folder_is_named(built: tuple[MoonModel, MoonProcessor], tmp_path: Path, name: str) -> None:
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
