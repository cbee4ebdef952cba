"""What `training.py` trains on: a stock checkpoint with random weights, and pairs whose sizes are heavy-tailed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from transformers import AutoModel, Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

from moon.config import ModelParams
from moon.model.build import build

SIDES: Final = (56, 280)
MODEL: Final = ModelParams(
    hidden_size=128,
    intermediate_size=256,
    vocab_size=2048,
    moe_layers=(),
    pooling="tokens",
    image_pixels=SIDES[1] ** 2,
    max_images=3,
    max_text_tokens=2048,
)
_TEMPLATE: Final = (
    "{%- for part in messages[0].content -%}{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- else -%}{{ ' ' + part.text }}{%- endif -%}{%- endfor -%}"
)


@dataclass(frozen=True)
class Side:
    """A query or a product: its text, and path, width and height of each picture."""

    text: str | None
    pictures: tuple[tuple[str, int, int], ...]


Pair = tuple[Side, Side]


class PictureProcessor(Qwen2_5_VLProcessor):
    """The stock processor without its video part."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are loaded and saved."""
        return ["image_processor", "tokenizer"]


def prepare(folder: Path, shape: str, pairs: int, device: str) -> None:
    """Writes a stock checkpoint with seeded random weights, the stock processor, and the pairs with their pictures."""
    rng = np.random.default_rng(7)
    words = [
        "".join(rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou")) for _ in range(n))
        for n in rng.integers(1, 5, 3000)
    ]
    model, processor = build(MODEL, [" ".join(words)])
    backbone: Any = model.backbone
    if shape == "3b":
        backbone = _shape_3b(backbone.config, device)
    backbone.save_pretrained(folder)
    del backbone
    torch.cuda.empty_cache()  # the measured processes need it
    processor.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": MODEL.image_pixels}
    PictureProcessor(processor.image_processor, processor.tokenizer, chat_template=_TEMPLATE).save_pretrained(folder)
    (folder / "pictures").mkdir()
    drawn = (
        (_side(rng, words, folder, f"{n}q", False), _side(rng, words, folder, f"{n}p", True)) for n in range(pairs)
    )
    (folder / "pairs.json").write_text(json.dumps([[asdict(side) for side in pair] for pair in drawn]))


def _shape_3b(tiny: Qwen2_5_VLConfig, device: str) -> nn.Module:
    """Random weights in the shape of Qwen2.5-VL-3B, with the special tokens of ``tiny``."""
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "pad_token_id": tiny.text_config.pad_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 2048},
        **{name: getattr(tiny, name) for name in ("vision_start_token_id", "vision_end_token_id")},
        **{name: getattr(tiny, name) for name in ("image_token_id", "video_token_id")},
    )
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModel.from_config(config)


def _side(rng: np.random.Generator, words: list[str], folder: Path, name: str, product: bool) -> Side:
    """One side of a pair: a product has text and one to three pictures, a query a third each of text, picture, both."""
    kind = 2 if product else int(rng.integers(3))
    pictures = (
        []
        if kind == 0
        else [
            _picture(rng, folder / "pictures" / f"{name}{n}.jpg")
            for n in range(1 + int(product) * int(rng.choice(3, p=[0.7, 0.2, 0.1])))
        ]
    )
    length = int(np.clip(rng.lognormal(np.log(16 if product else 6), 0.9), 1, 400))
    text = None if kind == 1 else " ".join(words[int(3000 * place**2)] for place in rng.random(length))
    return Side(text, tuple(pictures))


def _picture(rng: np.random.Generator, path: Path) -> tuple[str, int, int]:
    """A JPEG file whose sides are log-normal."""
    side = rng.lognormal(np.log(100), 0.5)
    width, height = (int(np.clip(side * stretch, *SIDES)) for stretch in rng.uniform(0.8, 1.25, 2))
    noise = Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(noise)
    for _ in range(6):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x, y, x + int(rng.integers(4, width)), y + int(rng.integers(4, height)))
        draw.ellipse(box, fill=tuple(map(int, rng.integers(0, 255, 3))))
    noise.save(path, quality=90)
    return str(path), width, height


def read_pairs(folder: str) -> list[Pair]:
    """The pairs that `prepare` wrote."""

    def side(row: Mapping[str, Any]) -> Side:
        return Side(row["text"], tuple((path, width, height) for path, width, height in row["pictures"]))

    rows = json.loads((Path(folder) / "pairs.json").read_text())
    return [(side(query), side(product)) for query, product in rows]
