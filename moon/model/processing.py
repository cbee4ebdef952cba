"""`MoonProcessor`: items to the model's tensors, in two halves.

`encode` turns one item into token ids and resized pictures; its length is known and it is small, so that it can be
kept or sorted. `collate` turns encoded items into one batch of tensors. The sequence of an item is

    [original pictures | core crops | title | category | attributes]

with a `TokenType` for each token. The batch holds, for B items of at most S tokens with N pictures:

* ``input_ids``, ``attention_mask``, ``token_types`` (B, S), right-padded;
* ``position_ids`` (3, B, S): rotary positions, those of the backbone's own ``get_rope_index``;
* and, where there are pictures, ``pixel_values`` (P, C): the patches' bytes (uint8; row, column, channel), pictures of
  one size together; ``image_grid_thw`` (N, 3) in that order; ``image_places`` (V,): where in the flattened (B, S) each
  merged patch belongs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoProcessor, ProcessorMixin

from moon.model.configuration import MoonConfig
from moon.model.item import VIEWS, Item, TokenType, View
from moon.model.positions import token_positions
from moon.model.tokenizer import IMAGE, VISION_END, VISION_START
from moon.vision.resize import PATHS, AnyPicture, Pixels, Resize, fitted, render

Picture = TypeVar("Picture")
CATEGORY_SEPARATOR: Final = " > "


@dataclass(frozen=True)
class Encoded:
    """One item ready to be batched."""

    input_ids: tuple[int, ...]
    token_types: tuple[int, ...]
    pictures: tuple[Pixels, ...]
    """Resized pictures (H, W, 3) in sequence order."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def view(self, view: View) -> Encoded | None:
        """What `MoonProcessor.encode` makes of that view of the item; None where the item lacks it.

        Raises:
            ValueError: an unknown view.
        """
        if view == "multimodal":
            return self
        if view not in VIEWS:
            raise ValueError(f"a view is one of {', '.join(VIEWS)}, got {view!r}")
        cut = next((place for place, kind in enumerate(self.token_types) if kind >= TokenType.TITLE), len(self))
        part = slice(cut, None) if view == "text" else slice(cut)
        pictures = () if view == "text" else self.pictures
        ids, types = self.input_ids[part], self.token_types[part]
        return Encoded(ids, types, pictures) if ids else None


_HOW_LOADED: Final = ("is_local", "local_files_only")
"""What a tokenizer notes of its loading and would save: the same content must keep its revision."""


class MoonProcessor(ProcessorMixin):
    """Tokenizer, picture budgets and sequence layout of a `moon.model.modeling.MoonModel`.

    Args:
        image_processor: Qwen-VL image processor; its patch sizes are used. Pictures stay bytes, which the model
            normalises.
        tokenizer: tokenizer with Qwen-VL's vision tokens.
        image_pixels: pixel budget of an original picture.
        crop_pixels: pixel budget of a core crop; 0 leaves the crops out.
        max_images: pictures of one item that enter the sequence; the rest is left out.
        max_text_tokens: tokens of title, category and attributes together; the title is cut first.
        resize: ``parity`` resizes pictures as Qwen-VL's own processor does, ``fast`` decodes and resizes them in less
            time; see `moon.vision.resize`.

    Raises:
        ValueError: a pixel budget below one merged patch, or an unknown ``resize``.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_pixels: int = 12_544,
        crop_pixels: int = 12_544,
        max_images: int = 2,
        max_text_tokens: int = 96,
        resize: Resize = "parity",
        **kwargs: Any,
    ) -> None:
        if resize not in PATHS:
            raise ValueError(f"model.resize is one of {', '.join(PATHS)}, got {resize!r}")
        self.resize = resize
        self.image_pixels, self.crop_pixels = image_pixels, crop_pixels
        self.max_images, self.max_text_tokens = max_images, max_text_tokens
        super().__init__(image_processor, tokenizer, **kwargs)
        for name in _HOW_LOADED:
            getattr(tokenizer, "init_kwargs", {}).pop(name, None)
        for name, pixels in (("image_pixels", image_pixels), ("crop_pixels", crop_pixels or self.side**2)):
            if pixels < self.side**2:
                raise ValueError(
                    f"model.{name} must be at least {self.side**2}, one merged patch of {self.side} x {self.side}, "
                    f"got {pixels}"
                )

    @property
    def side(self) -> int:
        """Side of a merged patch in pixels."""
        return int(self.image_processor.patch_size * self.image_processor.merge_size)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `collate` makes."""
        return [
            "input_ids",
            "attention_mask",
            "token_types",
            "position_ids",
            "pixel_values",
            "image_grid_thw",
            "image_places",
        ]

    def __call__(self, items: Item | Sequence[Item]) -> dict[str, Tensor]:
        """Encodes and collates in one go."""
        return self.collate([self.encode(item) for item in ([items] if isinstance(items, Item) else items)])

    def encode(self, item: Item) -> Encoded:
        """Token ids, token types and resized pictures of one item.

        Raises:
            ValueError: the item holds neither text nor picture.
        """
        shown = [(one, kind, pixels) for group, kind, pixels in self._groups(item.images, item.crops) for one in group]
        # Crops first: they need the finest decoding, which the whole pictures then share.
        pictures = [self._resize(one, pixels) for one, _, pixels in reversed(shown)][::-1]
        return self._sequence(item, [(picture, kind) for picture, (_, kind, _) in zip(pictures, shown, strict=True)])

    def encode_rendered(self, item: Item, images: Sequence[Pixels], crops: Sequence[Pixels]) -> Encoded:
        """`encode` of an item whose pictures have been decoded and resized elsewhere.

        Args:
            item: gives the text; its own pictures are ignored.
            images: its original pictures (H, W, 3), each `fitted` to ``image_pixels``.
            crops: its core crops, each to ``crop_pixels``.

        Raises:
            ValueError: there is neither text nor picture.
        """
        groups = self._groups(images, crops)
        return self._sequence(item, [(picture, kind) for group, kind, _ in groups for picture in group])

    def _sequence(self, item: Item, pictures: Sequence[tuple[Pixels, TokenType]]) -> Encoded:
        ids: list[int] = []
        types: list[int] = []
        for picture, kind in pictures:
            ids += self._picture_ids(picture)
            types += [kind] * (len(ids) - len(types))
        for kind, tokens in self._text_ids(item):
            ids += tokens
            types += [kind] * len(tokens)
        if not ids:
            raise ValueError("an item needs a text or a picture to be embedded, got neither")
        return Encoded(tuple(ids), tuple(types), tuple(picture for picture, _ in pictures))

    def length(
        self, item: Item, image_sizes: Sequence[tuple[int, int]] = (), crop_sizes: Sequence[tuple[int, int]] = ()
    ) -> int:
        """Tokens that `encode` makes of ``item`` with pictures of these (width, height), without the pictures.

        Args:
            item: gives the text; its own pictures are ignored.
            image_sizes: sizes of its original pictures.
            crop_sizes: sizes of its core crops.
        """
        text = sum(len(tokens) for _, tokens in self._text_ids(item))
        return text + sum(merged + 2 for merged in self._merged(image_sizes, crop_sizes))

    def patches(self, image_sizes: Sequence[tuple[int, int]] = (), crop_sizes: Sequence[tuple[int, int]] = ()) -> int:
        """Patches that the vision tower sees of pictures of these (width, height); several are merged to a token."""
        return self.image_processor.merge_size**2 * sum(self._merged(image_sizes, crop_sizes))

    def _merged(self, image_sizes: Sequence[tuple[int, int]], crop_sizes: Sequence[tuple[int, int]]) -> Iterable[int]:
        """Tokens of each picture, without those around it."""
        for group, _, pixels in self._groups(image_sizes, crop_sizes):
            for size in group:
                width, height = fitted(size, pixels, self.side)
                yield width * height // self.side**2

    def collate(self, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
        """One right-padded batch; the picture tensors are there only when there are pictures."""
        longest = max(map(len, encoded))
        ids_BS = np.full((len(encoded), longest), self.tokenizer.pad_token_id, np.int64)
        types_BS = np.full((len(encoded), longest), int(TokenType.PADDING), np.int64)
        positions_3BS = np.zeros((3, len(encoded), longest), np.int64)
        by_size: defaultdict[tuple[int, ...], list[tuple[Pixels, int]]] = defaultdict(list)
        for row, one in enumerate(encoded):
            ids_BS[row, : len(one)] = one.input_ids
            types_BS[row, : len(one)] = one.token_types
            grids = tuple((p.shape[0] // self.side, p.shape[1] // self.side) for p in one.pictures)
            places_3S, following = token_positions(grids)
            seen = places_3S.shape[1]
            positions_3BS[:, row, :seen] = places_3S
            positions_3BS[:, row, seen : len(one)] = np.arange(following, following + len(one) - seen)
            start = row * longest + 1
            for picture, (rows, columns) in zip(one.pictures, grids, strict=True):
                by_size[picture.shape].append((picture, start))
                start += rows * columns + 2
        arrays = {
            "input_ids": ids_BS,
            "attention_mask": (types_BS != TokenType.PADDING).astype(np.int64),
            "token_types": types_BS,
            "position_ids": positions_3BS,
        }
        if by_size:
            arrays |= self._pictures(by_size)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _pictures(self, by_size: dict[tuple[int, ...], list[tuple[Pixels, int]]]) -> dict[str, NDArray[Any]]:
        """The picture tensors of a batch, from pictures with their first token's place, by size."""
        patch = self.image_processor.patch_size
        pixels, grids, places = [], [], []
        for (height, width, _), group in sorted(by_size.items(), key=lambda entry: entry[0]):
            pixels.append(self._patches(np.stack([picture for picture, _ in group])))
            grids += [[1, height // patch, width // patch]] * len(group)
            starts = np.array([start for _, start in group])[:, None]
            places.append((starts + np.arange(height * width // self.side**2)).ravel())
        return {
            "pixel_values": np.concatenate(pixels),
            "image_grid_thw": np.array(grids),
            "image_places": np.concatenate(places),
        }

    def _groups(
        self, images: Sequence[Picture], crops: Sequence[Picture]
    ) -> list[tuple[Sequence[Picture], TokenType, int]]:
        """The pictures that enter the sequence, with their type and pixel budget."""
        groups = [(images[: self.max_images], TokenType.IMAGE, self.image_pixels)]
        if self.crop_pixels:
            groups.append((crops[: self.max_images], TokenType.CROP, self.crop_pixels))
        return groups

    def _resize(self, picture: AnyPicture, pixels: int) -> Pixels:
        """The picture within its pixel budget."""
        return render(picture, fitted(picture.size, pixels, self.side), self.resize)

    def _patches(self, pictures: Pixels) -> Pixels:
        """(N, H, W, 3) to (N patches, values): patches in Qwen-VL's order, each row by row."""
        options = self.image_processor
        patch, merge = options.patch_size, options.merge_size
        number, height, width, _ = pictures.shape
        tiles = pictures.reshape(number, height // self.side, merge, patch, width // self.side, merge, patch * 3)
        return tiles.transpose(0, 1, 4, 2, 5, 3, 6).reshape(-1, patch * patch * 3)

    @cached_property
    def _vision_ids(self) -> tuple[int, int, int]:
        start, image, end = self.tokenizer.convert_tokens_to_ids([VISION_START, IMAGE, VISION_END])
        return start, image, end

    def _picture_ids(self, picture: Pixels) -> list[int]:
        start, image, end = self._vision_ids
        return [start, *[image] * (picture.shape[0] // self.side * (picture.shape[1] // self.side)), end]

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
        # Not by the tokenizer's own call, whose options take longer than the text.
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        ids: list[int] = backend.encode_batch_fast([" " + text], add_special_tokens=False)[0].ids
        return ids


def category_text(path: Sequence[str]) -> str:
    """A category path as the model reads it."""
    return CATEGORY_SEPARATOR.join(path)


def attributes_text(item: Item) -> str:
    """Attributes as the model reads them."""
    return "; ".join(f"{key}: {', '.join(values)}" for key, values in item.attributes.items())


AutoProcessor.register(MoonConfig, MoonProcessor)
