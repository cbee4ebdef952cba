"""What the charts are drawn with. A chart is 360 units wide, so that on a phone its text keeps about its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from moon.evaluation.report.html import Child, Html, cut, el

WIDTH: Final = 360
Scale = Callable[[float], float]


def chart(title: str, height: float, marks: Sequence[Child], described: str = "") -> Html:
    """A titled drawing; ``described`` says in words what it shows, for those who do not see it."""
    drawing = el(
        "svg",
        el("title", f"{title}. {described}" if described else title),
        marks,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        class_="chart",
    )
    return el("figure", el("figcaption", title), drawing)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    """A straight line."""
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def text(x: float, y: float, words: str, style: str) -> Html:
    """Words on their base line."""
    return el("text", words, x=x, y=y, class_=style)


def label(x: float, y: float, words: str, style: str, letters: int) -> Html:
    """Words cut to a number of letters; whole when pointed at."""
    shown = cut(words, letters)
    return el("text", shown, el("title", cut(words)) if shown != words else None, x=x, y=y, class_=style)


def polyline(points: Sequence[tuple[float, float]], style: str) -> Html:
    """A line through points."""
    return el("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points), class_=f"curve {style}")


def scale(low: float, high: float, start: float, end: float, log: bool = False) -> Scale:
    """Maps ``low`` to ``start`` and ``high`` to ``end``, values beyond to the nearer of the two."""
    first, last = (math.log(low), math.log(high)) if log else (low, high)

    def place(value: float) -> float:
        share = ((math.log(value) if log else value) - first) / ((last - first) or 1.0)
        return round(start + (end - start) * min(max(share, 0.0), 1.0), 1)

    return place


def vertical_grid(x: Scale, ticks: Sequence[float], top: float, bottom: float) -> list[Child]:
    """Lines and numbers under them."""
    return [
        [line(x(tick), top, x(tick), bottom, "grid"), text(x(tick), bottom + 16, f"{tick:g}", "tick middle")]
        for tick in ticks
    ]


def horizontal_grid(y: Scale, ticks: Sequence[float], left: float, right: float) -> list[Child]:
    """Lines and numbers to the left of them."""
    return [
        [line(left, y(tick), right, y(tick), "grid"), text(left - 7, y(tick) + 4, f"{tick:g}", "tick end")]
        for tick in ticks
    ]


def nice_limit(value: float) -> float:
    """A round end of an axis of shares."""
    return next((limit for limit in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if value <= limit), 1.0)


def round_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers inside the range."""
    if high <= low:
        high = low + 1.0
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if raw <= factor * power * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
