"""How toys, instruments, devices and stationery are drawn."""

from __future__ import annotations

import math

from moon.catalog.render.art import Art, Point, arc, box, flip, smooth
from moon.catalog.render.materials import CHROME, DARK, FINISHES, LIGHT, PAPER, WALNUT, Surface


def headphones(art: Art) -> None:
    """Forms: over-ear, on-ear, studio, kids."""
    cup = {"over-ear": (0.13, 0.19), "on-ear": (0.11, 0.13), "studio": (0.15, 0.2), "kids": (0.12, 0.14)}[art.form]
    reach = 0.33 if art.form != "kids" else 0.3
    art.tube(arc(0.5, 0.5, reach, 0.4, 180, 360), 0.035, art.trim.plain())
    art.tube(arc(0.5, 0.5, reach, 0.4, 205, 335), art.vary(0.06, 0.09), art.body)
    pad = Surface((0.14, 0.14, 0.15), FINISHES["leather"]) if art.pick(True, True, False) else art.trim.plain(0.7)
    for side in (-1, 1):
        x = 0.5 + side * reach
        art.fill(box(x - 0.022, 0.36, x + 0.022, 0.56, 0.02), CHROME, bulge=0.03)
        art.disc(x - side * 0.05, 0.64, cup[0] * 0.72, cup[1], pad, bulge=0.09)
        art.disc(x + side * 0.02, 0.64, cup[0] * 0.8, cup[1] * 0.94, art.body, bulge=0.08)
        art.ring(x + side * 0.03, 0.64, cup[0] * 0.56, cup[1] * 0.68, 0.02, art.trim)
        art.mark(x + side * 0.03, 0.64, 0.045)
    if art.form == "studio":
        art.line(smooth([(0.2, 0.84), (0.24, 0.93), (0.4, 0.9), (0.6, 0.95), (0.7, 0.92)], closed=False), 0.016, DARK)


def notebook(art: Art) -> None:
    """Forms: hardcover, spiral, elastic, stapled."""
    sheet: list[Point] = [(0.22, 0.1), (0.84, 0.07), (0.88, 0.88), (0.24, 0.93)]
    art.fill([(x + 0.02, y + 0.025) for x, y in sheet], PAPER.plain(0.9), bulge=0.01)
    art.fill([(x + 0.012, y + 0.015) for x, y in sheet], PAPER, bulge=0.01)
    art.fill(sheet, art.body, bulge=0.03, tilt=(-0.05, -0.05))
    if art.form == "spiral":
        for step in range(14):
            y = 0.13 + step * 0.058
            art.disc(0.26, y + 0.004, 0.012, 0.012, DARK, bulge=0.01)
            art.tube(arc(0.215, y, 0.045, 0.02, 150, 390, 12), 0.011, CHROME)
    elif art.form == "stapled":
        art.line([(0.225, 0.1), (0.245, 0.93)], 0.012, art.body.plain(0.7))
        for y in (0.3, 0.7):
            art.line([(0.232, y), (0.234, y + 0.06)], 0.01, CHROME)
    else:
        art.fill(
            [(0.22, 0.1), (0.3, 0.096), (0.32, 0.924), (0.24, 0.93)],
            art.trim if art.form == "hardcover" else art.body.plain(0.86),
            bulge=0.02,
        )
    if art.form == "elastic":
        art.line([(0.77, 0.073), (0.81, 0.885)], 0.024, art.trim.plain())
        art.fill([(0.56, 0.9), (0.6, 0.9), (0.61, 0.97), (0.585, 0.955), (0.56, 0.97)], art.trim.plain(), bulge=0.01)
    label = art.pick(True, False)
    if label or art.body.tile is not None:
        art.fill(box(0.4, 0.3, 0.74, 0.48, 0.02), LIGHT, bulge=0.01)
        art.line([(0.44, 0.43), (0.7, 0.425)], 0.008, DARK)
        art.mark(0.57, 0.365, 0.035, DARK)
    else:
        art.mark(0.57, 0.46, 0.1)


def ball(art: Art) -> None:
    """Forms: football, basketball, beach, play."""
    radius = 0.42
    if art.form == "beach":
        art.ball(0.5, 0.5, radius, LIGHT)
        for panel, start in enumerate((-170, -110, -50, 10, 70, 130)):
            surface = art.body.plain() if panel % 2 == 0 else art.trim.plain()
            if panel % 3 == 2:
                continue
            bend = [(0.42, 0.4), *arc(0.5, 0.5, radius, radius, start, start + 60, 12)]
            art.fill(bend, surface, bulge=0.05)
        art.disc(0.42, 0.4, 0.06, 0.055, LIGHT, bulge=0.03)
        return
    art.ball(0.5, 0.5, radius, art.body, spin=art.vary(0, 1))
    ink = art.trim.plain()
    if art.form == "basketball":
        art.line(smooth([(0.08, 0.46), (0.5, 0.54), (0.92, 0.46)], closed=False), 0.016, ink)
        art.line(smooth([(0.46, 0.08), (0.54, 0.5), (0.46, 0.92)], closed=False), 0.016, ink)
        for side in (False, True):
            seam: list[Point] = [(0.24, 0.18), (0.36, 0.5), (0.24, 0.83)]
            art.line(smooth(flip(seam) if side else seam, closed=False), 0.016, ink)
        art.mark(0.63, 0.4, 0.05)
    elif art.form == "football":
        spots = [(0.48, 0.46, 0.13)] + [
            (0.48 + 0.33 * math.cos(math.radians(a)), 0.46 + 0.33 * math.sin(math.radians(a)), 0.1)
            for a in range(-90, 270, 72)
        ]
        for index, (x, y, size) in enumerate(spots):
            turn = -90 if index == 0 else 90
            art.fill(arc(x, y, size, size, turn, turn + 360, 5), ink, bulge=0.02)
            if index:
                art.line([(0.48 + (x - 0.48) * 0.38, 0.46 + (y - 0.46) * 0.38), (x, y)], 0.01, ink.plain(0.8))
    else:
        art.mark(0.47, 0.45, 0.17)


def teddy(art: Art) -> None:
    """Forms: bear, rabbit, cat, dog."""
    inner = art.trim.plain()
    ears: dict[str, list[Point]] = {
        "bear": arc(0.31, 0.15, 0.09, 0.09),
        "rabbit": smooth([(0.36, 0.24), (0.29, 0.04), (0.36, 0.01), (0.44, 0.2)]),
        "cat": smooth([(0.27, 0.26), (0.26, 0.06), (0.43, 0.16)], steps=4),
        "dog": smooth([(0.34, 0.16), (0.2, 0.22), (0.2, 0.42), (0.29, 0.4)]),
    }
    for side in (False, True):
        arm = smooth([(0.36, 0.52), (0.2, 0.58), (0.15, 0.7), (0.23, 0.74), (0.36, 0.66)])
        art.fill(flip(arm) if side else arm, art.body, bulge=0.1)
        if art.form != "dog":
            art.fill(flip(ears[art.form]) if side else ears[art.form], art.body, bulge=0.07)
    art.disc(0.5, 0.68, 0.21, 0.22, art.body, bulge=0.18)
    art.disc(0.5, 0.7, 0.12, 0.14, inner, bulge=0.1)
    for side in (False, True):
        leg = arc(0.3, 0.85, 0.13, 0.11)
        foot = arc(0.27, 0.87, 0.065, 0.06)
        art.fill(flip(leg) if side else leg, art.body, bulge=0.1)
        art.fill(flip(foot) if side else foot, inner, bulge=0.04)
    art.disc(0.5, 0.3, 0.22, 0.2, art.body, bulge=0.18)
    if art.form == "dog":
        for side in (False, True):
            art.fill(flip(ears["dog"]) if side else ears["dog"], inner, bulge=0.06)
    art.disc(0.5, 0.36, 0.1, 0.08, inner, bulge=0.07)
    for x in (0.41, 0.59):
        art.ball(x, 0.27, 0.024, DARK)
    art.disc(0.5, 0.33, 0.032, 0.023, DARK, bulge=0.02)
    art.line(arc(0.5, 0.365, 0.04, 0.03, 150, 30), 0.01, DARK)
    if art.pick(True, False):
        for side in (False, True):
            bow: list[Point] = [(0.5, 0.49), (0.39, 0.44), (0.39, 0.55)]
            art.fill(smooth(flip(bow) if side else bow), art.trim.plain(0.8), bulge=0.03)


def guitar(art: Art) -> None:
    """Forms: acoustic, ukulele, electric, cutaway."""
    neck = WALNUT.plain(0.8)
    top = 0.2 if art.form == "ukulele" else 0.06
    art.fill([(0.475, top + 0.08), (0.525, top + 0.08), (0.53, 0.62), (0.47, 0.62)], neck, bulge=0.03)
    if art.form == "electric":
        shape: list[Point] = [
            (0.4, 0.5),
            (0.27, 0.44),
            (0.3, 0.6),
            (0.22, 0.82),
            (0.36, 0.96),
            (0.5, 0.93),
            (0.64, 0.96),
            (0.78, 0.82),
            (0.68, 0.62),
            (0.72, 0.46),
            (0.59, 0.55),
            (0.5, 0.58),
        ]
    else:
        left: list[Point] = [
            (0.43, 0.45),
            (0.35, 0.48),
            (0.34, 0.57),
            (0.36, 0.64),
            (0.29, 0.74),
            (0.29, 0.87),
            (0.4, 0.96),
            (0.5, 0.965),
        ]
        right = flip(left[:-1])[::-1]
        if art.form == "cutaway":
            right = [*right[:-2], (0.62, 0.55), (0.56, 0.57)]
        shape = [*left, *right]
    art.fill(smooth(shape), art.body, bulge=0.05)
    if art.form == "electric":
        art.fill(
            smooth([(0.42, 0.6), (0.56, 0.62), (0.62, 0.8), (0.5, 0.88), (0.38, 0.8)]), art.trim.plain(), bulge=0.02
        )
        for y in (0.66, 0.74):
            art.fill(box(0.44, y, 0.56, y + 0.03, 0.01), DARK, bulge=0.01)
    else:
        art.disc(0.5, 0.64, 0.068, 0.068, art.trim.plain(), bulge=0.01)
        art.disc(0.5, 0.64, 0.056, 0.056, DARK, bulge=-0.03)
        art.mark(0.4, 0.84, 0.03)
    art.fill([(0.472, top + 0.08), (0.528, top + 0.08), (0.53, 0.6), (0.47, 0.6)], neck, bulge=0.03)
    for fret in range(9):
        y = top + 0.12 + fret * (0.42 - top) / 7
        art.line([(0.472, y), (0.528, y)], 0.005, CHROME)
    art.fill(box(0.42, 0.83, 0.58, 0.855, 0.01), neck, bulge=0.02)
    art.fill(
        smooth([(0.46, top), (0.54, top), (0.535, top + 0.09), (0.465, top + 0.09)], steps=3),
        art.trim.plain(),
        bulge=0.03,
    )
    for y in (top + 0.02, top + 0.055):
        for x in (0.435, 0.565):
            art.disc(x, y, 0.016, 0.012, CHROME, bulge=0.02)
    for string in range(4):
        x = 0.485 + string * 0.01
        art.line([(x, top + 0.06), (x, 0.84)], 0.003, LIGHT)
