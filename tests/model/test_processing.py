from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moon.model import VIEWS, Item, MoonModel, MoonProcessor, TokenType
from moon.model.build import build
from moon.vision.decode import encode_jpeg
from moon.vision.resize import Picture
from tests.conftest import TINY_MODEL
from tests.model.conftest import FAMILIES, picture
from tests.vision.test_resize import scene


@pytest.fixture(scope="module")
def processor(built: tuple[MoonModel, MoonProcessor]) -> MoonProcessor:
    return built[1]


def test_sequence_is_originals_crops_title_category_attributes(processor: MoonProcessor, items: list[Item]) -> None:
    types = processor.encode(items[0]).token_types
    order = [kind for place, kind in enumerate(types) if not place or kind != types[place - 1]]
    assert order == [
        TokenType.IMAGE,
        TokenType.CROP,
        TokenType.TITLE,
        TokenType.CATEGORY,
        TokenType.ATTRIBUTE,
    ]


@pytest.mark.parametrize("size", [(56, 56), (90, 60), (31, 77), (500, 120), (20, 20)])
def test_patches_equal_the_stock_image_processor(
    family: tuple[MoonModel, MoonProcessor], size: tuple[int, int]
) -> None:
    """After the normalisation that the model does, and for one of the two equal frames."""
    processor = family[1]
    options, image = processor.image_processor, picture(*size, seed=1)
    stock = Qwen2VLImageProcessorPil(
        patch_size=options.patch_size,
        image_mean=options.image_mean,
        image_std=options.image_std,
        min_pixels=options.patch_size**2 * 4,
        max_pixels=processor.image_pixels,
    )
    expected = stock(images=[image], return_tensors="pt")
    ours = processor([Item(images=(image,))])
    patches = ours["pixel_values"].view(-1, options.patch_size, options.patch_size, 3).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (options.image_mean, options.image_std))
    frames = ((patches - mean) / std)[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(frames.flatten(1), expected["pixel_values"], atol=1e-5, rtol=1e-5)
    assert torch.equal(ours["image_grid_thw"], expected["image_grid_thw"])


def test_positions_are_those_of_the_backbone(family: tuple[MoonModel, MoonProcessor], items: list[Item]) -> None:
    model, processor = family
    for chosen in (items, items[:1], items[2:3]):
        batch = processor(chosen)
        in_order = [
            [1, picture.shape[0] // 28 * 2, picture.shape[1] // 28 * 2]
            if model.config.backbone.model_type == "qwen2_5_vl"
            else [1, picture.shape[0] // 16, picture.shape[1] // 16]
            for item in chosen
            for picture in processor.encode(item).pictures
        ]
        expected, _ = model.backbone.get_rope_index(
            batch["input_ids"],
            mm_token_type_ids=batch["input_ids"].eq(model.config.backbone.image_token_id).int(),
            image_grid_thw=torch.tensor(in_order),
            attention_mask=batch["attention_mask"],
        )
        assert torch.equal(batch["position_ids"], expected)


def test_places_are_those_of_the_picture_tokens(family: tuple[MoonModel, MoonProcessor], items: list[Item]) -> None:
    model, processor = family
    batch = processor(items)
    tokens = batch["input_ids"].eq(model.config.backbone.image_token_id).flatten()
    assert torch.equal(batch["image_places"].sort().values, tokens.nonzero().squeeze(1))
    assert batch["pixel_values"].dtype == torch.uint8
    assert len(batch["pixel_values"]) == 4 * tokens.sum()
    assert set(processor.model_input_names) == set(batch)
    assert "pixel_values" not in processor([Item(title="mug")])


SIDES = st.integers(1, 3000)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(st.tuples(SIDES, SIDES), max_size=3),
    crops=st.lists(st.tuples(SIDES, SIDES), max_size=3),
    title=st.text(max_size=30),
    with_crops=st.booleans(),
)
def test_length_is_that_of_the_encoding(
    family: tuple[MoonModel, MoonProcessor],
    images: list[tuple[int, int]],
    crops: list[tuple[int, int]],
    title: str,
    with_crops: bool,
) -> None:
    processor = copy.copy(family[1])
    processor.crop_pixels = processor.crop_pixels if with_crops else 0
    text = Item(title=f"mug {title}", category=("Home", "Mugs"), attributes={"colour": ["red"]})
    whole = dataclasses.replace(
        text,
        images=tuple(Image.new("RGB", size) for size in images),
        crops=tuple(Image.new("RGB", size) for size in crops),
    )
    encoded = processor.encode(whole)
    assert processor.length(text, images, crops) == len(encoded)
    if encoded.pictures:
        assert processor.patches(images, crops) == len(processor.collate([encoded])["pixel_values"])
    assert with_crops or TokenType.CROP not in encoded.token_types


def test_views_of_an_encoding_are_the_encodings_of_the_views(processor: MoonProcessor, items: list[Item]) -> None:
    for item in items:
        for view in VIEWS:
            ours, part = processor.encode(item).view(view), item.view(view)
            if part.is_empty:
                assert ours is None
                continue
            expected = processor.encode(part)
            assert ours is not None
            assert (ours.input_ids, ours.token_types) == (expected.input_ids, expected.token_types)
            assert len(ours.pictures) == len(expected.pictures)
            assert all((a == b).all() for a, b in zip(ours.pictures, expected.pictures, strict=True))
    with pytest.raises(ValueError, match="multimodal"):
        processor.encode(items[0]).view("video")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["image_pixels", "crop_pixels"])
def test_budget_below_a_merged_patch_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.{name} must be at least 1024"):
        changes: dict[str, Any] = {name: 900}
        build(dataclasses.replace(FAMILIES["qwen3_vl"], **changes), ["mug"])


def test_text_that_looks_like_a_special_token_is_text(processor: MoonProcessor) -> None:
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert image not in processor.encode(Item(title="<|image_pad|><|vision_start|> mug")).input_ids


def test_pixel_budget_bounds_the_tokens(processor: MoonProcessor) -> None:
    small, large = (len(processor.encode(Item(images=(picture(s, s, 0),)))) for s in (56, 2000))
    assert small == large


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2)])
def test_any_picture_can_be_encoded(processor: MoonProcessor, size: tuple[int, int]) -> None:
    encoded = processor.encode(Item(images=(picture(*size, seed=0),)))
    assert len(encoded) > 2 and encoded.pictures[0].size <= 3 * TINY_MODEL.image_pixels


def test_text_budget_cuts_the_title_first(processor: MoonProcessor) -> None:
    item = Item(title="mug " * 500, category=("Kitchen", "Mugs"), attributes={"colour": ["red"]})
    encoded = processor.encode(item)
    assert len(encoded) == TINY_MODEL.max_text_tokens
    short = processor.encode(Item(title="mug", category=item.category, attributes=item.attributes))
    for kind in (TokenType.CATEGORY, TokenType.ATTRIBUTE):
        assert encoded.token_types.count(kind) == short.token_types.count(kind)


def test_empty_item_is_refused(processor: MoonProcessor) -> None:
    with pytest.raises(ValueError, match="text or a picture"):
        processor.encode(Item(title="   "))


def test_views_split_an_item(items: list[Item]) -> None:
    product = items[0]
    assert product.view("text").images == () and product.view("text").title == product.title
    assert product.view("image").title is None and product.view("image").crops == product.crops
    with pytest.raises(ValueError, match="multimodal"):
        product.view("video")  # type: ignore[arg-type]


def test_fast_and_parity_agree_but_for_rounding_and_the_choice_is_saved(tiny_model: Path, tmp_path: Path) -> None:
    parity = MoonProcessor.from_pretrained(tiny_model)
    assert parity.resize == "parity"
    fast = copy.deepcopy(parity)
    fast.resize = "fast"
    fast.save_pretrained(tmp_path)
    fast = MoonProcessor.from_pretrained(tmp_path)
    assert fast.resize == "fast"
    whole = Picture(encode_jpeg(scene((300, 200))))
    item = Item(images=(whole,), crops=(whole.crop((40, 30, 200, 170)),), title="a red scarf")
    one, other = parity.encode(item), fast.encode(item)
    assert (one.input_ids, one.token_types) == (other.input_ids, other.token_types)
    assert len(one) == parity.length(item, [whole.size], [item.crops[0].size])
    for a, b in zip(one.pictures, other.pictures, strict=True):
        assert a.shape == b.shape and 0 < np.abs(a.astype(int) - b).mean() < 3
    assert all(map(np.array_equal, one.pictures, parity.encode(decoded(item)).pictures))


def decoded(item: Item) -> Item:
    """The same pictures, decoded before."""
    images, crops = (
        tuple(one.image() for one in part if isinstance(one, Picture)) for part in (item.images, item.crops)
    )
    return Item(images=images, crops=crops, title=item.title)


def test_an_unknown_path_is_refused(tiny_model: Path) -> None:
    parts = MoonProcessor.from_pretrained(tiny_model)
    with pytest.raises(ValueError, match="model.resize is one of fast, parity, got 'quick'"):
        MoonProcessor(parts.image_processor, parts.tokenizer, resize="quick")  # type: ignore[arg-type]
