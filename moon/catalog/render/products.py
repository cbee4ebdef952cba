"""Invents products: who makes them, what they look like, which are the same design in another colour."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from moon.catalog.render.art import MARKS, Art
from moon.catalog.render.kinds import KINDS, Kind
from moon.catalog.render.materials import COLOURS, FINISHES, RGB, Surface
from moon.catalog.render.patterns import pattern_tile
from moon.catalog.render.scene import Photo, Setting, photograph

BRANDS: Final = (
    "Brevanta", "Solkind", "Tarnvale", "Oquela", "Finchmere", "Kestrina",
    "Dovrel", "Palomir", "Wrenlow", "Ambrell", "Quillon", "Nordwyn",
)  # fmt: skip
_FAMILIES: Final = (0, 0, 1, 2, 3, 4, 4, 4, 5, 6)
"""Which design the next ten products of a kind take: half of them share one with another colour."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """Everything that makes one product itself; the same identity looks the same in every picture."""

    index: int
    kind: Kind
    family: int
    """Number of the design among those of its kind; products of one design differ in colour."""
    design: int
    """Seed of the little measures of the shape."""
    form: str
    material: str
    pattern: str
    brand: str
    size: str
    colours: tuple[str, str, str]
    """Body, trim, and a second colour of the pattern."""

    @property
    def product_id(self) -> str:
        """The product's id."""
        return f"p{self.index:05d}"

    @property
    def attributes(self) -> dict[str, list[str]]:
        """What the shop lists; a patterned product has two colours."""
        shown = self.colours[:1] if self.pattern == "plain" else self.colours[:2]
        return {
            "colour": list(shown),
            "material": [self.material],
            "pattern": [self.pattern],
            "brand": [self.brand],
            "size": [self.size],
        }

    @property
    def pictures(self) -> int:
        """Pictures the shop shows: 2 to 4."""
        return 2 + self.index % 7 % 3


def make_product(seed: int, index: int) -> Product:
    """The product of a number: the same whatever the size of the catalogue."""
    kind_number = _kind_order(seed)[index % len(KINDS)]
    kind, slot = KINDS[kind_number], index // len(KINDS)
    block, place = divmod(slot, len(_FAMILIES))
    family = block * (_FAMILIES[-1] + 1) + _FAMILIES[place]
    rng = random.Random(f"{seed}/design/{kind_number}/{family}")
    names = rng.sample(sorted(COLOURS), len(COLOURS))
    variant = _FAMILIES[:place].count(_FAMILIES[place])
    body = names[variant]
    trim, second = _contrasting(body, names[variant + 1 :] + names[:variant])
    return Product(
        index=index,
        kind=kind,
        family=family,
        design=rng.getrandbits(32),
        form=rng.choice(kind.forms),
        material=rng.choice(kind.materials),
        pattern=rng.choice(kind.patterns),
        brand=rng.choice(BRANDS),
        size=rng.choice(kind.sizes),
        colours=(body, trim, second),
    )


def families(seed: int, count: int) -> Iterator[list[int]]:
    """Groups the first ``count`` products by design, kind after kind; those of one kind are in random order."""
    for place in range(min(len(KINDS), count)):
        slots: dict[int, list[int]] = {}
        for index in range(place, count, len(KINDS)):
            block, number = divmod(index // len(KINDS), len(_FAMILIES))
            slots.setdefault(block * (_FAMILIES[-1] + 1) + _FAMILIES[number], []).append(index)
        groups = list(slots.values())
        random.Random(f"{seed}/families/{place}").shuffle(groups)
        yield from groups


def assign_splits(seed: int, count: int, held_out: float) -> list[str]:
    """The split of every product: a share ``held_out`` is test, half as many are val; a design stays in one split.

    Shares are kept as exactly as whole designs allow, within every kind and over all.
    """
    shares = {"train": 1 - 1.5 * held_out, "test": held_out, "val": held_out / 2}
    owed = dict.fromkeys(shares, 0.0)
    splits = [""] * count
    for group in families(seed, count):
        for split, share in shares.items():
            owed[split] += share * len(group)
        chosen = max(owed, key=lambda split: owed[split])
        owed[chosen] -= len(group)
        for index in group:
            splits[index] = chosen
    return splits


def draw_product(product: Product, size: int) -> Image.Image:
    """The product alone, RGBA, cut to its outline; drawn for pictures of ``size`` pixels."""
    rng = random.Random(product.design)
    body, trim, second = (_dyed(COLOURS[name], rng) for name in product.colours)
    finish = FINISHES[product.material]
    tile = pattern_tile(product.pattern, body, trim, second, rng)
    art = Art(
        size * 3 // 2,
        Surface(body, finish, tile, repeat=rng.uniform(2.6, 5.0)),
        Surface(trim, replace(finish, opacity=1.0)),
        product.form,
        rng,
        mark=BRANDS.index(product.brand) % len(MARKS),
    )
    product.kind.draw(art)
    image = art.image()
    return image.crop(image.getbbox())


def shop_photo(product: Product, drawing: Image.Image, number: int, size: int, rng: random.Random) -> Photo:
    """Picture ``number`` of the shop's own; the first is a studio picture for every second product."""
    studio = product.design % 2 == 0 if number == 0 else rng.random() < 0.15
    return photograph(drawing, _setting(product, size, studio=studio, customer=False), rng)


def customer_photo(product: Product, drawing: Image.Image, size: int, rng: random.Random) -> Photo:
    """A picture somebody took to search with."""
    return photograph(drawing, _setting(product, size, studio=False, customer=True), rng)


def _setting(product: Product, size: int, studio: bool, customer: bool) -> Setting:
    kind = product.kind
    return Setting(size=size, lying=kind.stance == "lay", extent=kind.extent, studio=studio, customer=customer)


@functools.lru_cache(maxsize=8)
def _kind_order(seed: int) -> tuple[int, ...]:
    order = list(range(len(KINDS)))
    random.Random(f"{seed}/kinds").shuffle(order)
    return tuple(order)


def _contrasting(body: str, names: list[str]) -> tuple[str, str]:
    """The first two colours that stand out from ``body``."""
    base = COLOURS[body]
    apart = [name for name in names if sum(abs(a - b) for a, b in zip(base, COLOURS[name], strict=True)) > 0.7]
    return apart[0], apart[1]


def _dyed(colour: RGB, rng: random.Random) -> RGB:
    """A colour as one maker's dye gives it: never exactly the named one."""
    red, green, blue = (max(0.0, min(1.0, part + rng.uniform(-0.035, 0.035))) for part in colour)
    return red, green, blue
