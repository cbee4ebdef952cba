"""Small builders of HTML and SVG in which text is always escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import TypeAlias


class Html(str):
    """Text that is markup already; any other string is escaped when it becomes a child of an element."""

    __slots__ = ()


Child: TypeAlias = "str | float | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "img", "meta", "link"})


def join(*children: Child) -> Html:
    """Children as markup: strings escaped, None left out, iterables flattened."""
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str | int | float):
            parts.append(html.escape(str(child)))
        else:
            parts.append(str(join(*child)))
    return Html("".join(parts))


def el(tag: str, *children: Child, **attributes: str | float | None) -> Html:
    """One element. ``class_`` becomes class, other underscores hyphens; an attribute that is None is left out."""
    words = [tag]
    for name, value in attributes.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words.append(f'{name.rstrip("_").replace("_", "-")}="{html.escape(text)}"')
    opening = " ".join(words)
    return Html(f"<{opening}>" if tag in _VOID else f"<{opening}>{join(*children)}</{tag}>")


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], text_columns: int = 1) -> Html:
    """A table whose first ``text_columns`` are words and whose other columns are figures."""

    def cells(tag: str, row: Iterable[Child]) -> list[Html]:
        return [el(tag, cell, class_=None if column < text_columns else "figure") for column, cell in enumerate(row)]

    body = [el("tr", cells("td", row)) for row in rows]
    return el("div", el("table", el("thead", el("tr", cells("th", head))), el("tbody", body)), class_="scroll")


def facts(values: Mapping[str, Child]) -> Html:
    """A row of named numbers."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in values.items()], class_="facts")


def chip(text: str, tone: str = "plain") -> Html:
    """A short word in a coloured pill; ``tone`` is good, warn, bad or plain."""
    return el("span", text, class_=f"chip {tone}")


def note(*children: Child) -> Html:
    """A quieter paragraph."""
    return el("p", children, class_="note")


def section(anchor: str, title: str, *children: Child) -> Html:
    """One titled part of the page."""
    return el("section", el("h2", title), children, id=anchor)


def tile(label: str, value: Child, detail: Child = None, tone: str = "plain") -> Html:
    """One number of the summary."""
    return el(
        "div",
        el("div", label, class_="label"),
        el("div", value, class_="value"),
        el("div", detail, class_="detail"),
        class_=f"tile {tone}",
    )


def page(title: str, subtitle: Child, parts: Iterable[tuple[str, str, Html]]) -> str:
    """The whole document: ``parts`` are (anchor, name in the navigation, section).

    It loads nothing: styles are inside, pictures are data URIs, and its own security policy forbids the rest.
    """
    parts = list(parts)
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style)),
    )
    links = el("nav", [el("a", name, href=f"#{anchor}") for anchor, name, _ in parts if name])
    header = el("header", el("h1", title), el("p", subtitle, class_="subtitle"), links)
    body = el("body", header, el("main", [markup for _, _, markup in parts]))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"
