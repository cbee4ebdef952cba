"""Charts as inline SVG. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moon.evaluation.report.drawing import (
    WIDTH,
    chart,
    horizontal_grid,
    label,
    line,
    nice_limit,
    polyline,
    round_ticks,
    scale,
    text,
    vertical_grid,
)
from moon.evaluation.report.html import Child, Html, cut, el

_LABELS = 112
"""Width of the labels to the left of a chart's rows, and the letters that fit into it."""
_LETTERS = 15


@dataclass(frozen=True, kw_only=True)
class Span:
    """A value with its interval, drawn as a dot on a line."""

    value: float
    low: float
    high: float
    style: str
    """Class that colours it: trained or untrained."""


@dataclass(frozen=True, kw_only=True)
class SpanRow:
    """One row of an interval chart; no spans when there is nothing to show."""

    label: str
    spans: Sequence[Span]
    mark: float | None = None
    """A reference value, drawn as a small tick."""
    detail: str = ""
    """A quieter word under the label."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a bar chart."""

    label: str
    value: float
    text: str
    tone: str
    """good, warn, bad or plain."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a line chart."""

    xs: Sequence[float]
    ys: Sequence[float]
    style: str
    """Class that colours it: trained, untrained, chance, or raw for what a smooth line is made of."""


def interval_chart(title: str, rows: Sequence[SpanRow]) -> Html:
    """Dots with their intervals, one row a label, spans of a row above each other."""
    row_height, right, top = 44 if any(row.detail for row in rows) else 38, 38, 6
    shown = [span.high for row in rows for span in row.spans] + [row.mark for row in rows if row.mark is not None]
    limit = nice_limit(max(shown, default=1.0))
    bottom = top + row_height * len(rows)
    x = scale(0, limit, _LABELS, WIDTH - right)
    marks: list[Child] = [vertical_grid(x, round_ticks(0, limit), top, bottom)]
    for number, row in enumerate(rows):
        middle = top + row_height * (number + 0.5)
        if number:
            marks.append(line(0, top + row_height * number, WIDTH, top + row_height * number, "grid"))
        marks.append(label(0, middle + (-2 if row.detail else 4), row.label, "label", _LETTERS))
        if row.detail:
            marks.append(text(0, middle + 13, row.detail, "tick"))
        if not row.spans:
            marks.append(text(_LABELS + 8, middle + 4, "no such queries", "tick"))
        if row.mark is not None:
            marks.append(line(x(row.mark), middle - 14, x(row.mark), middle + 14, "mark"))
        for place, span in enumerate(row.spans):
            y = middle + 15 * (place - (len(row.spans) - 1) / 2)
            marks += [
                line(x(span.low), y, x(span.high), y, f"whisker {span.style}"),
                el("circle", cx=x(span.value), cy=y, r=4.0, class_=f"dot {span.style}"),
                text(x(span.high) + 7, y + 4, f"{span.value:.2f}", f"value {span.style}"),
            ]
    return chart(title, bottom + 22, marks, "; ".join(_words(row) for row in rows if row.spans))


def _words(row: SpanRow) -> str:
    spans = (f"{span.style} {span.value:.3f} [{span.low:.3f}, {span.high:.3f}]" for span in row.spans)
    return f"{cut(row.label, 40)}: {', '.join(spans)}"


def line_chart(
    title: str, curves: Sequence[Curve], x_name: str, top: float | None = None, log: bool = False, described: str = ""
) -> Html:
    """Curves over one axis.

    Args:
        title: what the chart shows.
        curves: a curve without points is left out.
        x_name: what the axis counts.
        top: end of the vertical axis; None takes it from the curves.
        log: whether the horizontal axis is logarithmic.
        described: what it shows in words.
    """
    height, left, right, above, below = 210, 38, 12, 10, 38
    curves = [curve for curve in curves if len(curve.ys)]
    if not curves:
        return chart(title, 36, [text(0, 22, "nothing was logged", "tick")])
    ys, xs = [y for curve in curves for y in curve.ys], [x for curve in curves for x in curve.xs]
    y_ticks = round_ticks(min(0.0, *ys), top if top is not None else max(ys))
    if top is None and y_ticks[-1] < max(ys):
        y_ticks.append(2 * y_ticks[-1] - y_ticks[-2])
    y = scale(min(0.0, *ys), y_ticks[-1] if top is None else top, height - below, above)
    x = scale(min(xs), max(xs), left, WIDTH - right, log)
    x_ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if min(xs) <= tick <= max(xs)] if log else []
    marks: list[Child] = [horizontal_grid(y, y_ticks, left, WIDTH - right)]
    marks += [
        text(x(tick), height - below + 16, f"{tick:g}", "tick middle")
        for tick in x_ticks or round_ticks(min(xs), max(xs))
    ]
    marks.append(text((left + WIDTH - right) / 2, height - 4, x_name, "tick middle"))
    for curve in curves:
        points = [(x(a), y(b)) for a, b in zip(curve.xs, curve.ys, strict=True)]
        marks.append(polyline(points, curve.style))
        if curve.style != "raw":
            marks.append(el("circle", cx=points[-1][0], cy=points[-1][1], r=3.0, class_=f"dot {curve.style}"))
    return chart(title, height, marks, described)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about an eighth of the values, corrected for its start."""
    keep = 1 - 1 / max(1, len(values) // 8)
    average, weight, result = 0.0, 0.0, []
    for value in values:
        average, weight = keep * average + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(average / weight)
    return result


def bar_chart(title: str, bars: Sequence[Bar], low: float, high: float, mark: tuple[float, str] | None = None) -> Html:
    """Horizontal bars from ``low``, with an optional named reference line."""
    right, top, row = 58, 24 if mark else 6, 30
    bottom = top + row * len(bars)
    x = scale(low, high, _LABELS, WIDTH - right)
    marks: list[Child] = [vertical_grid(x, round_ticks(low, high), top, bottom)]
    for number, bar in enumerate(bars):
        y = top + row * number
        end = max(x(bar.value), _LABELS + 2.0)
        marks += [
            label(0, y + row / 2 + 4, bar.label, "label", _LETTERS),
            el("rect", x=_LABELS, y=y + 7, width=end - _LABELS, height=row - 14, rx=3, class_=f"bar {bar.tone}"),
            text(end + 7, y + row / 2 + 4, bar.text, "value"),
        ]
    if mark:
        marks += [
            line(x(mark[0]), top - 4, x(mark[0]), bottom, "mark"),
            text(x(mark[0]), top - 9, mark[1], "tick middle"),
        ]
    return chart(title, bottom + 22, marks, "; ".join(f"{cut(bar.label, 40)}: {bar.text}" for bar in bars))


def legend(entries: Mapping[str, str]) -> Html:
    """Class of a swatch -> what it means."""
    return el(
        "p", [el("span", el("i", class_=f"swatch {style}"), text) for style, text in entries.items()], class_="legend"
    )
