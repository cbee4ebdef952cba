from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import pytest
from PIL import Image

from moon.model import Item, MoonModel, MoonProcessor, View
from moon.model.build import build
from moon.training.minibatches import Unit
from moon.training.pairs import Pairs
from tests.conftest import TINY_MODEL

COLOURS = {"red": (220, 20, 20), "blue": (20, 30, 220), "green": (10, 180, 30), "black": (10, 10, 10)}
NAMES = list(COLOURS)


@pytest.fixture(scope="session")
def start() -> tuple[MoonModel, MoonProcessor]:
    return build(TINY_MODEL, NAMES * 20)


def square(name: str, light: int, size: int = 56) -> Image.Image:
    return Image.fromarray(np.full((size, size, 3), np.array(COLOURS[name]) + light, np.uint8))


def unit(processor: MoonProcessor, item: Item, called: Callable[[Hashable], None] = lambda _: None) -> Unit:
    sizes = [image.size for image in item.images], [crop.size for crop in item.crops]

    def encode() -> object:
        called(item.title)
        return processor.encode(item)

    return Unit(length=processor.length(item.view("text"), *sizes), patches=processor.patches(*sizes), encode=encode)


@pytest.fixture
def pairs(start: tuple[MoonModel, MoonProcessor]) -> Pairs:
    """Plain coloured squares as products; their colour's name, a lighter square, or both, as queries."""
    views: list[View] = ["text", "image", "multimodal"]

    def query(row: int, view: View) -> Unit:
        name = NAMES[row % 4]
        whole = Item(title=f"{name} square" if row % 3 != 1 else None, images=(square(name, 20),) if row % 3 else ())
        return unit(start[1], whole.view(view))

    def product(product_id: str, view: View, draw: int) -> Unit:
        title = f"{product_id} new" if draw else product_id
        return unit(start[1], Item(title=title, images=(square(product_id, 5 * draw),)).view(view))

    return Pairs(
        product_ids=[NAMES[row % 4] for row in range(24)],
        categories=[("squares", "dark" if row % 4 == 3 else "bright") for row in range(24)],
        views=[views[row % 3] for row in range(24)],
        excluded=[frozenset({NAMES[row % 4]}) for row in range(24)],
        negatives=[[NAMES[(row + 1) % 4]] for row in range(24)],
        query=query,
        product=product,
        variants=lambda product_id: 2,
    )


def named(name: str) -> Callable[[str], str]:
    """Puts a tensor's name before a failed comparison's message."""
    return lambda text: f"{name}: {text}"
