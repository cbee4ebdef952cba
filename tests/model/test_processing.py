from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from moon.model import Item, MoonModel, MoonProcessor, TokenType
from tests.conftest import TINY_MODEL
from tests.model.conftest import picture


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
def test_patches_equal_the_stock_image_processor(processor: MoonProcessor, size: tuple[int, int]) -> None:
    image = picture(*size, seed=1)
    stock = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=TINY_MODEL.image_pixels)
    expected = stock(images=[image], return_tensors="pt")
    ours = processor([Item(images=(image,))])
    torch.testing.assert_close(ours["pixel_values"], expected["pixel_values"], atol=1e-5, rtol=1e-5)
    assert torch.equal(ours["image_grid_thw"], expected["image_grid_thw"])


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
