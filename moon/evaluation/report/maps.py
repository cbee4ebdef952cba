"""Heat maps and scatter plots as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moon.evaluation.report.drawing import WIDTH, chart, label, scale, text
from moon.evaluation.report.html import Child, Html, el

COLOURS: Final = 8
"""Categories of a scatter plot that have a colour and a shape of their own; the others share one."""
_FEW: Final = 9
"""Columns of a heat map whose cells still have room for a number."""


def heat_chart(title: str, rows: Mapping[str, Sequence[float]], columns: Sequence[str], column_name: str) -> Html:
    """Shares in [0, 1] as cells, darker where greater.

    Args:
        title: what the chart shows.
        rows: label -> a share for each column.
        columns: their labels.
        column_name: what a column is.
    """
    left, top, height = 72, 4, 30
    width = (WIDTH - left) / max(1, len(columns))
    bottom = top + height * len(rows)
    marks: list[Child] = []
    for number, (name, shares) in enumerate(rows.items()):
        y = top + height * number
        marks.append(label(0, y + height / 2 + 4, name, "label", 11))
        for column, share in enumerate(shares):
            x = left + width * column
            words = el("title", f"{name}, {column_name} {columns[column]}: {share:.1%}")
            size = {"x": x + 1, "y": y + 1.0, "width": width - 2, "height": height - 2.0}
            marks.append(el("rect", words, **size, rx=3, fill_opacity=0.06 + 0.94 * share, class_="cell"))
            if len(columns) <= _FEW:
                style = "cell-text strong" if share > 0.55 else "cell-text"
                marks.append(text(x + width / 2, y + height / 2 + 4, f"{100 * share:.0f}", style))
    every = max(1, len(columns) // 16)
    marks += [
        text(left + width * (column + 0.5), bottom + 15, name, "tick middle")
        for column, name in enumerate(columns)
        if column % every == 0
    ]
    marks.append(text(left + (WIDTH - left) / 2, bottom + 31, column_name, "tick middle"))
    described = "; ".join(f"{name}: " + ", ".join(f"{share:.0%}" for share in shares) for name, shares in rows.items())
    return chart(title, bottom + 36, marks, described)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One thing on a scatter plot."""

    x: float
    y: float
    group: int
    """Its colour and shape; `COLOURS` for the rest."""
    faint: bool
    title: str


def scatter_chart(title: str, points: Sequence[Point], described: str) -> Html:
    """Points in the plane, both axes on one scale; faint ones lie under the others."""
    height, edge = 300, 10
    if not points:
        return chart(title, 36, [text(0, 22, "nothing to show", "tick")])
    xs, ys = [point.x for point in points], [point.y for point in points]
    unit = max((max(xs) - min(xs)) / (WIDTH - 2 * edge), (max(ys) - min(ys)) / (height - 2 * edge)) or 1.0
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    half_x, half_y = unit * (WIDTH / 2 - edge), unit * (height / 2 - edge)
    x = scale(middle_x - half_x, middle_x + half_x, edge, WIDTH - edge)
    y = scale(middle_y - half_y, middle_y + half_y, height - edge, edge)
    ordered = sorted(points, key=lambda point: not point.faint)
    return chart(title, height, [_mark(x(point.x), y(point.y), point) for point in ordered], described)


def key(names: Sequence[str], rest: str | None) -> Html:
    """The colours and shapes of a scatter plot."""
    entries = [(number, name) for number, name in enumerate(names)] + ([(COLOURS, rest)] if rest else [])
    return el("p", [el("span", _swatch(number), name) for number, name in entries], class_="legend")


def _mark(x: float, y: float, point: Point) -> Html:
    style = f"point c{point.group}{' faint' if point.faint else ''}"
    size = 2.6 if point.faint else 4.2
    place = f"translate({x:g} {y:g})"
    return el("path", el("title", point.title), d=_shape(point.group, size), transform=place, class_=style)


def _shape(group: int, r: float) -> str:
    """Circle, square, triangle or diamond by turns, of about one area."""
    kind, s = group % 4, round(0.9 * r, 2)
    if kind == 0:
        return f"M{-r:g} 0a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
    if kind == 1:
        return f"M{-s:g} {-s:g}h{2 * s:g}v{2 * s:g}h{-2 * s:g}z"
    if kind == 2:
        return f"M0 {-1.3 * r:g}L{1.2 * r:g} {0.8 * r:g}H{-1.2 * r:g}z"
    return f"M0 {-1.3 * r:g}L{1.3 * r:g} 0L0 {1.3 * r:g}L{-1.3 * r:g} 0z"


def _swatch(group: int) -> Html:
    mark = el("path", d=_shape(group, 4.5), class_=f"point c{group}")
    return el("svg", mark, viewBox="-7 -7 14 14", class_="shape", aria_hidden="true")
