"""How things of the house are drawn."""

from __future__ import annotations

import math

from moon.catalog.render.art import Art, Point, arc, box, flip, smooth
from moon.catalog.render.materials import BRASS, CHROME, DARK, FINISHES, LIGHT, OAK, PAPER, WALNUT, Surface


def mug(art: Art) -> None:
    """Forms: classic, tall, barrel, tapered."""
    top, wide, deep = art.vary(0.22, 0.27), art.vary(0.25, 0.28), art.vary(0.76, 0.82)
    profiles = {
        "classic": [(top, wide), (deep - 0.06, wide), (deep, wide * 0.9)],
        "tall": [(0.12, wide * 0.8), (0.5, wide * 0.78), (0.88, wide * 0.72)],
        "barrel": [(top, wide * 0.86), (0.5, wide * 1.08), (deep, wide * 0.78)],
        "tapered": [(top, wide * 1.14), (0.5, wide * 0.98), (deep, wide * 0.64)],
    }
    profile = profiles[art.form]
    (y0, rim), (y1, foot) = profile[0], profile[-1]
    axis, side = 0.42, 0.42 + (rim + foot) / 2 - 0.02
    middle, half = (y0 + y1) / 2, (y1 - y0) * art.vary(0.26, 0.32)
    handles = {
        "round": arc(side, middle, art.vary(0.17, 0.21), half, -90, 90),
        "square": [
            (side, middle - half),
            (side + 0.16, middle - half),
            (side + 0.17, middle - half + 0.02),
            (side + 0.17, middle + half - 0.02),
            (side + 0.16, middle + half),
            (side - 0.01, middle + half),
        ],
        "ear": smooth(
            [
                (side, middle - half),
                (side + 0.2, middle - half * 0.9),
                (side + 0.1, middle + half * 0.7),
                (side - 0.04, middle + half),
            ],
            closed=False,
        ),
    }
    handle = handles[art.pick("round", "square", "ear")]
    two_tone = art.pick(True, False)
    art.tube(handle, art.vary(0.05, 0.07), art.trim if two_tone else art.body.plain())
    art.turned(profile, art.body, cx=axis)
    art.opening(y0, rim, art.trim if two_tone else art.body.plain(1.1), cx=axis)
    if art.body.tile is None:
        art.mark(axis - 0.02, middle + 0.06, 0.075)


def bottle(art: Art) -> None:
    """Forms: slim, wide-mouth, sports, flask."""
    wide = art.vary(0.14, 0.17)
    shapes = {
        "slim": (
            [(0.2, 0.055), (0.27, 0.06), (0.38, wide * 0.94), (0.9, wide * 0.92), (0.94, wide * 0.86)],
            0.055,
            0.08,
        ),
        "wide-mouth": ([(0.2, 0.12), (0.24, 0.13), (0.3, wide * 1.2), (0.92, wide * 1.2)], 0.12, 0.07),
        "sports": ([(0.22, 0.1), (0.3, wide), (0.5, wide * 0.8), (0.62, wide * 0.98), (0.93, wide)], 0.1, 0.06),
        "flask": ([(0.24, wide), (0.3, wide * 1.05), (0.92, wide * 1.05)], wide * 0.9, 0.14),
    }
    profile, neck, cap = shapes[art.form]
    top = profile[0][0]
    if art.form == "sports":
        art.turned([(top - 0.14, 0.025), (top - 0.05, 0.04)], art.trim)
    if art.form == "wide-mouth":
        art.tube(arc(0.5, top - cap + 0.01, 0.1, 0.09, 180, 360), 0.03, art.trim)
    art.turned(profile, art.body, squash=0.12)
    art.turned(
        [(top - cap, neck * 0.96), (top - cap + 0.01, neck * 1.04), (top + 0.01, neck * 1.06)], art.trim, squash=0.12
    )
    art.disc(0.5, top - cap, neck * 0.96, neck * 0.13, art.trim.plain(1.1), bulge=0.01)
    if art.pick(True, False):
        art.turned([(0.82, wide * 1.03), (0.855, wide * 1.03)], art.trim.plain(0.9), squash=0.12)
    if art.body.tile is None:
        art.mark(0.48, 0.6, 0.06)


def teapot(art: Art) -> None:
    """Forms: round, tall, low, kettle."""
    wide = art.vary(0.24, 0.27)
    bodies = {
        "round": [(0.36, 0.13), (0.43, wide * 0.9), (0.6, wide * 1.02), (0.76, wide * 0.82), (0.84, 0.14)],
        "tall": [(0.24, 0.12), (0.34, wide * 0.68), (0.6, wide * 0.86), (0.86, wide * 0.76)],
        "low": [(0.44, 0.13), (0.5, wide * 0.96), (0.62, wide * 1.14), (0.76, wide * 0.9), (0.8, 0.16)],
        "kettle": [(0.34, 0.12), (0.42, wide * 0.84), (0.62, wide * 1.0), (0.84, wide * 1.06)],
    }
    profile = bodies[art.form]
    top, lid = profile[0]
    middle = (top + profile[-1][0]) / 2
    left, right = 0.5 - wide * 0.84, 0.5 + wide * 0.84
    spout = [
        (left + 0.06, middle + 0.14),
        (left - 0.1, middle + 0.0),
        (0.1, middle - 0.2),
        (0.15, middle - 0.24),
        (left - 0.02, middle - 0.08),
        (left + 0.08, middle - 0.04),
    ]
    art.fill(smooth(spout), art.body.plain(), bulge=0.09)
    if art.form == "kettle":
        art.tube(arc(0.5, top + 0.08, 0.22, 0.26, 180, 360), 0.045, WALNUT if art.pick(True, False) else art.trim)
    else:
        art.tube(
            smooth(
                [(right - 0.03, middle - 0.12), (0.88, middle - 0.14), (0.86, middle + 0.08), (right, middle + 0.15)],
                closed=False,
            ),
            0.05,
            art.body.plain(),
        )
    art.turned(profile, art.body)
    art.turned([(top - 0.06, 0.03), (top - 0.035, lid * 0.7), (top + 0.01, lid * 1.08)], art.trim)
    art.ball(0.5, top - 0.085, 0.038, art.trim)


def vase(art: Art) -> None:
    """Forms: amphora, cylinder, bottle-neck, globe."""
    wide = art.vary(0.22, 0.27)
    profiles = {
        "amphora": [(0.08, 0.12), (0.16, 0.085), (0.36, wide), (0.62, wide * 0.8), (0.9, 0.1), (0.93, 0.12)],
        "cylinder": [(0.12, wide * 0.78), (0.5, wide * 0.74), (0.92, wide * 0.7)],
        "bottle-neck": [(0.06, 0.075), (0.12, 0.055), (0.38, 0.06), (0.56, wide), (0.8, wide * 1.05), (0.93, 0.16)],
        "globe": [(0.22, 0.11), (0.28, 0.1), (0.42, wide * 1.2), (0.62, wide * 1.4), (0.82, wide * 1.1), (0.92, 0.14)],
    }
    profile = profiles[art.form]
    if art.form == "amphora" and art.pick(True, False):
        for side in (False, True):
            ear = smooth([(0.4, 0.13), (0.24, 0.15), (0.22, 0.26), (0.3, 0.34)], closed=False)
            art.tube(flip(ear) if side else ear, 0.035, art.trim)
    art.turned(profile, art.body)
    art.opening(profile[0][0], profile[0][1], art.trim)


def lamp(art: Art) -> None:
    """Forms: drum, empire, dome, tripod."""
    wide = art.vary(0.27, 0.33)
    brass = art.pick(BRASS, CHROME, DARK)
    if art.form == "tripod":
        for foot in (0.24, 0.5, 0.76):
            art.tube([(0.5, 0.46), (foot, 0.92 + (0.03 if foot == 0.5 else 0))], 0.026, art.pick(OAK, WALNUT))
        art.turned([(0.4, 0.02), (0.52, 0.035)], brass)
    else:
        stems = [
            [(0.4, 0.03), (0.52, 0.05), (0.68, 0.14), (0.84, 0.1), (0.92, 0.12)],
            [(0.4, 0.02), (0.6, 0.022), (0.86, 0.024), (0.9, 0.16), (0.92, 0.17)],
            [(0.4, 0.03), (0.5, 0.12), (0.64, 0.05), (0.78, 0.14), (0.92, 0.1)],
        ]
        art.turned(art.pick(*stems), art.trim)
        art.turned([(0.38, 0.025), (0.47, 0.03)], brass)
    shades = {
        "drum": [(0.08, wide * 0.92), (0.44, wide)],
        "empire": [(0.07, wide * 0.52), (0.46, wide * 1.08)],
        "dome": [(0.1, 0.03), (0.13, wide * 0.5), (0.24, wide * 0.96), (0.42, wide * 1.08)],
        "tripod": [(0.08, wide * 0.78), (0.42, wide)],
    }
    shade = shades[art.form]
    art.turned(shade, art.body, squash=0.1)
    y, radius = shade[0]
    if radius > 0.1:
        art.disc(0.5, y, radius, radius * 0.1, art.body.plain(1.15), bulge=0.004)
        art.disc(0.5, y + 0.004, radius * 0.94, radius * 0.082, PAPER.plain(1.0), bulge=-0.02)
    foot_y, foot = shade[-1]
    art.line(arc(0.5, foot_y - 0.012, foot, foot * 0.1, 172, 8), 0.014, art.body.plain(0.72))


def cushion(art: Art) -> None:
    """Forms: square, round, lumbar, tasselled."""
    if art.form == "round":
        outline = arc(0.5, 0.5, 0.42, 0.4)
        art.fill(outline, art.body, bulge=0.26)
        for turn in range(0, 360, 30):
            x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            art.line([(0.5 + 0.06 * x, 0.5 + 0.06 * y), (0.5 + 0.36 * x, 0.5 + 0.34 * y)], 0.006, art.body.plain(0.8))
        art.disc(0.5, 0.5, 0.045, 0.042, art.trim, bulge=0.04)
    else:
        half_x, half_y = (0.44, 0.27) if art.form == "lumbar" else (0.41, 0.41)
        dip = art.vary(0.025, 0.05)
        corner = [(-1.0, -1.0), (0.0, -1.0), (1.0, -1.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0)]
        outline = [
            (0.5 + x * half_x - (dip * x if y == 0 else 0), 0.5 + y * half_y - (dip * y if x == 0 else 0))
            for x, y in corner
        ]
        rounded = smooth(outline, steps=8)
        if art.form == "tasselled":
            for x, y in (outline[0], outline[2], outline[4], outline[6]):
                dx, dy = (0.07 if x > 0.5 else -0.07), (0.07 if y > 0.5 else -0.07)
                for spread in (-0.02, 0.0, 0.02):
                    art.tube([(x, y), (x + dx * 0.9 + spread, y + dy * 0.9 - spread)], 0.018, art.trim)
        art.fill(rounded, art.trim, bulge=0.05)
        art.fill([(0.5 + (x - 0.5) * 0.97, 0.5 + (y - 0.5) * 0.97) for x, y in rounded], art.body, bulge=0.24)
    if art.body.tile is None and art.form != "round":
        art.mark(0.5, 0.5, 0.1)


def clock(art: Art) -> None:
    """Forms: round, square, sunburst, octagonal."""
    radius = art.vary(0.38, 0.42)
    if art.form == "sunburst":
        for ray in range(24):
            angle = math.radians(ray * 15)
            reach = 0.46 if ray % 2 else 0.38
            x, y = math.cos(angle), math.sin(angle)
            art.tube([(0.5 + 0.2 * x, 0.5 + 0.2 * y), (0.5 + reach * x, 0.5 + reach * y)], 0.022, art.body)
        radius = 0.28
    outlines = {
        "square": box(0.5 - radius, 0.5 - radius, 0.5 + radius, 0.5 + radius, 0.08),
        "octagonal": arc(0.5, 0.5, radius * 1.06, radius * 1.06, 22.5, 382.5, 8),
    }
    outline = outlines.get(art.form, arc(0.5, 0.5, radius, radius))
    inner = [(0.5 + (x - 0.5) * 0.85, 0.5 + (y - 0.5) * 0.85) for x, y in outline]
    art.fill(outline, art.body, bulge=0.07)
    face = art.pick(LIGHT, LIGHT, PAPER, art.trim.plain())
    ink = LIGHT if sum(face.colour) < 1.2 else DARK
    art.fill(inner, face, bulge=-0.03)
    long, wide = radius * 0.74, art.pick(0.01, 0.016)
    for tick in range(12):
        angle = math.radians(tick * 30)
        x, y, start = math.cos(angle), math.sin(angle), 0.8 if tick % 3 == 0 else 0.88
        art.line(
            [(0.5 + long * start * x, 0.5 + long * start * y), (0.5 + long * x, 0.5 + long * y)],
            wide * (1.6 if tick % 3 == 0 else 1),
            ink,
        )
    for length, width, turn in ((0.45, 0.022, 210.0), (0.66, 0.016, 306.0)):
        x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        art.line(
            [
                (0.5 - 0.08 * radius * x, 0.5 - 0.08 * radius * y),
                (0.5 + length * radius * x, 0.5 + length * radius * y),
            ],
            width,
            ink,
        )
    art.disc(0.5, 0.5, 0.022, 0.022, art.body.plain(), bulge=0.01)
    art.mark(0.5, 0.5 + radius * 0.36, 0.03, ink)


def chair(art: Art) -> None:
    """Forms: dining, armchair, stool, shell."""
    legs = art.pick(OAK, WALNUT, CHROME)
    if art.form == "stool":
        for top, foot, length in ((0.44, 0.4, 0.86), (0.56, 0.6, 0.86), (0.32, 0.24, 0.93), (0.68, 0.76, 0.93)):
            art.tube([(top, 0.3), (foot, length)], 0.034, legs)
        art.tube([(0.28, 0.7), (0.72, 0.7)], 0.022, legs)
        art.turned([(0.22, 0.27), (0.3, 0.27)], art.body, squash=0.28)
        art.disc(0.5, 0.22, 0.27, 0.076, art.body.plain(1.08), bulge=0.03)
        return
    if art.form == "armchair":
        for x in (0.2, 0.8):
            art.tube([(x, 0.78), (x + (0.02 if x > 0.5 else -0.02), 0.93)], 0.04, legs)
        art.fill(box(0.16, 0.1, 0.84, 0.66, 0.12), art.body, bulge=0.12)
        art.fill(box(0.22, 0.72, 0.78, 0.85, 0.04), art.body, bulge=0.06)
        art.fill(box(0.2, 0.56, 0.8, 0.74, 0.07), art.body, bulge=0.1, tilt=(0, -0.25))
        for side in (box(0.07, 0.42, 0.24, 0.86, 0.08), box(0.76, 0.42, 0.93, 0.86, 0.08)):
            art.fill(side, art.body, bulge=0.1)
        art.fill(smooth(box(0.36, 0.34, 0.64, 0.57, 0.03)), art.trim, bulge=0.12)
        return
    for top, foot, length in ((0.34, 0.3, 0.84), (0.68, 0.72, 0.84)):
        art.tube([(top, 0.56), (foot, length)], 0.032, legs.plain(0.75))
    if art.form == "shell":
        back = [(0.3, 0.16), (0.5, 0.09), (0.7, 0.16), (0.76, 0.4), (0.7, 0.58), (0.3, 0.58), (0.24, 0.4)]
        art.fill(smooth(back), art.body, bulge=0.16)
    else:
        for x in (0.29, 0.71):
            art.tube([(x, 0.09), (x + (0.02 if x < 0.5 else -0.02), 0.6)], 0.035, legs)
        for y in (0.14, 0.25, 0.36)[: 1 if art.pick(True, False) else 3]:
            art.fill(
                smooth([(0.28, y), (0.5, y - 0.02), (0.72, y), (0.72, y + 0.08), (0.5, y + 0.06), (0.28, y + 0.08)]),
                art.body,
                bulge=0.03,
            )
    seat: list[Point] = [(0.29, 0.52), (0.71, 0.52), (0.79, 0.64), (0.77, 0.68), (0.23, 0.68), (0.21, 0.64)]
    art.fill(smooth(seat, steps=4), art.body, bulge=0.06, tilt=(0, -0.3))
    for top, foot in ((0.25, 0.2), (0.75, 0.8)):
        art.tube([(top, 0.67), (foot, 0.94)], 0.036, legs)


def planter(art: Art) -> None:
    """Forms: succulent, fern, snake plant, cactus."""
    green = Surface((0.26, 0.52, 0.28), FINISHES["rubber"])
    pale = green.plain(1.25)
    if art.form == "snake plant":
        for x, tip, height in (
            (0.4, 0.28, 0.2),
            (0.6, 0.74, 0.18),
            (0.46, 0.4, 0.08),
            (0.56, 0.62, 0.1),
            (0.5, 0.5, 0.04),
        ):
            art.fill(
                [
                    (x - 0.045, 0.6),
                    (x - 0.05 + (tip - x) * 0.5, 0.35),
                    (tip, height),
                    (x + 0.05 + (tip - x) * 0.5, 0.35),
                    (x + 0.045, 0.6),
                ],
                art.pick(green, pale),
                bulge=0.03,
            )
    elif art.form == "cactus":
        art.fill(box(0.41, 0.1, 0.59, 0.7, 0.09), green, bulge=0.12)
        art.tube(smooth([(0.56, 0.44), (0.7, 0.42), (0.71, 0.26)], closed=False), 0.09, green)
        art.tube(smooth([(0.44, 0.38), (0.31, 0.36), (0.3, 0.22)], closed=False), 0.08, green)
        for x in (0.45, 0.5, 0.55):
            art.line([(x, 0.14), (x, 0.55)], 0.006, pale)
    else:
        long = art.form == "fern"
        for turn in range(-160, -10, 15 if long else 25):
            angle = math.radians(turn)
            x, y = math.cos(angle), math.sin(angle)
            reach = art.vary(0.3, 0.4) if long else art.vary(0.18, 0.24)
            end = (0.5 + x * reach, 0.52 + y * reach + (0.12 * abs(x) if long else 0))
            wide = 0.035 if long else 0.07
            middle_x, middle_y = 0.5 + x * reach * 0.6, 0.5 + y * reach * 0.7
            leaf = [
                (0.5, 0.58),
                (middle_x - y * wide, middle_y + x * wide),
                end,
                (middle_x + y * wide, middle_y - x * wide),
            ]
            art.fill(smooth(leaf), art.pick(green, pale), bulge=0.03)
    rim, foot = art.vary(0.21, 0.25), art.vary(0.14, 0.2)
    art.turned([(0.54, rim), (0.6, rim * 0.98), (0.92, foot)], art.body, squash=0.1)
    art.turned(
        [(0.53, rim * 1.06), (0.59, rim * 1.06)], art.trim if art.pick(True, False) else art.body.plain(), squash=0.1
    )
    if art.body.tile is None:
        art.mark(0.48, 0.76, 0.05)
