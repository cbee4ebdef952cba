"""Section on the categories: which are found well, and which are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moon.evaluation.report.charts import SpanRow, interval_chart, legend
from moon.evaluation.report.html import Child, Html, cut, el, more, note, section, table
from moon.evaluation.report.quality import MODELS, arrow, in_order, recalls, span

Results = Mapping[str, Any]
_ROWS: Final = 12
"""Categories in one chart."""
_TABLE: Final = 60
"""Categories of one direction in the table."""


def categories_section(slices: Results) -> Html:
    """Recall by category: the first level of every direction, and the finest one where most was asked."""
    found = in_order(slices)
    if not found:
        return section("categories", "By category", note("The catalogue has no categories."))
    measure = recalls(next(iter(found.values()))[0]["trained"])[0]
    deep = recalls(next(iter(found.values()))[0]["trained"])[-1]
    charts = [_chart(f"{arrow(name)}: {measure}", _level(rows, 1)[:_ROWS], measure) for name, rows in found.items()]
    asked = max(found, key=lambda name: sum(row["queries"] for row in _level(found[name], 1)))
    finest = max(row["level"] for row in found[asked])
    rows = _level(found[asked], finest)[:_ROWS] if finest > 1 else []
    shown = el("span", _most(rows, found[asked], finest), class_="quiet")
    detail = [
        el("h3", f"{arrow(asked)}, the finest categories ", shown),
        el("div", [_chart(f"{arrow(asked)}: {name}", rows, name) for name in (measure, deep)], class_="charts"),
    ]
    models = [name for name in MODELS if name in rows_of(found)[0]]
    return section(
        "categories",
        "By category",
        el(
            "p",
            "Queries by the category of the product that was bought. Intervals resample products, so where a category "
            "has only one there is none.",
        ),
        legend({name: name for name in models} | {"chance": "chance"}),
        el("div", charts, class_="charts"),
        detail if rows else None,
        more("All categories", [_table(name, rows, [measure, deep]) for name, rows in found.items()]),
    )


def rows_of(slices: Results) -> list[Results]:
    """The rows of all directions."""
    return [row for rows in slices.values() for row in rows]


def _level(rows: Sequence[Results], level: int) -> list[Results]:
    """The categories of one level, those asked for most first."""
    return sorted((row for row in rows if row["level"] == level), key=lambda row: (-row["queries"], row["category"]))


def _most(shown: Sequence[Results], rows: Sequence[Results], level: int) -> str:
    count = len(_level(rows, level))
    return f"the {len(shown)} most asked of {count}" if len(shown) < count else f"all {count}"


def _chart(title: str, rows: Sequence[Results], measure: str) -> Html:
    return interval_chart(
        title,
        [
            SpanRow(
                label=row["category"],
                spans=[span(row[name][measure], name) for name in MODELS if name in row],
                mark=row["chance"][measure],
                detail=f"{row['queries']} {'query' if row['queries'] == 1 else 'queries'}",
            )
            for row in rows
        ],
    )


def _table(direction: str, rows: Sequence[Results], measures: Sequence[str]) -> Html:
    models = [name for name in MODELS if name in rows[0]]
    shown = sorted(rows, key=lambda row: (-row["queries"], row["path"]))[:_TABLE]
    head = ["category", "queries", "products"]
    head += [f"{measure}, {name}" for measure in dict.fromkeys(measures) for name in models]
    body: list[list[Child]] = [
        [
            cut(" › ".join(row["path"])),
            row["queries"],
            row["products"],
            *(
                f"{row[name][measure]['value']:.3f} [{row[name][measure]['low']:.3f}, {row[name][measure]['high']:.3f}]"
                for measure in dict.fromkeys(measures)
                for name in models
            ),
        ]
        for row in sorted(shown, key=lambda row: row["path"])
    ]
    part = f", the {len(shown)} most asked of {len(rows)}" if len(shown) < len(rows) else ""
    return table(head, body, caption=arrow(direction) + part)
