"""The results of an ablation for people: a Markdown table and a bar chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moon.config import EvaluationParams
from moon.evaluation.ablation import DIRECTIONS, KS, Score
from moon.evaluation.report.html import Html, el, join

FULL: Final = "full"
DUAL: Final = "dual-encoder"
DUAL_SMALL: Final = "dual-encoder without crop pixels"
_COLOURS: Final = ("#3b6fb6", "#c2703d", "#5b9a57")
_INK: Final = "#8a8a8a"
"""Readable on a white page and on a dark one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe of the table."""

    name: str
    changes: tuple[str, ...]
    """What it changes in the full recipe, as overrides."""
    scores: Sequence[Score]
    failures: Mapping[int, str]
    """Seed -> why its run failed."""

    def score(self, direction: str, k: int) -> Score | None:
        """One score; None where it was not measured."""
        return next((score for score in self.scores if (score.direction, score.k) == (direction, k)), None)


def markdown(rows: Sequence[Row], left_out: Sequence[str], recipe: str, params: EvaluationParams) -> str:
    """Levels, differences to the full recipe, what was left out or failed, and the recipe.

    Args:
        rows: the full recipe first.
        left_out: recipes that equal the full one.
        recipe: the full recipe as YAML.
        params: of the bootstrap behind the intervals.
    """
    percent = f"{100 * params.confidence:g} %"
    parts = [
        "# Ablation\n\nEach recipe is the full one with one part less, trained for as many steps on batches as "
        "large.\n",
        "## Recall\n\nMean over the seeds ± standard deviation over the seeds.\n\n" + _levels(rows),
        f"## Difference to the full recipe, R@10\n\nRecipe minus full, on the same seeds and queries, with its "
        f"{percent} interval: {params.bootstrap_samples} draws that resample seeds and products (pigeonhole "
        f"bootstrap). The words say what the missing part does: it *helps here* or *hurts here* where the interval "
        f"leaves out 0. "
        f"Of cells without any effect, about {100 * (1 - params.confidence):.3g} % come out with one by chance.\n\n"
        + _differences(rows, 10),
        f"## Difference to the full recipe, R@1\n\n{_differences(rows, 1)}",
        _against_dual(rows, percent),
        _notes(rows, left_out),
        f"## The full recipe\n\n```yaml\n{recipe}```\n",
    ]
    return "\n".join(part for part in parts if part)


def _levels(rows: Sequence[Row]) -> str:
    columns = [(direction, k) for direction in DIRECTIONS for k in KS]
    lines = [[row.name, *(_level(row.score(*column)) for column in columns)] for row in rows]
    return _table(["recipe", *(f"{direction} R@{k}" for direction, k in columns)], lines)


def _level(score: Score | None) -> str:
    if score is None:
        return "-"
    mean = statistics.fmean(score.by_seed.values())
    return f"{mean:.3f}" + (f" ± {score.sd:.3f}" if score.sd is not None else "")


def _differences(rows: Sequence[Row], k: int) -> str:
    lines = [[row.name, *(_difference(row.score(direction, k)) for direction in DIRECTIONS)] for row in rows[1:]]
    return _table(["recipe", *DIRECTIONS], lines)


def _difference(score: Score | None) -> str:
    if score is None or score.difference is None:
        return "-"
    found = score.difference
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] {found.verdict}"


def _against_dual(rows: Sequence[Row], percent: str) -> str:
    """The intervals of the levels of the full recipe and of the dual encoder, where both were measured."""
    pair = [row for row in rows if row.name in (FULL, DUAL, DUAL_SMALL) and row.scores]
    if len(pair) < 2:
        return ""
    columns = [(direction, k) for direction in ("image->product", "both->product") for k in KS]
    lines = [[row.name, *(_span(row.score(*column)) for column in columns)] for row in pair]
    table = _table(["recipe", *(f"{direction} R@{k}" for direction, k in columns)], lines)
    return f"## Full recipe and dual encoder\n\nMean and {percent} interval, pooled over the seeds.\n\n{table}"


def _span(score: Score | None) -> str:
    if score is None:
        return "-"
    return f"{score.interval.value:.3f} [{score.interval.low:.3f}, {score.interval.high:.3f}]"


def _notes(rows: Sequence[Row], left_out: Sequence[str]) -> str:
    lines = [f"- {row.name}: {', '.join(f'`{change}`' for change in row.changes)}" for row in rows[1:]]
    lines += [f"- {name} is left out: the full recipe has that part off already" for name in left_out]
    lines += [f"- {row.name}, seed {seed}, failed: {why}" for row in rows for seed, why in row.failures.items()]
    return "## What each recipe changes\n\n" + "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def bar_chart(rows: Sequence[Row], k: int = 10) -> str:
    """R@k of each recipe by direction with its interval, as a standalone SVG file."""
    shown = [row for row in rows if row.scores]
    bar, gap, left, width, top = 12, 14, 190, 760, 46
    step = bar * len(DIRECTIONS) + gap
    bottom = top + step * len(shown)
    scale = (width - left - 60) / max(
        [score.interval.high for row in shown for score in row.scores if score.k == k] + [0.01]
    )
    marks: list[Html] = [_text(8, 18, f"R@{k} by recipe", "start", 14)]
    for place, (direction, colour) in enumerate(zip(DIRECTIONS, _COLOURS, strict=True)):
        x = left + 150 * place
        marks += [el("rect", x=x, y=26, width=10, height=10, fill=colour), _text(x + 16, 35, direction)]
    for number, row in enumerate(shown):
        y = top + step * number
        marks.append(_text(left - 10, y + step / 2, row.name, "end"))
        for place, (direction, colour) in enumerate(zip(DIRECTIONS, _COLOURS, strict=True)):
            score = row.score(direction, k)
            if score is not None:
                marks += _bar(left, y + bar * place, bar - 2, scale, score, colour)
    frame = el("line", x1=left, y1=top - 4, x2=left, y2=bottom, stroke=_INK)
    drawing = el(
        "svg",
        join(marks),
        frame,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {bottom + 8}",
        width=width,
        height=bottom + 8,
        font_family="sans-serif",
        font_size=12,
    )
    return f"{drawing}\n"


def _bar(left: float, y: float, height: float, scale: float, score: Score, colour: str) -> list[Html]:
    low, value, high = (
        round(left + scale * each, 1) for each in (score.interval.low, score.interval.value, score.interval.high)
    )
    middle = y + height / 2
    return [
        el("rect", x=left, y=y, width=round(value - left, 1), height=height, fill=colour),
        el("line", x1=low, y1=middle, x2=high, y2=middle, stroke=_INK, stroke_width=2),
        _text(high + 6, y + height - 1, f"{score.interval.value:.3f}", "start", 10),
    ]


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> Html:
    return el("text", text, x=x, y=y, text_anchor=anchor, font_size=size, fill=_INK)
