"""One planted fault for every check: what is done to the tables of `sound`, and what else it breaks in that suite."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.catalog.validation.sound import COLOURS, START, Tables, picture, rejected

PLANTED = 5
"""Row in which a fault is planted; of split test, and asked by a photo."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, the parameters under which it is one, and the other checks of the suite that it cannot but break."""

    plant: Callable[[Tables], None]
    params: dict[str, Any] = field(default_factory=dict)
    also: frozenset[str] = frozenset()


def setting(table: str, *, row: int = PLANTED, also: tuple[str, ...] = (), **values: Any) -> Fault:
    """Other values in one row."""

    def plant(tables: Tables) -> None:
        tables[table][row].update(values)

    return Fault(plant=plant, also=frozenset(also))


def doing(plant: Callable[[Tables], Any], *, also: tuple[str, ...] = (), **params: Any) -> Fault:
    """Anything else."""
    return Fault(plant=plant, params=params, also=frozenset(also))


def each(table: str, change: Callable[[int], dict[str, Any]]) -> Callable[[Tables], None]:
    """Changes every row by its number."""

    def plant(tables: Tables) -> None:
        for number, row in enumerate(tables[table]):
            row.update(change(number))

    return plant


def _attributes(*entries: tuple[str, list[str]]) -> dict[str, Any]:
    return {"attributes": [{"key": key, "values": values} for key, values in entries]}


def _copy_picture(tables: Tables, image_id: str, *, to: str) -> None:
    """Makes picture ``to`` the same bytes as another."""
    rows = {row["image_id"]: row for row in tables["images"]}
    rows[to].update({name: value for name, value in rows[image_id].items() if name != "image_id"})


def _same_goods(tables: Tables) -> None:
    tables["products"][6].update(title="mug - 0!")
    _copy_picture(tables, "i0", to="i6")


def _once(tables: Tables) -> None:
    """Values of a key that are nearly all on one product."""
    each("products", lambda n: _attributes(("colour", [COLOURS[n % 4]]), ("number", [str(n)])))(tables)


def _flat(tables: Tables) -> None:
    for row in tables["images"]:
        row.update(picture(row["image_id"], np.full((40, 48, 3), 200)))


def _digests(tables: Tables) -> None:
    for number, row in enumerate(tables["images"]):
        row["sha256"] = hashlib.sha256(str(number).encode()).hexdigest()


def _broken(tables: Tables) -> None:
    for row in tables["images"]:
        data = row["image"]["bytes"][:60]
        row.update(image={"bytes": data, "path": None}, sha256=hashlib.sha256(data).hexdigest())


def _log(tables: Tables, count: int, **values: Any) -> None:
    """More rows like the first, each with values that may depend on its number."""
    for n in range(count):
        made = {name: value(n) if callable(value) else value for name, value in values.items()}
        tables["interactions"].append(tables["interactions"][0] | {"query_id": f"more{n}"} | made)


def _days(n: int) -> datetime.datetime:
    return START + datetime.timedelta(days=10 + n, minutes=n * n % 11)


def _add(table: str, **row: Any) -> Callable[[Tables], None]:
    return lambda tables: tables[table].append(row)


FAR = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
PRODUCT = "products"
IMAGE = "images"
LOG = "interactions"

FAULTS: dict[str, Fault] = {
    # products
    "products-rows": doing(lambda tables: None, min_products=121),
    "product-id-present": setting(PRODUCT, product_id=None),
    "product-id-unique": setting(PRODUCT, product_id="p0"),
    "product-id-tidy": setting(PRODUCT, product_id=" p5"),
    "title-present": setting(PRODUCT, title=None),
    "title-short": setting(PRODUCT, title="M"),
    "title-long": setting(PRODUCT, title="mug " * 80),
    "title-wordless": setting(PRODUCT, title="4711"),
    "title-damaged": setting(PRODUCT, title="Mug &amp; <b>saucer</b>"),
    "title-mixed-script": setting(PRODUCT, title="M\u0443g five"),
    "title-script": setting(PRODUCT, title="\u041a\u0440\u0443\u0436\u043a\u0430"),
    "title-language": doing(
        lambda tables: (
            each(PRODUCT, lambda n: {"title": f"Mug {n} for the tea and with a lid"})(tables),
            tables[PRODUCT][5].update(title="Becher f\u00fcr Tee mit Deckel und Henkel"),
        )
    ),
    "title-repeated": doing(lambda tables: [tables[PRODUCT][n].update(title="Mug") for n in (0, 1)]),
    "product-repeated": doing(_same_goods, also=("title-repeated",)),
    "title-in-two-splits": doing(
        lambda tables: [tables[PRODUCT][n].update(title="MUG, big") for n in (0, 4, 5)], also=("title-repeated",)
    ),
    "picture-in-two-splits": doing(lambda tables: _copy_picture(tables, "i0", to="i5")),
    "category-present": setting(PRODUCT, category_path=[]),
    "category-lonely": doing(each(PRODUCT, lambda n: {"category_path": ["Home", f"Kind {n}"]})),
    "picture-present": setting(PRODUCT, image_ids=[]),
    "picture-known": setting(PRODUCT, image_ids=["i5", "gone"]),
    "picture-repeated": setting(PRODUCT, image_ids=["i5", "i5"]),
    "product-split-present": setting(PRODUCT, split=None),
    "product-split-known": setting(PRODUCT, split="holdout"),
    # categories
    "category-blank": setting(PRODUCT, category_path=["Home", " "]),
    "category-depth": setting(PRODUCT, category_path=["Shop", *"abcdefghi"]),
    "category-untidy": setting(PRODUCT, category_path=["Home", "Large  Pots"]),
    "category-repeats": setting(PRODUCT, category_path=["Sport", "Sport"]),
    "category-leaf-two-parents": setting(PRODUCT, category_path=["Garden", "Mugs"]),
    "category-branch-two-parents": doing(
        lambda tables: [
            tables[PRODUCT][n].update(category_path=[top, "Set", f"Set of {n}"])
            for n, top in ((2, "Home"), (5, "Garden"))
        ]
    ),
    "category-half-sorted": setting(PRODUCT, category_path=["Home"]),
    "category-near-equal": setting(PRODUCT, category_path=["Home", "mug"]),
    # attributes
    "attribute-key-blank": doing(each(PRODUCT, lambda n: _attributes((" ", [COLOURS[n % 4]])))),
    "attribute-key-repeated": setting(PRODUCT, **_attributes(("colour", ["red"]), ("colour", ["blue"]))),
    "attribute-value-repeated": setting(PRODUCT, **_attributes(("colour", ["red", "red"]))),
    "attribute-coverage": setting(PRODUCT, **_attributes(("colour", ["red"]), ("voltage", ["230"]))),
    "attribute-values-once": doing(_once),
    "attribute-constant": doing(each(PRODUCT, lambda n: _attributes(("colour", ["red"])))),
    "attribute-key-near-equal": doing(
        each(PRODUCT, lambda n: _attributes(("Colour" if n % 5 else "colours", [COLOURS[n % 4]])))
    ),
    "attribute-value-blank": setting(PRODUCT, **_attributes(("colour", [""]))),
    "attribute-value-near-equal": setting(PRODUCT, **_attributes(("material", ["porcelian"]))),
    "attribute-value-long": setting(PRODUCT, **_attributes(("colour", ["a colour like no other " * 4]))),
    # pictures
    "image-id-present": setting(IMAGE, image_id=None),
    "image-id-unique": setting(IMAGE, image_id="i0", also=("picture-unused",)),
    "picture-width": setting(IMAGE, width=1),
    "picture-height": setting(IMAGE, height=0),
    "picture-sized": setting(IMAGE, height=None),
    "sha256-form": setting(IMAGE, sha256="xyz"),
    "sha256-present": setting(IMAGE, sha256=None),
    "picture-tiny": setting(IMAGE, width=20),
    "picture-aspect": setting(IMAGE, width=300),
    "picture-copied": doing(lambda tables: [_copy_picture(tables, "i0", to=f"i{n}") for n in (6, 12)]),
    "picture-unused": doing(lambda tables: tables[IMAGE].append(picture("spare", np.eye(40) * 255))),
    "picture-stored": setting(IMAGE, image={"bytes": None, "path": "mug.jpg"}),
    "picture-readable": doing(_broken),
    "picture-digest": doing(_digests),
    "picture-size": doing(each(IMAGE, lambda n: {"width": 99})),
    "picture-flat": doing(_flat),
    # the behaviour log
    "interactions-rows": doing(lambda tables: None, min_interactions=121),
    "query-id-present": setting(LOG, query_id=None),
    "query-id-unique": setting(LOG, query_id="q0"),
    "query-asks": setting(LOG, query_text=" ", query_image_id=None),
    "product-known": setting(LOG, product_id="gone"),
    "query-picture-known": setting(LOG, query_image_id="gone"),
    "event-present": setting(LOG, event=None),
    "event-known": setting(LOG, event="impression"),
    "time-present": setting(LOG, timestamp=None),
    "time-future": setting(LOG, timestamp=FAR),
    "time-past": setting(LOG, timestamp=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)),
    "logged-twice": doing(lambda tables: tables[LOG].append(tables[LOG][5] | {"query_id": "again"})),
    "interaction-split-present": setting(LOG, split=None),
    "interaction-split-known": setting(LOG, split=""),
    # questions
    "query-long": setting(LOG, query_text="the mug " * 50),
    "query-wordless": setting(LOG, query_text="4711-12"),
    "query-damaged": setting(LOG, query_text="the caf\u00c3\u00a9 mug"),
    "query-script": setting(LOG, query_text="\u041a\u0440\u0443\u0436\u043a\u0430"),
    "query-language": doing(
        lambda tables: (
            each(PRODUCT, lambda n: {"title": f"Mug {n} for the tea and with a lid"})(tables),
            tables[LOG][5].update(query_text="Becher f\u00fcr Tee mit Deckel und Henkel"),
        )
    ),
    "query-many-products": doing(
        lambda tables: _log(tables, 11, query_text="mug", product_id=lambda n: f"p{n}"), max_query_products=10
    ),
    # splits
    "splits-training": doing(each(LOG, lambda n: {"split": "test"})),
    "splits-evaluation": doing(each(LOG, lambda n: {"split": "train"})),
    "products-unbought": doing(each(LOG, lambda n: {"product_id": f"p{n % 9}"})),
    "query-text-in-two-splits": doing(
        lambda tables: [tables[LOG][n].update(query_text="The  mug.") for n in (0, 4, 10)]
    ),
    "query-picture-in-two-splits": doing(lambda tables: _copy_picture(tables, "photo1", to="photo5")),
    "query-own-picture": doing(lambda tables: [tables[LOG][n].update(query_image_id=f"i{n}") for n in (1, 3)]),
    "held-out-product-trained": setting(LOG, split="train"),
    "trained-later": doing(
        lambda tables: (
            [tables[LOG][n].update(product_id="p0") for n in (5, 6, 7)],
            tables[LOG][0].update(product_id="p1"),
        )
    ),
    # behaviour
    "product-share": doing(lambda tables: _log(tables, 40, timestamp=_days)),
    "traffic-repeats": doing(
        lambda tables: _log(tables, 31, timestamp=lambda n: START + datetime.timedelta(days=50, seconds=n))
    ),
    "traffic-burst": doing(
        lambda tables: _log(
            tables,
            110,
            query_text=lambda n: f"mug {n}",
            timestamp=lambda n: START + datetime.timedelta(days=50, milliseconds=n),
        )
    ),
    # tables that join others
    "relation-known": setting("relations", other_id="gone"),
    "relation-kind": setting("relations", relation="cousin"),
    "relation-itself": setting("relations", other_id="p5"),
    "relation-twice": doing(_add("relations", product_id="p5", other_id="p6", relation="substitute", weight=1.0)),
    "relation-contradiction": doing(
        _add("relations", product_id="p6", other_id="p5", relation="complement", weight=1.0)
    ),
    "box-known": setting("boxes", image_id="gone"),
    "box-empty": setting("boxes", x1=2.0),
    "box-inside": setting("boxes", x1=60.0),
    # the import
    "rejected-rows-fail": doing(lambda tables: tables.update(rejected=rejected("images", 60))),
    "rejected-rows-warn": doing(lambda tables: tables.update(rejected=rejected("images", 3))),
}
"""Check -> a fault that it finds. The schema check, after which nothing else runs, has a test of its own."""
