"""`MoonProcessor`: items to the model's tensors, in two halves.

`encode` turns one item into token ids and resized pictures; its length is known and it is small, so that it can be
kept or sorted. `collate` turns encoded items into one batch of tensors. The sequence of an item is

    [original pictures | core crops | title | category | attributes]

with a `TokenType` for each token.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from moon.model.configuration import MoonConfig
from moon.model.item import Item, TokenType
from moon.model.tokenizer import IMAGE, VISION_END, VISION_START

CATEGORY_SEPARATOR: Final = " > "
_MAX_ASPECT: Final = 200
"""Longer over shorter side that Qwen-VL resizes; a thinner picture is widened to it, or to what the budget holds."""


@dataclass(frozen=True)
class Encoded:
    """One item ready to be batched."""

    input_ids: tuple[int, ...]
    token_types: tuple[int, ...]
    pictures: tuple[NDArray[np.uint8], ...]
    """Resized pictures (H, W, 3) in sequence order."""

    def __len__(self) -> int:
        return len(self.input_ids)


class MoonProcessor(ProcessorMixin):
    """Tokenizer, picture budgets and sequence layout of a `moon.model.modeling.MoonModel`.

    Args:
        image_processor: Qwen-VL image processor; its patch sizes, mean and deviation are used.
        tokenizer: tokenizer with Qwen-VL's vision tokens.
        image_pixels: pixel budget of an original picture.
        crop_pixels: pixel budget of a core crop.
        max_images: pictures of one item that enter the sequence; the rest is left out.
        max_text_tokens: tokens of title, category and attributes together; the title is cut first.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_pixels: int = 12_544,
        crop_pixels: int = 12_544,
        max_images: int = 2,
        max_text_tokens: int = 96,
        **kwargs: Any,
    ) -> None:
        self.image_pixels, self.crop_pixels = image_pixels, crop_pixels
        self.max_images, self.max_text_tokens = max_images, max_text_tokens
        super().__init__(image_processor, tokenizer, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `collate` makes."""
        return ["input_ids", "attention_mask", "token_types", "pixel_values", "image_grid_thw"]

    def __call__(self, items: Item | Sequence[Item]) -> dict[str, Tensor]:
        """Encodes and collates in one go."""
        return self.collate([self.encode(item) for item in ([items] if isinstance(items, Item) else items)])

    def encode(self, item: Item) -> Encoded:
        """Token ids, token types and resized pictures of one item.

        Raises:
            ValueError: the item holds neither text nor picture.
        """
        if item.is_empty:
            raise ValueError("an item needs a text or a picture to be embedded, got neither")
        ids: list[int] = []
        types: list[int] = []
        pictures: list[NDArray[np.uint8]] = []
        for group, kind, pixels in (
            (item.images, TokenType.IMAGE, self.image_pixels),
            (item.crops, TokenType.CROP, self.crop_pixels),
        ):
            for picture in group[: self.max_images]:
                pictures.append(self._resize(picture, pixels))
                ids += self._picture_ids(pictures[-1])
                types += [kind] * (len(ids) - len(types))
        for kind, tokens in self._text_ids(item):
            ids += tokens
            types += [kind] * len(tokens)
        return Encoded(tuple(ids), tuple(types), tuple(pictures))

    def collate(self, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
        """One right-padded batch; the picture tensors are there only when there are pictures."""
        longest = max(map(len, encoded))
        ids_BS = torch.full((len(encoded), longest), self.tokenizer.pad_token_id, dtype=torch.long)
        types_BS = torch.full((len(encoded), longest), int(TokenType.PADDING), dtype=torch.long)
        for row, one in enumerate(encoded):
            ids_BS[row, : len(one)] = torch.tensor(one.input_ids)
            types_BS[row, : len(one)] = torch.tensor(one.token_types)
        batch = {
            "input_ids": ids_BS,
            "attention_mask": types_BS.ne(TokenType.PADDING).long(),
            "token_types": types_BS,
        }
        pictures = list(itertools.chain.from_iterable(one.pictures for one in encoded))
        if pictures:
            patch = self.image_processor.patch_size
            batch["pixel_values"] = torch.from_numpy(np.concatenate([self._patches(picture) for picture in pictures]))
            batch["image_grid_thw"] = torch.tensor([[1, p.shape[0] // patch, p.shape[1] // patch] for p in pictures])
        return batch

    def _resize(self, picture: Image.Image, pixels: int) -> NDArray[np.uint8]:
        """The picture within its pixel budget, sides a multiple of the merged patch, bicubic as Qwen-VL's own."""
        factor = self.image_processor.patch_size * self.image_processor.merge_size
        thinnest = -(-max(picture.size) // min(_MAX_ASPECT, pixels // factor**2))
        height, width = smart_resize(
            max(picture.height, thinnest),
            max(picture.width, thinnest),
            factor=factor,
            min_pixels=factor * factor,
            max_pixels=pixels,
        )
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(picture.convert("RGB"))

    def _patches(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) to (patches, values) in Qwen-VL's order, equal to its image processor on the resized picture."""
        options = self.image_processor
        patch, merge = options.patch_size, options.merge_size
        deviation = np.asarray(options.image_std, np.float32)
        scaled = picture * (np.float32(options.rescale_factor) / deviation)
        scaled = scaled - np.asarray(options.image_mean, np.float32) / deviation
        rows, columns = picture.shape[0] // (patch * merge), picture.shape[1] // (patch * merge)
        tiles = scaled.reshape(rows, merge, patch, columns, merge, patch, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        repeated = np.repeat(tiles[:, :, :, :, :, None], options.temporal_patch_size, axis=5)
        return repeated.reshape(rows * columns * merge * merge, -1).astype(np.float32, copy=False)

    def _picture_ids(self, picture: NDArray[np.uint8]) -> list[int]:
        factor = self.image_processor.patch_size * self.image_processor.merge_size
        start, image, end = self.tokenizer.convert_tokens_to_ids([VISION_START, IMAGE, VISION_END])
        return [start, *[image] * (picture.shape[0] // factor * (picture.shape[1] // factor)), end]

    def _text_ids(self, item: Item) -> Iterable[tuple[TokenType, list[int]]]:
        """Title, category and attribute tokens; category and attributes keep up to a third of the budget each."""
        third = self.max_text_tokens // 3
        category = self._tokens(category_text(item.category))[:third]
        attributes = self._tokens(attributes_text(item))[:third]
        title = self._tokens(item.title or "")[: self.max_text_tokens - len(category) - len(attributes)]
        return (TokenType.TITLE, title), (TokenType.CATEGORY, category), (TokenType.ATTRIBUTE, attributes)

    def _tokens(self, text: str) -> list[int]:
        """Tokens of plain text: what looks like a special token in it is text, so that nobody can write pictures."""
        text = " ".join(text.split())
        if not text:
            return []
        return list(self.tokenizer(" " + text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def category_text(path: Sequence[str]) -> str:
    """A category path as the model reads it."""
    return CATEGORY_SEPARATOR.join(path)


def attributes_text(item: Item) -> str:
    """Attributes as the model reads them."""
    return "; ".join(f"{key}: {', '.join(values)}" for key, values in item.attributes.items())


AutoProcessor.register(MoonConfig, MoonProcessor)
