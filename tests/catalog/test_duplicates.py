from __future__ import annotations

from typing import Any

import pytest

from moon.catalog.duplicates import (
    Link,
    Use,
    duplicate_rows,
    leak_rows,
    merged,
    normal_form,
    picture_links,
    title_links,
)


def product(id_: str, title: str, category: str = "Mugs", **attributes: str) -> dict[str, Any]:
    values = {key: [value] for key, value in attributes.items()}
    return {"product_id": id_, "title": title, "category_path": ["Home", category], "attributes": values}


def linked(*rows: dict[str, Any], similarity: float = 0.9) -> set[frozenset[str]]:
    return {frozenset((link.product_id, link.other_id)) for link in title_links(rows, similarity)}


def test_normal_form() -> None:
    assert normal_form("  Ａcme — Mug, 300 ML!") == normal_form("acme mug 300 ml") == "acme mug 300 ml"
    assert normal_form("Two words") == normal_form(None) == ""


LONG = "Acme stoneware coffee mug with a wooden lid and spoon, dishwasher safe"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (product("b", LONG.upper()), True),
        (product("b", LONG.replace("dishwasher", "dish washer")), True),
        (product("b", LONG, colour="red"), True),
        (product("b", "A garden hose of thirty metres with brass fittings"), False),
        (product("b", LONG, category="Plates"), False),
    ],
)
def test_titles_that_say_the_same(other: dict[str, Any], same: bool) -> None:
    assert bool(linked(product("a", LONG), other)) == same


def test_numbers_and_attributes_tell_titles_apart() -> None:
    assert not linked(product("a", LONG + " 300 ml"), product("b", LONG + " 301 ml"))
    assert not linked(product("a", LONG, colour="red"), product("b", LONG, colour="blue"))
    assert not linked(product("a", LONG), product("b", LONG + " x"), similarity=1.0)


def test_groups_are_what_links_connect_and_the_surest_link_is_shown() -> None:
    links = merged([Link("b", "a", 4), Link("a", "b", None, 0.95), Link("c", "b", 2), Link("x", "y", None, 1.0)])
    rows = {row["product_id"]: row for row in duplicate_rows(links)}
    assert {id_: row["group_id"] for id_, row in rows.items()} == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}
    assert (rows["b"]["evidence"], rows["b"]["other_id"]) == ("both", "a")
    assert (rows["c"]["evidence"], rows["c"]["other_id"], rows["c"]["picture_distance"]) == ("picture", "b", 2)
    assert (rows["y"]["evidence"], rows["y"]["picture_distance"]) == ("title", None)


def test_a_picture_that_all_show_says_nothing() -> None:
    chart = [Use("product", f"p{number}", "train") for number in range(5)]
    uses = [chart, [Use("product", "p0", "train")], [Use("product", "q", "train")], [Use("product", "r", "train")]]
    links, stock = picture_links(uses, [(0, 3, 2), (1, 2, 6)], stock=4)
    assert [(link.product_id, link.other_id, link.picture_distance) for link in links] == [("p0", "q", 6)]
    assert stock == 2  # the chart, and a copy of it
    assert len(picture_links(uses, [], stock=5)[0]) == 10


def test_leaks_lie_across_splits() -> None:
    uses = [
        [Use("product", "p", "train"), Use("query", "i0", "test")],
        [Use("query", "i1", "test"), Use("query", "i1", "train")],
        [Use("product", "q", "test")],
        [Use("query", "i3", "test")],
    ]
    splits = {"p": "train", "q": "test", "r": "train"}
    rows = leak_rows([Link("p", "q", 3), Link("p", "r", 1)], splits, uses, [(0, 2, 3), (1, 2, 5), (2, 3, 7)])
    found = {tuple(row.values()) for row in rows}
    assert found == {
        ("product", "p", "train", "q", "test", 3),
        ("query_product", "i0", "test", "p", "train", 0),
        ("query_query", "i1", "train", "i1", "test", 0),
        ("query_product", "i1", "train", "q", "test", 5),
    }
