"""What `serving.py` and `soak.py` send: a tiny model with random weights, texts, photos, and request bodies of them.

Every body is another one, so that no cache answers: a text carries random words, a JPEG a serial number in its comment.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import torch
from decode import drawn
from transformers import Qwen2Config, Qwen2Model

from moon.config import ModelParams, RegionsParams
from moon.model import Item, MoonConfig, MoonProcessor
from moon.model.build import build
from moon.vision.boxes import Box
from moon.vision.detectors import core_region, crop_pixels
from moon.vision.resize import Picture

KINDS: Final = ("short text", "long text", "photo")
SHORT, LONG = (2, 8), (60, 120)
"""Words of a text."""
SIDES: Final = (320, 1280)
"""Pixels of a photo's side."""
_SHAPE: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
_SERIAL_CHARS: Final = 16
_HEAD: Final = base64.b64encode(b"\xff\xd8\xff\xfe" + (2 + _SERIAL_CHARS * 3 // 4).to_bytes(2, "big")).decode()
"""Start of a JPEG and of its comment: six bytes, so that the rest can be joined to it as base64."""


def prepare(folder: Path, params: ModelParams | None = None) -> None:
    """Saves a tiny model with seeded random weights, which reads pictures by the fast path."""
    model, processor = build(params or ModelParams(resize="fast"), [" ".join(words())])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def prepare_twin(model: Path, folder: Path) -> None:
    """Saves a stock text model of the same width, layers and tokenizer, without experts or vision.

    It stands for our model where a server takes no other architecture. Its tokenizer's settings are those that any
    version of `transformers` reads.
    """
    ours = MoonConfig.from_pretrained(model).backbone.text_config
    torch.manual_seed(0)
    Qwen2Model(Qwen2Config(**{name: getattr(ours, name) for name in _SHAPE})).save_pretrained(folder)
    tokenizer = MoonProcessor.from_pretrained(model).tokenizer
    tokenizer.save_pretrained(folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": tokenizer.pad_token, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def words() -> list[str]:
    """3000 made-up words, always the same."""
    rng = np.random.default_rng(7)
    consonants, vowels = list("bdfgklmnprstvz"), list("aeiou")
    return ["".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(n)) for n in rng.integers(1, 5, 3000)]


class Inputs:
    """Texts and photos without end, from a seed.

    Args:
        seed: of the texts, and of the order of the photos.
        photos: different drawings; each is sent many times under another serial number.
    """

    def __init__(self, seed: int, photos: int = 48) -> None:
        self._rng, self._words, self._serial = np.random.default_rng(seed), words(), itertools.count()
        sizes = [
            tuple(side) for side in np.random.default_rng(11).integers(*SIDES, (photos, 2), endpoint=True).tolist()
        ]
        self._photos = [base64.b64encode(jpeg[2:]).decode() for jpeg in drawn(sizes)]
        self._seed = seed

    def again(self, seed: int) -> Inputs:
        """The same drawings from another seed; every call with one seed starts the same sequence."""
        other = copy.copy(self)
        other._seed, other._rng, other._serial = seed, np.random.default_rng(seed), itertools.count()
        return other

    def text(self, kind: str) -> str:
        """A short or a long text."""
        low, high = SHORT if kind == "short text" else LONG
        places = self._rng.random(self._rng.integers(low, high, endpoint=True)) ** 2
        return " ".join(self._words[int(place * len(self._words))] for place in places)

    def photo(self) -> str:
        """A photo in base64."""
        serial = f"{self._seed:04d}{next(self._serial):0{_SERIAL_CHARS - 4}d}"
        return _HEAD + serial + self._photos[int(self._rng.integers(len(self._photos)))]

    def oip(self, kind: str) -> bytes:
        """Body of an Open Inference Protocol request with one text or photo."""
        name, value = ("image", self.photo()) if kind == "photo" else ("text", self.text(kind))
        return orjson.dumps({"inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}]})

    def openai(self, kind: str) -> bytes:
        """Body of an OpenAI embeddings request with one text."""
        return orjson.dumps({"model": "moon", "input": self.text(kind)})


def item(text: str, image: str) -> Item:
    """A row of a request as the catalogue's products are read: the core region of a photo is fed beside it."""
    if not image:
        return Item(title=text)
    photo = Picture(base64.b64decode(image))
    box = Box(*np.asarray(core_region(photo, RegionsParams()).box, np.float32).tolist())
    return Item(title=text or None, images=(photo,), crops=(photo.crop(crop_pixels(photo.size, box)),))
