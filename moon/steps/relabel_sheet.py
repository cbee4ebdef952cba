"""One self-contained HTML page of rejected candidates beside what was bought, for a person to look through."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from PIL import Image

from moon.evaluation.report.html import Html, el
from moon.items import ItemSource
from moon.vision.decode import encode_jpeg
from moon.vision.resize import AnyPicture
from moon.vision.resize import render as render_picture

MOST = 200
"""Pairs on the page; the table holds them all."""
_SIDE = 160
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: light-dark(#5c6370, #a3abb8); }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
article { border-top: 1px solid var(--line); padding: 1rem 0; }
.triple { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1rem; }
figure { margin: 0; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; border-radius: 6px; display: block; background: #fff; }
.role { color: var(--quiet); font-size: .85rem; }
.score { font-variant-numeric: tabular-nums; }
@media (max-width: 32rem) { .triple { gap: .5rem; font-size: .85rem; } }
"""


def render(source: ItemSource, rows: Sequence[Mapping[str, Any]], queries: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Args:
        source: where pictures and titles come from.
        rows: rows of the relabel table, the most suspicious first.
        queries: interactions by query id.
    """
    sheet = _Sheet(source, queries)
    shown = rows[:MOST]
    count = f"{len(shown)} of {len(rows)} pairs" if len(rows) > len(shown) else f"{len(rows)} pairs"
    told = (
        "Each candidate scored too high to be a safe negative of the query. If it fits the query as the bought product "
        "does, it is a positive that nobody labelled: add it to the purchases, or relate the two products as “same”."
    )
    if not rows:
        count = "No pairs: nothing was rejected by its score, as mining.positive_aware and mining.max_similarity do."
    body = el("body", el("h1", "Relabel queue"), el("p", told), el("p", count, class_="role"), map(sheet.pair, shown))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", "Relabel queue"),
        el("style", Html(_STYLE)),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


class _Sheet:
    def __init__(self, source: ItemSource, queries: Mapping[str, Mapping[str, Any]]) -> None:
        self._source, self._queries = source, queries
        self._product = cache(self._product_once)

    def pair(self, row: Mapping[str, Any]) -> Html:
        """A query, what was bought for it, and the rejected candidate."""
        asked = self._source.query(self._queries[row["query_id"]])
        query = (_picture(asked.images, "query photo"), el("div", asked.title or ""))
        return el(
            "article",
            el(
                "div",
                _figure("query", query, None),
                _figure("bought", self._product(row["product_id"]), row["positive_score"]),
                _figure("candidate", self._product(row["candidate_id"]), row["score"]),
                class_="triple",
            ),
        )

    def _product_once(self, product_id: str) -> tuple[Html | None, ...]:
        item = self._source.product(product_id)
        return _picture(item.images, item.title or product_id), el("div", item.title or ""), el("code", product_id)


def _figure(role: str, parts: Sequence[Html | None], score: float | None) -> Html:
    told = None if score is None else el("span", f" {score:.3f}", class_="score")
    return el("figure", el("div", role, told, class_="role"), parts)


def _picture(images: Sequence[AnyPicture], words: str) -> Html | None:
    if not images:
        return None
    shrink = min(_SIDE / max(images[0].size), 1)
    width, height = (max(round(side * shrink), 1) for side in images[0].size)
    small = encode_jpeg(Image.fromarray(render_picture(images[0], (width, height), "fast")), quality=80)
    encoded = base64.b64encode(small).decode()
    return el("img", src=f"data:image/jpeg;base64,{encoded}", alt=words, width=width, height=height)
