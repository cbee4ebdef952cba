"""How shoes, bags and watches are drawn."""

from __future__ import annotations

import math

from moon.catalog.render.art import Art, Point, arc, box, flip, smooth
from moon.catalog.render.materials import BRASS, CHROME, DARK, FINISHES, LIGHT, RUBBER, Surface


def sneaker(art: Art) -> None:
    """Forms: runner, low-top, high-top, slip-on."""
    sole = art.pick(LIGHT, LIGHT, art.trim.plain(), RUBBER)
    collar = 0.22 if art.form == "high-top" else art.vary(0.36, 0.4)
    upper = [
        (0.07, 0.7),
        (0.08, 0.52),
        (0.1, collar + 0.02),
        (0.2, collar - 0.02),
        (0.36, collar - (0.06 if art.form == "slip-on" else 0.0)),
        (0.46, 0.45),
        (0.62, 0.55),
        (0.82, 0.6),
        (0.93, 0.68),
        (0.93, 0.75),
        (0.5, 0.76),
    ]
    art.fill(
        smooth(
            [
                (0.14, collar + 0.02),
                (0.25, collar - 0.05),
                (0.38, collar - 0.03),
                (0.4, collar + 0.06),
                (0.25, collar + 0.06),
            ]
        ),
        art.body.plain(0.5),
        bulge=-0.04,
    )
    if art.form != "slip-on":
        art.fill(
            smooth([(0.32, collar - 0.01), (0.36, collar - 0.09), (0.43, collar - 0.04), (0.54, 0.5), (0.42, 0.52)]),
            art.trim,
            bulge=0.04,
        )
    art.fill(smooth(upper), art.body, bulge=0.12)
    art.fill(
        smooth([(0.76, 0.6), (0.9, 0.65), (0.945, 0.74), (0.78, 0.75), (0.72, 0.68)]),
        sole if art.form == "high-top" else art.trim,
        bulge=0.07,
    )
    art.fill(
        smooth([(0.07, 0.7), (0.075, 0.52), (0.12, 0.5), (0.2, 0.6), (0.2, 0.74), (0.08, 0.74)]), art.trim, bulge=0.05
    )
    if art.form == "slip-on":
        art.fill(
            smooth([(0.36, collar + 0.0), (0.46, 0.46), (0.44, 0.58), (0.34, 0.56)]), art.trim.plain(0.7), bulge=0.03
        )
    else:
        lace = LIGHT if art.pick(True, False) else art.trim.plain()
        start = collar + 0.03
        for step in range(5):
            t = step / 4
            x, y = 0.36 + 0.2 * t, start + (0.53 - start) * t
            art.tube([(x - 0.035, y + 0.05), (x + 0.05, y - 0.015)], 0.022, lace)
    thick = art.vary(0.1, 0.13) if art.form == "runner" else 0.09
    heel = 0.73
    art.fill(
        smooth(
            [
                (0.05, heel),
                (0.3, heel + 0.005),
                (0.6, heel + 0.01),
                (0.95, heel - 0.02),
                (0.97, heel + 0.03),
                (0.9, heel + thick),
                (0.5, heel + thick),
                (0.07, heel + thick + (0.01 if art.form == "runner" else 0)),
                (0.035, heel + 0.05),
            ],
            steps=5,
        ),
        sole,
        bulge=0.05,
    )
    art.line([(0.06, heel + thick - 0.03), (0.92, heel + thick - 0.035)], 0.012, art.trim.plain(0.9))
    if art.form in ("runner", "low-top"):
        art.fill(
            smooth([(0.27, 0.7), (0.34, 0.56), (0.42, 0.56), (0.56, 0.7), (0.44, 0.64)]), art.trim.plain(), bulge=0.02
        )
    art.mark(0.27, 0.58, 0.055)


def boot(art: Art) -> None:
    """Forms: chelsea, lace-up, wellington, ankle."""
    top = {"wellington": 0.08, "lace-up": 0.16, "chelsea": 0.26, "ankle": 0.36}[art.form]
    sole = art.pick(RUBBER, Surface((0.55, 0.38, 0.22), FINISHES["rubber"]))
    shaft = [
        (0.2, top),
        (0.52, top),
        (0.52, 0.46),
        (0.6, 0.58),
        (0.8, 0.64),
        (0.9, 0.74),
        (0.9, 0.84),
        (0.2, 0.84),
        (0.18, 0.6),
    ]
    art.fill(smooth(shaft, steps=5), art.body, bulge=0.14)
    art.fill(arc(0.36, top + 0.005, 0.158, 0.035), art.body.plain(0.4), bulge=-0.02)
    if art.form == "chelsea":
        art.fill([(0.3, top + 0.05), (0.44, top + 0.05), (0.4, 0.6), (0.34, 0.6)], art.trim.plain(0.8), bulge=0.03)
        art.tube(arc(0.2, top + 0.02, 0.03, 0.06, 90, 300), 0.02, art.trim.plain())
    elif art.form == "wellington":
        art.fill(box(0.195, top + 0.02, 0.525, top + 0.09, 0.01), art.trim, bulge=0.03)
    else:
        art.fill(
            smooth([(0.42, top + 0.02), (0.55, top), (0.56, 0.46), (0.7, 0.6), (0.6, 0.66), (0.46, 0.52)]),
            art.body.plain(0.72),
            bulge=0.04,
        )
        for step in range(6 if art.form == "lace-up" else 4):
            y = top + 0.06 + step * 0.075
            x = 0.46 + max(0.0, y - 0.44) * 0.8
            art.tube([(x, y + 0.02), (x + 0.11, y)], 0.018, art.trim.plain())
            art.disc(x, y + 0.02, 0.013, 0.013, BRASS, bulge=0.01)
    art.fill(
        smooth([(0.72, 0.62), (0.88, 0.7), (0.915, 0.84), (0.7, 0.84), (0.66, 0.72)]), art.body.plain(0.9), bulge=0.08
    )
    art.fill([(0.17, 0.83), (0.92, 0.83), (0.93, 0.88), (0.42, 0.89), (0.4, 0.93), (0.17, 0.93)], sole, bulge=0.03)
    art.mark(0.3 if art.form != "chelsea" else 0.26, 0.7, 0.045)


def watch(art: Art) -> None:
    """Forms: dress, diver, square, chronograph."""
    radius, strap = art.vary(0.19, 0.22), art.vary(0.105, 0.125)
    case = art.pick(CHROME, BRASS, DARK)
    for top, bottom, tip in ((0.02, 0.36, 0.8), (0.64, 0.98, 0.8)):
        narrow = strap * tip
        upper, lower = (narrow, strap) if top < 0.5 else (strap, narrow)
        art.fill(
            [(0.5 - upper, top), (0.5 + upper, top), (0.5 + lower, bottom), (0.5 - lower, bottom)], art.body, bulge=0.06
        )
        for side in (-0.82, 0.82):
            art.line(
                [(0.5 + upper * side, top + 0.01), (0.5 + lower * side, bottom - 0.01)], 0.006, art.body.plain(0.7)
            )
    for hole in range(4):
        art.disc(0.5, 0.78 + hole * 0.045, 0.011, 0.011, DARK, bulge=0.01)
    art.fill(
        box(0.5 - strap - 0.015, 0.05, 0.5 + strap + 0.015, 0.12, 0.02),
        case,
        bulge=0.02,
        holes=[box(0.5 - strap + 0.015, 0.07, 0.5 + strap - 0.015, 0.1)],
    )
    art.tube([(0.5 + radius, 0.5), (0.5 + radius + 0.03, 0.5)], 0.04, case)
    if art.form == "chronograph":
        for y in (0.42, 0.58):
            art.tube([(0.5 + radius * 0.9, y), (0.5 + radius + 0.02, y + (0.5 - y) * -0.2)], 0.03, case)
    rim = (
        box(0.5 - radius, 0.5 - radius * 1.1, 0.5 + radius, 0.5 + radius * 1.1, 0.05)
        if art.form == "square"
        else arc(0.5, 0.5, radius, radius)
    )
    art.fill(rim, case, bulge=0.05)
    share = 0.72 if art.form == "diver" else 0.86
    if art.form == "diver":
        art.ring(0.5, 0.5, radius * 0.97, radius * 0.97, radius * 0.24, art.trim.plain())
    face = LIGHT if art.form == "dress" else art.pick(DARK, LIGHT, art.trim.plain())
    art.fill([(0.5 + (x - 0.5) * share, 0.5 + (y - 0.5) * share) for x, y in rim], face, bulge=-0.02)
    ink = LIGHT if sum(face.colour) < 1.3 else DARK
    if art.form == "chronograph":
        for dx, dy in ((-0.4, 0), (0.4, 0), (0, 0.42)):
            art.ring(0.5 + dx * radius, 0.5 + dy * radius, radius * 0.2, radius * 0.2, 0.008, ink)
    for tick in range(12):
        x, y = math.cos(math.radians(tick * 30)), math.sin(math.radians(tick * 30))
        outer = radius * share * 0.92
        art.line([(0.5 + outer * 0.82 * x, 0.5 + outer * 0.82 * y), (0.5 + outer * x, 0.5 + outer * y)], 0.01, ink)
    for length, width, turn in ((0.42, 0.016, 215.0), (0.62, 0.012, 305.0)):
        x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        art.line([(0.5, 0.5), (0.5 + length * radius * x, 0.5 + length * radius * y)], width, ink)
    art.mark(0.5, 0.5 - radius * 0.36, 0.026, ink)


def backpack(art: Art) -> None:
    """Forms: daypack, rolltop, school, mini."""
    wide = art.vary(0.26, 0.3) if art.form != "mini" else 0.24
    top = {"daypack": 0.14, "rolltop": 0.2, "school": 0.16, "mini": 0.28}[art.form]
    for side in (False, True):
        strap: list[Point] = [
            (0.5 - wide + 0.06, top + 0.06),
            (0.5 - wide - 0.07, top + 0.26),
            (0.5 - wide - 0.02, 0.8),
        ]
        art.tube(smooth(flip(strap) if side else strap, closed=False), 0.055, art.trim.plain(0.85))
    art.tube(arc(0.5, top + 0.02, 0.08, 0.08, 180, 360), 0.032, art.trim.plain())
    crown = 0.05 if art.form in ("rolltop", "school") else 0.17
    art.fill(box(0.5 - wide, top, 0.5 + wide, 0.93, crown), art.body, bulge=0.13)
    if art.form == "rolltop":
        art.fill(box(0.49 - wide, top - 0.06, 0.51 + wide, top + 0.05, 0.05), art.body.plain(0.92), bulge=0.07)
        art.line([(0.5, top - 0.05), (0.5, 0.52)], 0.04, art.trim.plain())
        art.fill(box(0.46, 0.38, 0.54, 0.45, 0.01), CHROME, bulge=0.02)
    elif art.form == "school":
        art.fill(
            smooth(
                [(0.5 - wide, top), (0.5 + wide, top), (0.51 + wide, 0.42), (0.5, 0.5), (0.49 - wide, 0.42)], steps=4
            ),
            art.body,
            bulge=0.08,
        )
        for x in (0.38, 0.62):
            art.line([(x, 0.36), (x, 0.56)], 0.04, art.trim.plain())
            art.fill(box(x - 0.03, 0.5, x + 0.03, 0.55, 0.01), BRASS, bulge=0.02)
    else:
        art.line(arc(0.5, 0.36, wide * 0.84, (0.36 - top) * 0.8, 180, 360), 0.016, art.trim.plain(0.9))
        art.tube([(0.5 + wide * 0.8, 0.36), (0.5 + wide * 0.82, 0.43)], 0.018, CHROME)
    pocket = art.trim if art.pick(True, False) else art.body.plain(0.94)
    art.fill(box(0.52 - wide, 0.6, 0.48 + wide, 0.89, 0.07), pocket, bulge=0.09)
    art.line([(0.55 - wide, 0.66), (0.45 + wide, 0.66)], 0.014, DARK)
    art.mark(0.5, 0.77, 0.06, art.body.plain() if pocket is art.trim else None)


def handbag(art: Art) -> None:
    """Forms: tote, satchel, bucket bag, clutch."""
    metal = art.pick(BRASS, CHROME)
    if art.form == "tote":
        art.tube(
            smooth([(0.33, 0.45), (0.36, 0.1), (0.5, 0.05), (0.64, 0.1), (0.67, 0.45)], closed=False),
            0.035,
            art.trim.plain(0.8),
        )
        art.fill([(0.12, 0.36), (0.88, 0.36), (0.82, 0.93), (0.18, 0.93)], art.body, bulge=0.08)
        art.fill([(0.12, 0.36), (0.88, 0.36), (0.87, 0.42), (0.13, 0.42)], art.trim, bulge=0.02)
        art.tube(
            smooth([(0.33, 0.44), (0.35, 0.18), (0.5, 0.11), (0.65, 0.18), (0.67, 0.44)], closed=False),
            0.035,
            art.trim.plain(),
        )
        art.mark(0.5, 0.66, 0.09)
        return
    if art.form == "clutch":
        art.tube(smooth([(0.12, 0.4), (0.05, 0.66), (0.16, 0.86), (0.26, 0.82)], closed=False), 0.02, metal)
        art.fill(box(0.1, 0.34, 0.9, 0.76, 0.05), art.body, bulge=0.08)
        art.fill([(0.1, 0.34), (0.9, 0.34), (0.5, 0.62)], art.body, bulge=0.05)
        art.line([(0.1, 0.35), (0.5, 0.625), (0.9, 0.35)], 0.014, art.trim.plain())
        art.disc(0.5, 0.61, 0.035, 0.035, metal, bulge=0.03)
        return
    if art.form == "bucket bag":
        art.tube(
            smooth([(0.28, 0.4), (0.3, 0.12), (0.5, 0.04), (0.7, 0.12), (0.72, 0.4)], closed=False),
            0.03,
            art.trim.plain(),
        )
        art.turned([(0.36, 0.22), (0.44, 0.27), (0.9, 0.29)], art.body, squash=0.1)
        art.opening(0.36, 0.22, art.trim, squash=0.14)
        art.turned([(0.83, 0.288), (0.9, 0.295)], art.trim, squash=0.1)
        art.line([(0.44, 0.45), (0.4, 0.62)], 0.014, art.trim.plain())
        art.line([(0.52, 0.45), (0.55, 0.62)], 0.014, art.trim.plain())
        art.mark(0.5, 0.7, 0.06)
        return
    art.tube(arc(0.5, 0.33, 0.15, 0.17, 180, 360), 0.04, art.trim.plain())
    art.fill(box(0.12, 0.3, 0.88, 0.86, 0.09), art.body, bulge=0.1)
    art.fill(
        smooth([(0.12, 0.3), (0.5, 0.28), (0.88, 0.3), (0.88, 0.52), (0.5, 0.64), (0.12, 0.52)], steps=4),
        art.body,
        bulge=0.06,
    )
    for x in (0.28, 0.72):
        art.line([(x, 0.34), (x, 0.68)], 0.035, art.trim.plain())
        art.fill(box(x - 0.03, 0.58, x + 0.03, 0.65, 0.01), metal, bulge=0.02)
    art.mark(0.5, 0.47, 0.06)
