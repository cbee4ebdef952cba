"""Reader of ESCI, Amazon's Shopping Queries: judgements of how well products answer a typed query.

Three forms, told by their columns:

    shopping_queries_dataset_examples.parquet
        query, query_id, product_id, product_locale, esci_label, split
    shopping_queries_dataset_products.parquet
        product_id, product_locale, product_title, product_description, product_bullet_point, product_brand,
        product_color

    one table of both, joined, with the columns of both; or with the short names title, description, bullets, brand and
    color, and without locale and split

Labels are E, S, C, I or Exact, Substitute, Complement, Irrelevant. Source: Reddy et al., "Shopping Queries Dataset",
2022 (amazon-science/esci-data, Apache-2.0). It has no pictures, so its products have none.

What becomes of a judgement:

- **Exact**: an interaction, because the product is what was asked for.
- **Substitute**: by the source's definition it fails an aspect of the query but can stand in for what was asked. So it
  is a substitute for each Exact product of the same query, as a relation of weight 1 / number of those [R].
- **Complement**: by definition it can be used together with an exact product; a relation alike.
- Either of them for a query without an Exact product says something of the query alone. The catalogue has no table for
  that; the row is kept in ``rejected`` as ``no_exact_product``.
- **Irrelevant**: says what a product is not. The product is in the catalogue, where it may be a negative; the
  judgement is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from moon.catalog.readers.sink import CatalogSink, RowError, SourceProduct, check_split, hashed_split
from moon.catalog.readers.table_files import TableFile
from moon.catalog.readers.table_values import split_of, text_of

Label = Literal["exact", "substitute", "complement", "irrelevant"]

EVENT: Final = "exact"
"""A judge, and no shopper, said that the product is what was asked for."""
_LABELS: Final[dict[str, Label]] = {
    "e": "exact",
    "s": "substitute",
    "c": "complement",
    "i": "irrelevant",
    "exact": "exact",
    "substitute": "substitute",
    "complement": "complement",
    "irrelevant": "irrelevant",
}
_SUFFIXES: Final = (".parquet", ".jsonl", ".csv")
_JUDGED: Final = {"query", "query_id", "product_id", "esci_label"}
_SHORT: Final = {
    "product_title": "title",
    "product_description": "description",
    "product_bullet_point": "bullets",
    "product_brand": "brand",
    "product_color": "color",
}


@dataclass(frozen=True)
class _Judgement:
    query_id: str
    query: str
    product_id: str
    label: Label
    split: str


@dataclass
class _Seen:
    """What is held in memory of the judgements: ids."""

    trained: set[str] = field(default_factory=set)
    """Products that were judged for a query of train."""
    validated: set[str] = field(default_factory=set)
    exact: dict[str, list[str]] = field(default_factory=dict)
    """Query -> its Exact products in the catalogue."""


def read_esci(source: Path, sink: CatalogSink) -> None:
    """Reads a folder of ESCI files, or one file, in four passes that hold ids alone.

    Queries have the source's split, or where it has none 80 : 10 : 10 by a hash of the query. A product is in train if
    it was judged for a query of train, else in val or test like its queries. Its id is the source's, with the locale
    where there is one, as ``B000MOO21W:us``: the same id is another text in another locale. Times are made, see
    `CatalogSink.add_interaction`.

    Raises:
        ValueError: no table with the judgements, or none with the titles, in ``source``.
    """
    judged, described = _tables(source)
    seen = _Seen()
    for _, row in _rows(judged):
        if not isinstance(row, RowError):
            _note_split(row, seen)
    for name, row in _rows(described):
        product_id = ""
        try:
            if isinstance(row, RowError):
                raise row
            product_id = _product_id(row)
            if described != judged or not sink.has_product(product_id):
                sink.add_product(_product(row, product_id, seen), source, needs_picture=False)
        except RowError as error:
            sink.reject("products", product_id or name, error)
    _add_exact(judged, seen, sink)
    _add_relations(judged, seen, sink)


def _tables(source: Path) -> tuple[list[TableFile], list[TableFile]]:
    """The files that hold judgements, and those that hold titles; in the joined form they are the same."""
    paths = [source] if source.is_file() else sorted(path for path in source.glob("*") if path.suffix in _SUFFIXES)
    columns = [(table, set(table.columns())) for table in map(TableFile, paths)]
    judged = [table for table, names in columns if names >= _JUDGED]
    described = [table for table, names in columns if names & {"product_title", "title"} and "product_id" in names]
    if not judged or not described:
        missing = "query, query_id, product_id and esci_label" if not judged else "product_id and product_title"
        raise ValueError(f"{source} is not in the ESCI format: no {', '.join(_SUFFIXES)} file there has {missing}")
    # Beside a file of products, a file of judgements that repeats the titles would only repeat the products.
    return judged, [table for table in described if table not in judged] or described


def _rows(tables: list[TableFile]) -> Iterator[tuple[str, Mapping[str, Any] | RowError]]:
    for table in tables:
        for line, row in table.rows():
            yield f"{table.path.name}:{line}", row


def _product_id(row: Mapping[str, Any]) -> str:
    name, locale = text_of(row.get("product_id")), text_of(row.get("product_locale"))
    return f"{name}:{locale}" if name and locale else name


def _note_split(row: Mapping[str, Any], seen: _Seen) -> None:
    try:
        judgement = _judgement(row)
    except RowError:  # it is rejected where it is used
        return
    if judgement.split != "test":
        (seen.trained if judgement.split == "train" else seen.validated).add(judgement.product_id)


def _judgement(row: Mapping[str, Any]) -> _Judgement:
    """A row as a judgement.

    Raises:
        RowError: no product or query, or an unknown label or split.
    """
    query_id, label = text_of(row.get("query_id")), text_of(row.get("esci_label")).lower()
    product_id = _product_id(row)
    if not product_id or not query_id:
        raise RowError("no_id", f"a judgement of product '{product_id}' for query '{query_id}'")
    if label not in _LABELS:
        raise RowError("bad_row", f"esci_label '{label[:40]}', expected one of {', '.join(_LABELS)}")
    split = split_of(row.get("split")) or hashed_split(query_id)
    check_split(split)
    return _Judgement(query_id, text_of(row.get("query")), product_id, _LABELS[label], split)


def _product(row: Mapping[str, Any], product_id: str, seen: _Seen) -> SourceProduct:
    texts = {long: text_of(row.get(long, row.get(short))) for long, short in _SHORT.items()}
    attributes = {"brand": texts["product_brand"], "colour": texts["product_color"]}
    about = [texts["product_description"], texts["product_bullet_point"]]
    split = "train" if product_id in seen.trained else "val" if product_id in seen.validated else "test"
    return SourceProduct(
        product_id=product_id,
        title=texts["product_title"],
        description="\n".join(filter(None, about)),
        category_path=[],
        attributes={key: [value] for key, value in attributes.items() if value},
        pictures={},
        split=split,
    )


def _add_exact(judged: list[TableFile], seen: _Seen, sink: CatalogSink) -> None:
    for name, row in _rows(judged):
        query_id = name
        try:
            if isinstance(row, RowError):
                raise row
            one = _judgement(row)
            if one.label != "exact":
                continue
            query_id = f"{one.query_id}:{one.product_id}"
            sink.add_interaction(query_id, one.product_id, text=one.query, image_id=None, split=one.split, event=EVENT)
            seen.exact.setdefault(one.query_id, []).append(one.product_id)
        except RowError as error:
            sink.reject("interactions", query_id, error)


def _add_relations(judged: list[TableFile], seen: _Seen, sink: CatalogSink) -> None:
    for name, row in _rows(judged):
        try:
            one = None if isinstance(row, RowError) else _judgement(row)
        except RowError:  # it is rejected already
            continue
        if one is None or one.label not in ("substitute", "complement"):
            continue
        try:
            exact = seen.exact.get(one.query_id, [])
            if not exact:
                raise RowError("no_exact_product", f"{one.label} for '{one.query}', which has no Exact product")
            for other in exact:
                sink.add_relation(other, one.product_id, one.label, 1 / len(exact))
        except RowError as error:
            sink.reject("relations", f"{name} {one.product_id}", error)
