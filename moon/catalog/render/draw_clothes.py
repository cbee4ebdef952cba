"""How clothes and accessories are drawn."""

from __future__ import annotations

from moon.catalog.render.art import Art, Point, arc, box, flip, mirror, smooth
from moon.catalog.render.materials import BRASS, CHROME, COLOURS, DARK, FINISHES, LIGHT, OAK, WALNUT, Surface


def _both(art: Art, points: list[Point], surface: Surface, bulge: float = 0.05) -> None:
    """A part and its mirror image."""
    art.fill(points, surface, bulge=bulge)
    art.fill(flip(points), surface, bulge=bulge)


def t_shirt(art: Art) -> None:
    """Forms: crew neck, v-neck, long-sleeve, polo."""
    wide, hem = art.vary(0.22, 0.25), art.vary(0.86, 0.93)
    shoulder = 0.5 - wide + 0.01
    if art.form == "long-sleeve":
        sleeve = [(shoulder + 0.03, 0.16), (0.17, 0.36), (0.08, 0.8), (0.19, 0.83), (0.31, 0.45), (0.32, 0.3)]
        cuff = [(0.075, 0.79), (0.2, 0.82), (0.19, 0.86), (0.07, 0.83)]
    else:
        sleeve = [(shoulder + 0.04, 0.15), (0.15, 0.26), (0.06, 0.41), (0.2, 0.48), (0.31, 0.38), (0.33, 0.25)]
        cuff = [(0.065, 0.4), (0.205, 0.465), (0.19, 0.495), (0.052, 0.425)]
    ringer = art.pick(True, False)
    _both(art, sleeve, art.body, bulge=0.09)
    _both(art, cuff, art.trim if ringer else art.body.plain(0.88), bulge=0.02)
    side = [(0.38, 0.1), (shoulder, 0.17), (0.5 - wide - 0.01, 0.36), (0.5 - wide, 0.6), (0.5 - wide - 0.01, hem)]
    art.fill(mirror([*side, (0.5, hem + 0.015)]), art.body, bulge=0.1)
    depth = 0.3 if art.form == "v-neck" else 0.2
    inside = art.body.plain(0.5)
    neck = [(0.385, 0.09), (0.5, depth), (0.615, 0.09)]
    if art.form == "polo":
        art.fill([(0.4, 0.09), (0.5, 0.2), (0.6, 0.09)], inside, bulge=-0.02)
        art.fill(box(0.475, 0.17, 0.525, 0.38), art.trim.plain(), bulge=0.01)
        for y in (0.24, 0.31):
            art.disc(0.5, y, 0.011, 0.011, LIGHT, bulge=0.01)
        _both(art, [(0.39, 0.07), (0.5, 0.2), (0.43, 0.25), (0.345, 0.12)], art.trim.plain(), bulge=0.02)
    else:
        curve = neck if art.form == "v-neck" else arc(0.5, 0.09, 0.115, depth - 0.09, 180, 0, 18)
        art.fill([*curve, (0.5, 0.115)], inside, bulge=-0.02)
        art.line(curve, 0.026, art.trim if ringer else art.body.plain(0.85))
    if art.body.tile is None and art.form != "polo":
        art.mark(0.5, 0.46, art.vary(0.09, 0.13))
    else:
        art.mark(0.61, 0.33, 0.03)


def dress(art: Art) -> None:
    """Forms: a-line, maxi, slip, shirt dress."""
    hem, flare = (0.97, 0.3) if art.form == "maxi" else (art.vary(0.84, 0.9), art.vary(0.28, 0.34))
    if art.form == "slip":
        flare = 0.2
        for side in (False, True):
            strap = [(0.415, 0.2), (0.43, 0.04)]
            art.line(flip(strap) if side else strap, 0.014, art.body.plain())
    elif art.form == "shirt dress":
        _both(art, [(0.4, 0.08), (0.3, 0.18), (0.2, 0.46), (0.29, 0.49), (0.38, 0.3)], art.body, bulge=0.06)
    else:
        _both(art, [(0.4, 0.06), (0.32, 0.13), (0.27, 0.25), (0.37, 0.28), (0.42, 0.2)], art.body, bulge=0.05)
    waist = 0.4
    skirt: list[Point] = [(0.4, waist), (0.5 - flare * 0.75, 0.66), (0.5 - flare, hem)]
    wave = [(0.5 - flare + flare * 2 * i / 8, hem + (0.018 if i % 2 else -0.004)) for i in range(1, 8)]
    art.fill([*skirt, *smooth(wave, closed=False, steps=4), *flip(skirt)[::-1]], art.body, bulge=0.1)
    for fold in (-0.6, -0.25, 0.15, 0.5):
        art.line([(0.5 + 0.09 * fold, waist + 0.06), (0.5 + flare * fold, hem - 0.03)], 0.007, art.body.plain(0.72))
    top = 0.2 if art.form == "slip" else 0.06
    bodice: list[Point] = [(0.41, top), (0.385, 0.24), (0.4, waist + 0.01)]
    dip: list[Point] = [(0.5, top + 0.05)] if art.form == "slip" else [(0.44, top - 0.005), (0.5, 0.17)]
    art.fill([*bodice, *flip(bodice)[::-1], *flip(dip[:1]), *dip[::-1]], art.body, bulge=0.07)
    art.fill(box(0.393, waist - 0.02, 0.607, waist + 0.02, 0.01), art.trim, bulge=0.02)
    if art.form == "shirt dress":
        art.line([(0.5, 0.16), (0.5, hem)], 0.008, art.body.plain(0.75))
        for y in range(5):
            art.disc(0.5, 0.22 + y * 0.13, 0.011, 0.011, LIGHT, bulge=0.01)
        _both(art, [(0.42, 0.04), (0.5, 0.17), (0.44, 0.19), (0.385, 0.08)], art.trim.plain(), bulge=0.02)


def jacket(art: Art) -> None:
    """Forms: hoodie, bomber, puffer, raincoat."""
    hem = 0.96 if art.form == "raincoat" else 0.86
    sleeve = [(0.31, 0.2), (0.18, 0.34), (0.07, 0.76), (0.2, 0.81), (0.31, 0.5)]
    if art.form in ("hoodie", "raincoat"):
        art.fill(
            smooth([(0.32, 0.2), (0.36, 0.07), (0.5, 0.03), (0.64, 0.07), (0.68, 0.2), (0.5, 0.3)]), art.body, bulge=0.1
        )
        art.fill(
            smooth([(0.4, 0.18), (0.42, 0.1), (0.5, 0.075), (0.58, 0.1), (0.6, 0.18), (0.5, 0.27)]),
            art.body.plain(0.45),
            bulge=-0.05,
        )
    _both(art, sleeve, art.body, bulge=0.1)
    _both(art, [(0.06, 0.745), (0.21, 0.795), (0.19, 0.86), (0.05, 0.8)], art.trim, bulge=0.03)
    side: list[Point] = [(0.41, 0.13), (0.3, 0.19), (0.26, 0.36), (0.25, hem)]
    art.fill(mirror([*side]) if art.form != "hoodie" else mirror([(0.39, 0.16), *side[1:]]), art.body, bulge=0.1)
    if art.form == "puffer":
        for row in range(6):
            y = 0.2 + row * 0.115
            art.fill(smooth(box(0.25, y, 0.75, y + 0.125, 0.04), steps=3), art.body, bulge=0.07)
        art.fill(box(0.37, 0.07, 0.63, 0.21, 0.05), art.body, bulge=0.08)
    elif art.form == "bomber":
        art.fill(box(0.25, hem - 0.03, 0.75, hem + 0.05, 0.02), art.trim, bulge=0.03)
        art.fill(
            smooth([(0.38, 0.11), (0.5, 0.2), (0.62, 0.11), (0.64, 0.18), (0.5, 0.27), (0.36, 0.18)], steps=4),
            art.trim,
            bulge=0.03,
        )
    if art.form == "hoodie":
        art.fill([(0.36, 0.62), (0.64, 0.62), (0.7, 0.8), (0.3, 0.8)], art.body, bulge=0.03)
        for x in (0.45, 0.55):
            art.tube([(x, 0.26), (x + (0.01 if x > 0.5 else -0.01), 0.44)], 0.014, art.trim.plain())
        art.fill(box(0.25, hem - 0.02, 0.75, hem + 0.04, 0.01), art.body.plain(0.85), bulge=0.03)
        art.mark(0.5, 0.5, 0.08)
        return
    art.line([(0.5, 0.2), (0.5, hem)], 0.018, art.pick(CHROME, BRASS, DARK))
    for x in (0.31, 0.58):
        art.line(
            [(x, 0.66), (x + 0.11, 0.62 if x < 0.5 else 0.7)]
            if art.form == "bomber"
            else [(x, 0.66), (x + 0.11, 0.66)],
            0.016,
            art.trim.plain(0.8),
        )
    art.mark(0.62, 0.36, 0.04)


def cap(art: Art) -> None:
    """Forms: baseball, bucket, beanie, trucker."""
    if art.form == "bucket":
        art.turned([(0.22, 0.22), (0.27, 0.25), (0.52, 0.29)], art.body, squash=0.2)
        art.turned([(0.5, 0.28), (0.56, 0.34), (0.72, 0.45)], art.body, squash=0.16)
        art.turned([(0.49, 0.285), (0.54, 0.292)], art.trim, squash=0.2)
        art.mark(0.5, 0.42, 0.06)
        return
    if art.form == "beanie":
        if art.pick(True, False):
            art.ball(0.5, 0.16, 0.09, art.trim)
        art.fill(
            smooth(
                [(0.2, 0.7), (0.22, 0.42), (0.36, 0.22), (0.5, 0.18), (0.64, 0.22), (0.78, 0.42), (0.8, 0.7)], steps=8
            ),
            art.body,
            bulge=0.2,
        )
        for x in range(-3, 4):
            art.line(
                [(0.5 + x * 0.07, 0.62), (0.5 + x * 0.075, 0.5), (0.5 + x * 0.05, 0.27)], 0.006, art.body.plain(0.75)
            )
        art.fill(
            smooth([(0.17, 0.6), (0.5, 0.64), (0.83, 0.6), (0.84, 0.78), (0.5, 0.84), (0.16, 0.78)], steps=5),
            art.trim,
            bulge=0.08,
        )
        art.mark(0.5, 0.73, 0.04, art.body.plain())
        return
    front = art.trim if art.form == "trucker" else art.body
    dome = [(0.14, 0.62), (0.16, 0.4), (0.3, 0.24), (0.48, 0.2), (0.64, 0.26), (0.74, 0.44), (0.75, 0.62), (0.5, 0.68)]
    art.fill(smooth(dome), art.body, bulge=0.22)
    art.fill(
        smooth([(0.44, 0.66), (0.4, 0.4), (0.48, 0.205), (0.64, 0.26), (0.74, 0.44), (0.752, 0.61)], steps=8),
        front,
        bulge=0.14,
    )
    art.line(smooth([(0.46, 0.21), (0.3, 0.36), (0.26, 0.64)], closed=False), 0.006, art.body.plain(0.7))
    brim = [
        (0.4, 0.64),
        (0.56, 0.58),
        (0.74, 0.57),
        (0.93, 0.68),
        (0.95, 0.74),
        (0.78, 0.7),
        (0.58, 0.71),
        (0.44, 0.73),
    ]
    art.fill(smooth(brim), art.trim if art.pick(True, False) else art.body.plain(0.92), bulge=0.06, tilt=(0.1, -0.3))
    art.disc(0.47, 0.205, 0.028, 0.016, art.trim.plain(), bulge=0.02)
    art.mark(0.58, 0.45, 0.075, art.body.plain() if art.form == "trucker" else None)


def sunglasses(art: Art) -> None:
    """Forms: round, aviator, square, cat-eye."""
    shapes: dict[str, list[Point]] = {
        "round": arc(0.28, 0.5, 0.17, 0.17),
        "aviator": smooth([(0.12, 0.38), (0.28, 0.36), (0.44, 0.39), (0.43, 0.56), (0.3, 0.67), (0.15, 0.6)]),
        "square": smooth([(0.1, 0.38), (0.28, 0.37), (0.455, 0.39), (0.44, 0.6), (0.28, 0.64), (0.13, 0.6)], steps=3),
        "cat-eye": smooth([(0.05, 0.34), (0.28, 0.4), (0.45, 0.43), (0.43, 0.56), (0.29, 0.63), (0.14, 0.56)]),
    }
    rim = shapes[art.form]
    cx, cy = sum(x for x, _ in rim) / len(rim), sum(y for _, y in rim) / len(rim)
    thin = 0.9 if art.form == "aviator" else art.vary(0.76, 0.82)
    lens = [(cx + (x - cx) * thin, cy + (y - cy) * thin) for x, y in rim]
    tint = Surface(art.pick((0.12, 0.12, 0.14), (0.3, 0.19, 0.1), COLOURS["navy"], art.trim.colour), FINISHES["glass"])
    for side in (False, True):
        temple: list[Point] = [(0.1, 0.4), (0.02, 0.36), (0.03, 0.3), (0.17, 0.26)]
        art.tube(
            smooth(flip(temple) if side else temple, closed=False),
            0.028,
            art.trim if art.trim != art.body else art.body,
        )
    bridges = {"aviator": (0.42, 0.4), "cat-eye": (0.46, 0.43), "round": (0.47, 0.43), "square": (0.44, 0.42)}
    y, top = bridges[art.form]
    art.tube(smooth([(0.42, y), (0.5, top - 0.035), (0.58, y)], closed=False), 0.03, art.body)
    if art.form == "aviator":
        art.tube([(0.4, 0.37), (0.6, 0.37)], 0.018, art.body)
    for mirrored in (False, True):
        outline, glass = (flip(rim), flip(lens)) if mirrored else (rim, lens)
        art.fill(glass, tint, bulge=0.1)
        art.fill(outline, art.body, bulge=0.035, holes=[glass])
        x = 0.5 + (cx - 0.5) * (-1 if mirrored else 1)
        art.fill(
            [(x - 0.07, cy - 0.06), (x - 0.02, cy - 0.08), (x - 0.08, cy + 0.06), (x - 0.1, cy + 0.05)],
            Surface((1.0, 1.0, 1.0), FINISHES["silicone"]),
            bulge=0.01,
        )


def umbrella(art: Art) -> None:
    """Forms: classic, dome, panelled, folded."""
    handle = art.pick(OAK, WALNUT, DARK)
    if art.form == "folded":
        art.tube([(0.5, 0.03), (0.5, 0.9)], 0.02, CHROME)
        art.fill(
            smooth(
                [
                    (0.49, 0.1),
                    (0.42, 0.3),
                    (0.39, 0.62),
                    (0.47, 0.72),
                    (0.53, 0.72),
                    (0.61, 0.62),
                    (0.58, 0.3),
                    (0.51, 0.1),
                ]
            ),
            art.body,
            bulge=0.12,
        )
        for x in (-0.05, 0.0, 0.05):
            art.line([(0.5 + x * 0.2, 0.12), (0.5 + x, 0.64)], 0.008, art.body.plain(0.7))
        art.fill(box(0.385, 0.5, 0.615, 0.54, 0.01), art.trim, bulge=0.02)
        art.tube(smooth([(0.5, 0.72), (0.5, 0.88), (0.44, 0.95), (0.38, 0.9)], closed=False), 0.045, handle)
        return
    top, edge = (0.1, 0.52) if art.form == "dome" else (0.12, 0.46)
    art.tube([(0.5, 0.05), (0.5, 0.86)], 0.02, CHROME)
    art.tube(smooth([(0.5, 0.8), (0.5, 0.9), (0.45, 0.95), (0.39, 0.93), (0.38, 0.87)], closed=False), 0.036, handle)
    ribs = [0.06, 0.2, 0.38, 0.62, 0.8, 0.94]
    dip = 0.02
    crown = smooth(
        [
            (0.06, edge),
            (0.13, edge * 0.62),
            (0.3, top + 0.05),
            (0.5, top),
            (0.7, top + 0.05),
            (0.87, edge * 0.62),
            (0.94, edge),
        ],
        closed=False,
    )
    scallops = [
        point
        for right, left in zip(ribs[:0:-1], ribs[-2::-1], strict=True)
        for point in arc((left + right) / 2, edge + dip, (right - left) / 2, 0.045, 0, -180, 8)
    ]
    art.fill([*crown, *scallops], art.body, bulge=0.24)
    if art.form == "panelled":
        for left, right in ((0.2, 0.38), (0.62, 0.8)):
            curve = arc((left + right) / 2, edge + dip, (right - left) / 2, 0.045, 180, 360, 8)
            art.fill(
                [
                    (0.5, top),
                    (left + (0.5 - left) * 0.3, edge * 0.6),
                    *curve,
                    (right + (0.5 - right) * 0.3, edge * 0.6),
                ],
                art.trim,
                bulge=0.14,
            )
    for rib in ribs[1:-1]:
        art.line(
            smooth([(0.5, top + 0.01), (rib + (0.5 - rib) * 0.32, edge * 0.6), (rib, edge + 0.02)], closed=False),
            0.007,
            art.body.plain(0.7),
        )
    art.line([*arc(0.5, edge + dip, 0.12, 0.045, 180, 360, 8)], 0.012, art.trim.plain())
