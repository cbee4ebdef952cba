"""Charts as inline SVG. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moon.evaluation.report.html import Child, Html, el

_ROW = 50


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


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a bar chart."""

    label: str
    value: float
    text: str
    tone: str
    """good, warn, bad or plain."""


def interval_chart(title: str, rows: Sequence[SpanRow]) -> Html:
    """Dots with their intervals, one row a label, spans of a row above each other."""
    width, left, right, top = 560, 132, 46, 8
    shown = [span.high for row in rows for span in row.spans] + [row.mark for row in rows if row.mark is not None]
    limit = _nice_limit(max(shown, default=1.0))
    bottom = top + _ROW * len(rows)

    def x(value: float) -> float:
        return round(left + (width - left - right) * min(value / limit, 1.0), 1)

    marks: list[Child] = [_vertical_grid(x, _ticks(0, limit), top, bottom)]
    for number, row in enumerate(rows):
        middle = top + _ROW * (number + 0.5)
        if number:
            marks.append(_line(0, top + _ROW * number, width, top + _ROW * number, "grid"))
        marks.append(_text(left - 12, middle + 4, row.label, "label end"))
        if not row.spans:
            marks.append(_text(left + 8, middle + 4, "no such queries", "tick"))
        if row.mark is not None:
            marks.append(_line(x(row.mark), middle - 19, x(row.mark), middle + 19, "mark"))
        for place, span in enumerate(row.spans):
            y = middle + 16 * (place - (len(row.spans) - 1) / 2)
            marks += [
                _line(x(span.low), y, x(span.high), y, f"whisker {span.style}"),
                el("circle", cx=x(span.value), cy=y, r=4.5, class_=f"dot {span.style}"),
                _text(x(span.high) + 8, y + 4, f"{span.value:.2f}", f"value {span.style}"),
            ]
    return _chart(title, width, bottom + 24, marks)


def line_chart(title: str, xs: Sequence[float], ys: Sequence[float], x_name: str) -> Html:
    """A curve: the raw values faint, their moving average over about an eighth of them strong."""
    width, height, left, right, top, below = 560, 250, 46, 14, 10, 40
    if not ys:
        return _chart(title, width, 40, [_text(left, 24, "nothing was logged", "tick")])
    y_ticks = _ticks(min(0.0, *ys), max(ys))
    if y_ticks[-1] < max(ys):
        y_ticks.append(2 * y_ticks[-1] - y_ticks[-2])
    y_low, y_high = min(0.0, *ys), y_ticks[-1]
    x_low, x_high = min(xs), max(xs)

    def x(value: float) -> float:
        return round(left + (width - left - right) * (value - x_low) / ((x_high - x_low) or 1.0), 1)

    def y(value: float) -> float:
        return round(height - below - (height - below - top) * (value - y_low) / ((y_high - y_low) or 1.0), 1)

    grid = [
        [_line(left, y(tick), width - right, y(tick), "grid"), _text(left - 8, y(tick) + 4, f"{tick:g}", "tick end")]
        for tick in y_ticks
    ]
    x_labels = [
        _text(x(tick), height - below + 18, f"{tick:g}", "tick middle")
        for tick in _ticks(x_low, x_high)
        if tick >= x_low
    ]
    average = _moving_average(ys, keep=1 - 1 / max(1, len(ys) // 8))
    return _chart(
        title,
        width,
        height,
        [
            grid,
            x_labels,
            _text((left + width - right) / 2, height - 4, x_name, "tick middle"),
            _curve([(x(a), y(b)) for a, b in zip(xs, ys, strict=True)], "raw"),
            _curve([(x(a), y(b)) for a, b in zip(xs, average, strict=True)], "smooth"),
            el("circle", cx=x(xs[-1]), cy=y(average[-1]), r=4.0, class_="dot trained"),
        ],
    )


def bar_chart(title: str, bars: Sequence[Bar], low: float, high: float, mark: tuple[float, str] | None = None) -> Html:
    """Horizontal bars from ``low``, with an optional named reference line."""
    width, left, right, top = 560, 150, 84, 24 if mark else 8
    row = 34
    bottom = top + row * len(bars)

    def x(value: float) -> float:
        share = (min(max(value, low), high) - low) / ((high - low) or 1.0)
        return round(left + (width - left - right) * share, 1)

    marks: list[Child] = [_vertical_grid(x, _ticks(low, high), top, bottom)]
    for number, bar in enumerate(bars):
        y = top + row * number
        end = max(x(bar.value), left + 2.0)
        marks += [
            _text(left - 12, y + row / 2 + 4, bar.label, "label end"),
            el("rect", x=left, y=y + 8, width=end - left, height=row - 16, rx=3, class_=f"bar {bar.tone}"),
            _text(end + 8, y + row / 2 + 4, bar.text, "value"),
        ]
    if mark:
        marks += [
            _line(x(mark[0]), top - 4, x(mark[0]), bottom, "mark"),
            _text(x(mark[0]), top - 9, mark[1], "tick middle"),
        ]
    return _chart(title, width, bottom + 24, marks)


def legend(entries: Mapping[str, str]) -> Html:
    """Class of a swatch -> what it means."""
    return el(
        "p", [el("span", el("i", class_=f"swatch {style}"), text) for style, text in entries.items()], class_="legend"
    )


def _chart(title: str, width: float, height: float, marks: Sequence[Child]) -> Html:
    drawing = el("svg", el("title", title), marks, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="chart")
    return el("figure", el("figcaption", title), drawing)


def _vertical_grid(x: object, ticks: Sequence[float], top: float, bottom: float) -> list[Html]:
    assert callable(x)
    lines = [_line(x(tick), top, x(tick), bottom, "grid") for tick in ticks]
    return lines + [_text(x(tick), bottom + 17, f"{tick:g}", "tick middle") for tick in ticks]


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def _text(x: float, y: float, text: str, style: str) -> Html:
    return el("text", text, x=x, y=y, class_=style)


def _curve(points: Sequence[tuple[float, float]], style: str) -> Html:
    return el("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points), class_=f"curve {style}")


def _moving_average(values: Sequence[float], keep: float) -> list[float]:
    """Exponential, corrected for its start."""
    average, weight, smoothed = 0.0, 0.0, []
    for value in values:
        average, weight = keep * average + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed.append(average / weight)
    return smoothed


def _nice_limit(value: float) -> float:
    return next((limit for limit in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if value <= limit), 1.0)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside the range."""
    if high <= low:
        high = low + 1.0
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if raw <= factor * power * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
