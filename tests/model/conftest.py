from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from moon.model import Embedder, Item, MoonModel, MoonProcessor
from moon.model.build import build
from tests.conftest import TINY_MODEL

TEXTS = ["red enamel mug", "home > kitchen > mugs", "colour: red; material: enamel", "blue wool scarf"] * 10
FAMILIES = {
    "qwen2_5_vl": TINY_MODEL,
    "qwen3_vl": dataclasses.replace(TINY_MODEL, backbone="qwen3_vl", vision_layers=2, image_pixels=64 * 64),
}
"""Tiny parameters of both backbone families; the second with deepstack."""


def picture(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def built() -> tuple[MoonModel, MoonProcessor]:
    return build(TINY_MODEL, TEXTS)


@pytest.fixture(scope="session")
def embedder(built: tuple[MoonModel, MoonProcessor]) -> Embedder:
    return Embedder(*built, revision="test")


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[MoonModel, MoonProcessor]:
    """A model of each backbone family, and its processor."""
    return build(FAMILIES[request.param], TEXTS)


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """A full product, a text query, a photo query, and a query of both; pictures of several sizes."""
    return [
        Item(
            images=(picture(90, 60, 0), picture(40, 80, 1)),
            crops=(picture(50, 40, 2), picture(30, 60, 3)),
            title="Red enamel mug",
            category=("Home", "Kitchen", "Mugs"),
            attributes={"colour": ["red"], "material": ["enamel", "steel"]},
        ),
        Item(title="crimson cup"),
        Item(images=(picture(64, 64, 4),), crops=(picture(32, 32, 5),)),
        Item(images=(picture(120, 50, 6),), crops=(picture(60, 50, 7),), title="in blue"),
    ]
