"""Small builders of HTML and SVG in which text is always escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TypeAlias


class Html(str):
    """Text that is markup already; any other string is escaped when it becomes a child of an element."""

    __slots__ = ()


Child: TypeAlias = "str | float | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "img", "meta", "link"})


@dataclass(frozen=True)
class Part:
    """One part of the page."""

    anchor: str
    name: str
    """In the table of contents; empty leaves it out there."""
    markup: Html


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


def table(
    head: Iterable[str],
    rows: Iterable[Iterable[Child]],
    text_columns: int = 1,
    caption: str = "",
    class_: str | None = None,
) -> Html:
    """A table whose first ``text_columns`` are words and whose other columns are figures.

    On a narrow screen each row becomes a block of its own in which every cell carries its column's name; the roles
    keep it a table for those who listen to it.
    """
    names = list(head)

    def style(column: int) -> str | None:
        return None if column < text_columns else "figure"

    def cells(row: Iterable[Child]) -> list[Html]:
        first, *rest = row
        found = [el("th", first, scope="row", role="rowheader")]
        return found + [
            el("td", el("span", cell), role="cell", data_label=names[column], class_=style(column))
            for column, cell in enumerate(rest, 1)
        ]

    heads = [
        el("th", name, scope="col", role="columnheader", class_=style(column)) for column, name in enumerate(names)
    ]
    return el(
        "table",
        el("caption", caption) if caption else None,
        el("thead", el("tr", heads, role="row"), role="rowgroup"),
        el("tbody", [el("tr", cells(row), role="row") for row in rows], role="rowgroup"),
        role="table",
        class_=class_,
    )


def facts(values: Mapping[str, Child]) -> Html:
    """A row of named numbers."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in values.items()], class_="facts")


def cut(text: str, letters: int = 160) -> str:
    """Text that is no longer than ``letters``; titles come from outside and may be of any length."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def signed(value: float, digits: int = 2) -> str:
    """A number with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def chip(text: str, tone: str = "plain") -> Html:
    """A short word in a coloured pill; ``tone`` is good, warn, bad or plain."""
    return el("span", text, class_=f"chip {tone}")


def note(*children: Child) -> Html:
    """A quieter paragraph."""
    return el("p", children, class_="note")


def more(title: str, *children: Child) -> Html:
    """What is shown when asked for."""
    return el("details", el("summary", title), children)


def section(anchor: str, title: str, *children: Child) -> Html:
    """One titled part of the page."""
    return el("section", el("h2", title, id=f"{anchor}-title"), children, id=anchor, aria_labelledby=f"{anchor}-title")


def tile(label: str, value: Child, detail: Child = None, tone: str = "plain") -> Html:
    """One number of the summary."""
    return el(
        "div",
        el("div", label, class_="label"),
        el("div", value, class_="value"),
        el("div", detail, class_="detail"),
        class_=f"tile {tone}",
    )


def page(title: str, subtitle: Child, parts: Iterable[Part]) -> str:
    """The whole document, with a table of contents.

    It loads nothing and runs nothing: styles are inside, pictures are data URIs, and its own security policy forbids
    the rest.
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
    links = [el("li", el("a", part.name, href=f"#{part.anchor}")) for part in parts if part.name]
    contents = el("nav", el("p", "Contents", class_="label"), el("ol", links), aria_label="Contents") if links else None
    body = el(
        "body",
        el("a", "Skip to the results", href="#main", class_="skip"),
        el("header", el("h1", title), el("p", subtitle, class_="subtitle")),
        el("div", contents, el("main", [part.markup for part in parts], id="main"), class_="columns"),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"
