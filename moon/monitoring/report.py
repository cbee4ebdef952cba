"""The drift report: one HTML page without script or network, that shows what a decision rests on."""

from __future__ import annotations

import math
from html import escape
from typing import Final

import numpy as np
import pyarrow as pa

from moon.monitoring.drift import Decision
from moon.monitoring.testing import TestResult

_COLOURS: Final = {"ok": "#1a7f4b", "warn": "#b26a00", "retrain": "#b3261e"}
_REFERENCE, _WINDOW = "#7a8aa0", "#d1495b"
_SHOWN: Final = 6
"""Numbers drawn as histograms: the most different first."""
_BINS: Final = 24
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>moon drift report</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1000px; margin: 2rem auto; padding: 0 1rem }}
section {{ border-top: 1px solid #dde3ea; margin-top: 2rem }}
h2 span {{ color: #fff; border-radius: 4px; padding: .1rem .6rem; font-size: .9em }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #eef1f5; white-space: nowrap }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }}
tr.drifted td {{ background: #fdf0f1 }}
.charts {{ display: flex; flex-wrap: wrap; gap: 1rem }}
svg {{ font: 12px system-ui, sans-serif; max-width: 100% }}
</style></head><body>
<h1>Drift report</h1>
<p>Each window of traffic against the reference window. <b style="color:{reference}">&#9632;</b> reference
<b style="color:{window}">&#9632;</b> window. A window like the reference is called anything but ok in at most
{alpha:.0%} of the cases.</p>
{sections}
</body></html>
"""


def drift_html(reference: pa.Table, compared: dict[str, tuple[pa.Table, Decision]], alpha: float) -> str:
    """The report over some windows, by name, and their decisions."""
    sections = "\n".join(_section(name, reference, window, decision) for name, (window, decision) in compared.items())
    return _PAGE.format(sections=sections, reference=_REFERENCE, window=_WINDOW, alpha=alpha)


def _section(name: str, reference: pa.Table, window: pa.Table, decision: Decision) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in decision.reasons)
    parts = [
        f'<h2>{escape(name)} <span style="background:{_COLOURS[decision.decision]}">{decision.decision}</span></h2>',
        f"<p>{decision.window_rows} requests, reference {decision.reference_rows}.</p><ul>{reasons}</ul>",
    ]
    if decision.tests:
        parts += [_p_value_chart(decision), _table(decision.tests), _histograms(reference, window, decision.tests)]
    return f"<section>{''.join(parts)}</section>"


def _table(tests: list[TestResult]) -> str:
    rows = "".join(
        f'<tr class="{"drifted" if test.drifted else ""}"><td>{escape(test.name)}</td><td class="n">{test.rows}</td>'
        f'<td>{escape(test.effect_name)}</td><td class="n">{test.effect:.3f}</td>'
        f'<td class="n">{test.p_value:.3f}</td><td class="n">{test.adjusted:.3f}</td></tr>'
        for test in tests
    )
    head = '<th>test</th><th class="n">rows</th><th>effect</th><th class="n">size</th><th class="n">p</th>'
    return f'<table><tr>{head}<th class="n">adjusted p</th></tr>{rows}</table>'


def _p_value_chart(decision: Decision) -> str:
    """Adjusted p-values on a logarithmic axis, one bar a test, with the line that they have to cross."""
    left, width, row = 170, 620, 20
    lowest = min([test.adjusted for test in decision.tests] + [decision.alpha / 10])

    def length(p: float) -> float:
        return width * math.log(p) / math.log(lowest) if p < 1 else 0.0

    bars = "".join(
        f'<text x="{left - 8}" y="{row * index + 14}" text-anchor="end">{escape(test.name)}</text>'
        f'<rect x="{left}" y="{row * index + 3}" width="{max(length(test.adjusted), 1):.1f}" height="{row - 6}" '
        f'fill="{_WINDOW if test.drifted else _REFERENCE}"/>'
        f'<text x="{left + length(test.adjusted) + 5:.1f}" y="{row * index + 14}">{test.adjusted:.3f}</text>'
        for index, test in enumerate(decision.tests)
    )
    bottom, line = row * len(decision.tests), left + length(decision.alpha)
    return (
        f'<h3>Adjusted p-values</h3><svg width="{left + width + 60}" height="{bottom + 20}" role="img">{bars}'
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="{bottom + 4}" stroke="#1d2733" stroke-dasharray="4 3"/>'
        f'<text x="{line:.1f}" y="{bottom + 17}" text-anchor="middle">alpha {decision.alpha:g}</text></svg>'
    )


def _histograms(reference: pa.Table, window: pa.Table, tests: list[TestResult]) -> str:
    numbers = sorted((test for test in tests if test.kind == "number"), key=lambda test: -test.effect)[:_SHOWN]
    charts = "".join(_histogram(test.name, reference[test.name], window[test.name]) for test in numbers)
    return f'<h3>Numbers that differ most</h3><div class="charts">{charts}</div>'


def _histogram(name: str, reference: pa.ChunkedArray, window: pa.ChunkedArray) -> str:
    """Shares of both windows over common bins: the reference filled, the window as a line."""
    width, height = 300, 120
    both = [column.drop_null().to_numpy().astype(np.float64) for column in (reference, window)]
    known = np.concatenate(both)
    edges = np.histogram_bin_edges(known, bins=_BINS)
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in both]
    tallest = max(float(share.max()) for share in shares) or 1.0
    step = width / _BINS
    bars, steps = "", []
    for index, (before, after) in enumerate(zip(*shares, strict=True)):
        tall, y = height * before / tallest, height * (1 - after / tallest)
        bars += f'<rect x="{index * step:.1f}" y="{height - tall:.1f}" width="{step:.1f}" height="{tall:.1f}"/>'
        steps += [f"{index * step:.1f},{y:.1f}", f"{(index + 1) * step:.1f},{y:.1f}"]
    return (
        f'<figure style="margin:0"><figcaption>{escape(name)}</figcaption>'
        f'<svg width="{width}" height="{height + 18}" role="img"><g fill="{_REFERENCE}" opacity=".55">{bars}</g>'
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="{_WINDOW}" stroke-width="2"/>'
        f'<text x="0" y="{height + 14}">{edges[0]:.3g}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{edges[-1]:.3g}</text></svg></figure>'
    )
