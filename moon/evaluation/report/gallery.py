"""Sections that show queries with pictures: the first products of some, and what is confused most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moon.evaluation.report.html import Html, chip, cut, el, more, note, section
from moon.evaluation.report.pictures import Pictures
from moon.evaluation.report.quality import arrow, in_order

Results = Mapping[str, Any]
EXAMPLES: Final = 24
"""Queries shown at most."""
_CONFUSIONS: Final = 6
"""Pairs shown for a direction to products."""
_WORDS: Final = 300
"""Letters of a query."""
_FEWER: Final = 3
"""Pairs shown for the other directions."""


def examples_section(examples: Sequence[Results], pictures: Pictures) -> Html:
    """Each query beside its first products; what was bought is framed and named."""
    return section(
        "examples",
        "Queries and the first products found",
        note(
            "Drawn by seed, not by eye: where a direction has both, one query answered at rank 1 follows one that was "
            "not. A green frame and ✓ mark a product that was bought for this very query; a dashed frame shows it "
            "where the first ones lack it."
        ),
        [_example(example, pictures) for example in examples[:EXAMPLES]],
        note(f"{len(examples) - EXAMPLES} more are in examples.json.") if len(examples) > EXAMPLES else None,
    )


def confusions_section(confusions: Results, pictures: Pictures) -> Html:
    """The pairs of categories that are most often taken for each other, each with one query."""
    found = {name: entry for name, entry in in_order(confusions).items() if entry["pairs"]}
    first = [name for name in found if name.endswith("->product")]
    rest = [name for name in found if name not in first]
    return section(
        "confusions",
        "What is confused most",
        el(
            "p",
            "Queries whose first product is not one that was bought, counted by the category that was bought and the "
            "category that came first.",
        ),
        [_direction(name, found[name], _CONFUSIONS, pictures) for name in first],
        more("The other directions", [_direction(name, found[name], _FEWER, pictures) for name in rest])
        if rest
        else None,
        None if found else note("No query was answered wrongly."),
    )


def _direction(direction: str, entry: Results, count: int, pictures: Pictures) -> list[Html]:
    wrong = f"{entry['wrong']} of {entry['queries']} queries wrong"
    cards = [_pair(pair, pictures) for pair in entry["pairs"][:count]]
    return [el("h3", arrow(direction), " ", el("span", wrong, class_="quiet")), el("div", cards, class_="pairs")]


def _pair(pair: Results, pictures: Pictures) -> Html:
    count = f"{pair['count']} {'query' if pair['count'] == 1 else 'queries'}, {pair['share']:.0%} of the wrong ones"
    bought, found = el("b", cut(pair["bought"])), el("b", cut(pair["found"]))
    same = pair["bought"] == pair["found"]
    title = el("p", bought, ": another one came first" if same else [" taken for ", found], class_="name")
    shown = [_mistake(one, pictures) for one in pair["examples"][:1]]
    return el("article", title, note(count), shown, class_="confusion")


def _mistake(example: Results, pictures: Pictures) -> list[Html | None]:
    """The words that were asked; the photo, what was bought and what came first side by side."""
    text, image_id = example.get("query_text"), example.get("query_image_id")
    cards = [
        el("div", pictures.image(image_id, "query photo"), el("p", "asked", class_="score"), class_="product")
        if image_id
        else None,
        _named(example["bought"], f"bought, rank {example['rank']}", "product right", pictures),
        _named(example["found"], "came first", "product missed", pictures),
    ]
    return [el("p", f"“{cut(text, _WORDS)}”", class_="words") if text else None, el("div", cards, class_="trio")]


def _named(product_id: str, words: str, style: str, pictures: Pictures) -> Html:
    return el("div", pictures.product(product_id), el("p", words, class_="score"), class_=style)


def _example(example: Results, pictures: Pictures) -> Html:
    rank = chip(f"rank {example['rank']}", "good" if example["rank"] == 1 else "warn")
    query = query_card(example, pictures, [chip(arrow(example["direction"])), rank])
    return el("article", query, results(example["top"], example["bought"], pictures), class_="example")


def results(found: Sequence[Results], bought: Sequence[str], pictures: Pictures) -> Html:
    """The found products, the bought ones framed; where none was found, one that was bought comes last."""
    cards = [_product(product, product["product_id"] in bought, pictures) for product in found]
    if not any(product["product_id"] in bought for product in found):
        name = el("p", pictures.title(bought[0]), class_="name")
        words = el("p", "missed: bought", class_="score")
        cards.append(el("li", pictures.product(bought[0]), name, words, class_="product missed"))
    return el("ol", cards, class_="results")


def query_card(query: Results, pictures: Pictures, chips: Sequence[Html]) -> Html:
    """What was asked: photo, text or both."""
    text, image_id = query["query_text"], query["query_image_id"]
    return el(
        "div",
        pictures.image(image_id, "query photo") if image_id else None,
        el("div", el("p", f"“{cut(text, _WORDS)}”", class_="words") if text else None, el("div", chips)),
        class_="query",
    )


def _product(product: Results, right: bool, pictures: Pictures) -> Html:
    return el(
        "li",
        pictures.product(product["product_id"]),
        el("p", cut(product["title"] or product["product_id"]), class_="name"),
        el("p", f"{product['score']:.3f}", el("span", "✓ bought", class_="pair") if right else None, class_="score"),
        class_="product right" if right else "product",
    )
