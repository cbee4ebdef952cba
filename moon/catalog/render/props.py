"""Small things that clutter a picture and are not for sale."""

from __future__ import annotations

import functools
import math
import random
from typing import Final

from PIL import Image

from moon.catalog.render.art import Art, arc, box, smooth
from moon.catalog.render.materials import BRASS, CHROME, COLOURS, DARK, FINISHES, LIGHT, OAK, PAPER, RGB, Surface

_VARIANTS: Final = 4


def _surface(art: Art, finish: str, *colours: RGB) -> Surface:
    return Surface(art.pick(*colours), FINISHES[finish])


def _fruit(art: Art) -> None:
    art.ball(0.5, 0.54, 0.38, _surface(art, "leather", (0.95, 0.55, 0.12), (0.62, 0.74, 0.24), (0.8, 0.18, 0.15)))
    art.tube([(0.5, 0.2), (0.54, 0.08)], 0.04, OAK.plain(0.5))
    art.fill(smooth([(0.54, 0.14), (0.7, 0.04), (0.8, 0.12), (0.66, 0.18)]), _surface(art, "rubber", (0.25, 0.5, 0.2)))


def _candle(art: Art) -> None:
    art.turned([(0.3, 0.2), (0.9, 0.2)], _surface(art, "paper", (0.95, 0.92, 0.84), (0.8, 0.5, 0.45), (0.5, 0.6, 0.62)))
    art.disc(0.5, 0.3, 0.2, 0.032, PAPER, bulge=-0.01)
    art.line([(0.5, 0.3), (0.5, 0.2)], 0.02, DARK)


def _books(art: Art) -> None:
    y = 0.9
    for _ in range(art.pick(2, 3, 4)):
        thick, shift, tone = art.vary(0.1, 0.16), art.vary(-0.06, 0.06), art.pick(*COLOURS.values())
        art.fill(
            box(0.14 + shift, y - thick, 0.86 + shift, y, 0.015),
            Surface(tone, FINISHES["linen"]).plain(0.85),
            bulge=0.03,
        )
        art.fill(box(0.7 + shift, y - thick + 0.02, 0.86 + shift, y - 0.02), PAPER, bulge=0.005)
        y -= thick


def _parcel(art: Art) -> None:
    card = Surface((0.74, 0.58, 0.4), FINISHES["paper"])
    art.fill([(0.14, 0.4), (0.62, 0.46), (0.62, 0.92), (0.14, 0.84)], card, bulge=0.02)
    art.fill([(0.62, 0.46), (0.88, 0.38), (0.88, 0.8), (0.62, 0.92)], card.plain(0.78), bulge=0.02)
    art.fill([(0.14, 0.4), (0.4, 0.33), (0.88, 0.38), (0.62, 0.46)], card.plain(1.12), bulge=0.01)
    art.line([(0.27, 0.365), (0.75, 0.42)], 0.06, PAPER.plain(0.85))


def _jar(art: Art) -> None:
    art.turned([(0.3, 0.16), (0.38, 0.22), (0.9, 0.22)], Surface((0.8, 0.88, 0.88), FINISHES["glass"]))
    art.turned([(0.2, 0.17), (0.31, 0.18)], art.pick(BRASS, CHROME, OAK))


def _pencil(art: Art) -> None:
    tone = Surface(art.pick(*COLOURS.values()), FINISHES["plastic"])
    art.tube([(0.2, 0.8), (0.72, 0.28)], 0.07, tone)
    art.fill([(0.69, 0.26), (0.74, 0.31), (0.84, 0.16)], OAK, bulge=0.02)
    art.tube([(0.18, 0.82), (0.24, 0.76)], 0.075, CHROME)


def _phone(art: Art) -> None:
    art.fill(box(0.3, 0.08, 0.7, 0.92, 0.06), CHROME.plain(0.5), bulge=0.02)
    art.fill(
        box(0.325, 0.11, 0.675, 0.89, 0.04), _surface(art, "plastic", (0.08, 0.09, 0.12), (0.3, 0.45, 0.6)), bulge=0.005
    )


def _leaves(art: Art) -> None:
    green = _surface(art, "rubber", (0.28, 0.5, 0.27), (0.5, 0.58, 0.32), (0.66, 0.42, 0.2))
    art.line(smooth([(0.2, 0.9), (0.45, 0.5), (0.72, 0.12)], closed=False), 0.02, green.plain(0.7))
    for step in range(7):
        t = step / 6
        x, y, side = 0.26 + 0.44 * t, 0.8 - 0.66 * t, -1 if step % 2 else 1
        tip = (x + side * 0.2 + 0.06, y - (0.02 if side > 0 else 0.16) + 0.04 * side)
        art.fill(
            smooth(
                [(x, y), ((x + tip[0]) / 2, (y + tip[1]) / 2 - 0.05), tip, ((x + tip[0]) / 2, (y + tip[1]) / 2 + 0.05)]
            ),
            green,
            bulge=0.03,
        )


def _saucer(art: Art) -> None:
    china = _surface(art, "ceramic", (0.93, 0.92, 0.9), (0.35, 0.45, 0.5), (0.8, 0.66, 0.5))
    art.disc(0.5, 0.5, 0.44, 0.44, china, bulge=0.1)
    art.ring(0.5, 0.5, 0.27, 0.27, 0.035, china.plain(1.1))
    art.disc(0.5, 0.5, 0.235, 0.235, Surface((0.34, 0.2, 0.11), FINISHES["plastic"]), bulge=-0.04)


def _pebbles(art: Art) -> None:
    for x, y in ((0.3, 0.4), (0.6, 0.3), (0.52, 0.66), (0.78, 0.6)):
        stone = _surface(art, "stoneware", (0.6, 0.58, 0.55), (0.42, 0.42, 0.44), (0.78, 0.74, 0.68))
        art.disc(x, y, art.vary(0.09, 0.16), art.vary(0.08, 0.12), stone, bulge=0.1)


def _card(art: Art) -> None:
    paper = _surface(art, "paper", (0.95, 0.94, 0.9), (0.9, 0.78, 0.6), (0.7, 0.8, 0.84))
    art.fill([(0.1, 0.3), (0.82, 0.2), (0.9, 0.7), (0.18, 0.8)], paper, bulge=0.01)
    for row in range(3):
        art.line([(0.24, 0.42 + row * 0.1), (0.24 + art.vary(0.3, 0.5), 0.36 + row * 0.1)], 0.02, DARK.plain(3))


def _coins(art: Art) -> None:
    for x, y in ((0.36, 0.42), (0.6, 0.6), (0.66, 0.34))[: art.pick(2, 3)]:
        metal = art.pick(BRASS, CHROME)
        art.disc(x, y, 0.14, 0.14, metal, bulge=0.03)
        art.ring(x, y, 0.1, 0.1, 0.012, metal.plain(0.8))


def _tape(art: Art) -> None:
    art.ring(0.5, 0.5, 0.4, 0.4, 0.16, _surface(art, "plastic", *COLOURS.values()))
    art.ring(0.5, 0.5, 0.25, 0.25, 0.03, LIGHT)


def _yarn(art: Art) -> None:
    wool = _surface(art, "wool", *COLOURS.values())
    art.ball(0.5, 0.5, 0.4, wool)
    for turn in (-50, -15, 20, 60):
        angle = math.radians(turn)
        x, y = math.cos(angle), math.sin(angle)
        art.line(
            smooth(
                [(0.5 - 0.36 * x, 0.5 - 0.36 * y), (0.5 + 0.14 * y, 0.5 - 0.14 * x), (0.5 + 0.36 * x, 0.5 + 0.36 * y)],
                closed=False,
            ),
            0.02,
            wool.plain(0.8),
        )
    art.line(smooth([*arc(0.5, 0.5, 0.4, 0.4, 60, 80, 2), (0.7, 0.95), (0.95, 0.9)], closed=False), 0.022, wool)


_STANDING: Final = (_fruit, _candle, _books, _parcel, _jar, _yarn)
_LYING: Final = (_pencil, _phone, _leaves, _saucer, _pebbles, _card, _coins, _tape, _fruit)


def prop(lying: bool, side: int, rng: random.Random) -> Image.Image:
    """A random thing, RGBA, cut to its outline, about ``side`` pixels large."""
    choices = _LYING if lying else _STANDING
    drawing = _drawn(choices.index(rng.choice(choices)), lying, rng.randrange(_VARIANTS))
    share = side / max(drawing.size)
    size = (max(1, round(drawing.width * share)), max(1, round(drawing.height * share)))
    return drawing.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


@functools.cache
def _drawn(number: int, lying: bool, variant: int) -> Image.Image:
    draw = (_LYING if lying else _STANDING)[number]
    art = Art(160, LIGHT, DARK, "", random.Random(f"{draw.__name__}/{variant}"))
    draw(art)
    image = art.image()
    return image.crop(image.getbbox())
