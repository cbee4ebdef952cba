from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen3VLForConditionalGeneration,
)

from moon.config import ModelParams
from moon.model import Embedder, Item, MoonModel, MoonProcessor
from moon.model.build import build
from moon.model.item import TokenType
from tests.conftest import TINY_MODEL
from tests.model.conftest import FAMILIES, TEXTS, picture

HEADS = {"qwen2_5_vl": Qwen2_5_VLForConditionalGeneration, "qwen3_vl": Qwen3VLForConditionalGeneration}


def params_with(**changes: Any) -> ModelParams:
    return dataclasses.replace(TINY_MODEL, **changes)


def pretrained(family: tuple[MoonModel, MoonProcessor], folder: Path, head: bool) -> Any:
    """Saves a checkpoint as the hub has it, in bfloat16; returns the backbone in it."""
    model, processor = family
    torch.manual_seed(5)
    config = copy.deepcopy(model.config.backbone)
    whole = HEADS[config.model_type](config).to(torch.bfloat16)
    (whole if head else whole.model).save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return whole.model.float()


@pytest.mark.parametrize("head", [True, False])
def test_checkpoint_with_and_without_head_is_upcycled(
    family: tuple[MoonModel, MoonProcessor], head: bool, items: list[Item], tmp_path: Path
) -> None:
    backbone = pretrained(family, tmp_path / "base", head)
    params = FAMILIES[family[0].config.backbone.model_type]
    model, processor = build(dataclasses.replace(params, base=str(tmp_path / "base")), [])
    state = model.backbone.state_dict()
    for name, value in backbone.state_dict().items():
        if name in state:
            assert torch.equal(state[name], value), name
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    dense = backbone.language_model.layers[-1].mlp.down_proj.weight
    for mixture in model.experts.values():
        assert all(torch.equal(expert, dense) for expert in mixture.down_EDF)
    assert processor.encode(items[0]).input_ids == family[1].encode(items[0]).input_ids


def test_moon_checkpoint_is_continued(
    built: tuple[MoonModel, MoonProcessor], items: list[Item], tmp_path: Path
) -> None:
    for part in built:
        part.save_pretrained(tmp_path)
    model, processor = build(params_with(base=str(tmp_path)), [])
    batch = built[1](items)
    assert torch.equal(model(**batch).embedding, built[0](**batch).embedding)
    assert len(processor.tokenizer) == len(built[1].tokenizer)


def test_configuration_file_gives_the_shape_only(
    family: tuple[MoonModel, MoonProcessor], items: list[Item], tmp_path: Path
) -> None:
    config = copy.deepcopy(family[0].config.backbone)
    config.text_config.vocab_size = 512
    config.text_config.hidden_size = config.vision_config.out_hidden_size = 64
    config.text_config.rope_parameters["mrope_section"] = [6, 5, 5]
    config.text_config.head_dim = 32
    config.save_pretrained(tmp_path)
    params = dataclasses.replace(
        FAMILIES[config.model_type], base=str(tmp_path / "config.json"), moe_layers=(0,), routing="free"
    )
    (model, processor), (again, _) = (build(params, TEXTS) for _ in range(2))
    assert model.config.embedding_size == 64
    assert model.config.backbone.text_config.vocab_size == 512
    assert list(model.config.moe_layers) == [0] and model.config.routing == "free"
    assert Embedder(model, processor, "").embed(items).shape == (len(items), 64)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_other_model_type_is_refused(tmp_path: Path) -> None:
    Qwen2VLConfig().save_pretrained(tmp_path)
    for base in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(ValueError, match=r"model\.base.*qwen2_vl, expected one of moon, qwen2_5_vl, qwen3_vl"):
            build(params_with(base=str(base)), TEXTS)


def test_base_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.base.*nowhere"):
        build(params_with(base=str(tmp_path / "nowhere")), [])
    with pytest.raises(ValueError, match="not a model folder"):
        Embedder.load(tmp_path)


def test_base_without_weights_is_refused_by_name(built: tuple[MoonModel, MoonProcessor], tmp_path: Path) -> None:
    built[0].config.backbone.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "qwen2_5_vl"
    with pytest.raises(ValueError, match=r"model\.base"):
        build(params_with(base=str(tmp_path)), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 100}, r"model\.vocab_size must be at least 263"),
        ({"moe_layers": (2,)}, r"model\.moe_layers names layers \[2\], but the backbone has 2"),
        ({"experts_per_token": 5}, r"model\.experts_per_token must be in 1\.\.4"),
        ({"fusion": "late"}, r"model\.fusion: late has no experts; set model\.moe_layers to \[\]"),
        ({"hidden_size": 50}, r"model\.hidden_size must be a multiple"),
    ],
)
def test_parameter_that_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(params_with(**changes), TEXTS)


def test_random_weights_start_with_words_that_stay_themselves(family: tuple[MoonModel, MoonProcessor]) -> None:
    """After all layers a word behind a picture is nearer to its own embedding than to what stands around it."""
    model, processor = family
    item = Item(images=(picture(56, 84, 0), picture(90, 60, 1)), title="red enamel mug")
    batch = processor.collate([processor.encode(item)])
    seen: dict[str, torch.Tensor] = {}
    model.backbone.language_model.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.update(first=args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    model.backbone.language_model.norm.register_forward_hook(lambda _, args, out: seen.update(last=args[0]))
    with torch.no_grad():
        model(**batch)
    words = batch["token_types"][0] == TokenType.TITLE
    first_WD, last_WD = (torch.nn.functional.normalize(seen[name][0, words], dim=-1) for name in ("first", "last"))
    similarity_WW = last_WD @ first_WD.T
    own_W = similarity_WW.diagonal()
    others_WW = similarity_WW - 2 * torch.eye(len(own_W))
    assert own_W.min() > 0.8 and (own_W > others_WW.max(dim=1).values).all()
