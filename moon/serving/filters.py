"""Which products pass a filter, and which filters there are.

A term is a category with its parents, or an attribute with one of its values. Terms lie in order in an Arrow file, the
rows of their products one term after the other in an array; both are mapped into memory.

    filters.arrow    term, first, products: where a term's rows begin, and how many there are
    filters.npy      rows of products, ascending within a term
    facets.json      the terms that most products have, for people to choose from
"""

from __future__ import annotations

import bisect
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TERMS, _ROWS, _FACETS = "filters.arrow", "filters.npy", "facets.json"
_SCHEMA: Final = pa.schema([("term", pa.string()), ("first", pa.int64()), ("products", pa.int64())])
_CATEGORY, _ATTRIBUTE = "category", "attribute"
_MOST_CATEGORIES, _MOST_KEYS, _MOST_VALUES = 1000, 50, 100
"""What ``facets.json`` holds of each kind; the rarest are left out."""

Rows = NDArray[np.int64]


class FilterWriter:
    """Collects the terms of products, row by row."""

    def __init__(self) -> None:
        self._number_of: dict[str, int] = {}
        self._numbers, self._rows = array("q"), array("q")

    def add(self, row: int, category: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> None:
        """Takes in one product; rows come in ascending order."""
        terms = {_term(_CATEGORY, *category[: level + 1]) for level in range(len(category))}
        terms.update(_term(_ATTRIBUTE, key, value) for key, values in attributes.items() for value in values or ())
        for term in terms:
            self._numbers.append(self._number_of.setdefault(term, len(self._number_of)))
            self._rows.append(row)

    def save(self, folder: Path) -> None:
        """Writes the three files."""
        terms = sorted(self._number_of)
        rank_T = np.empty(len(terms), np.int64)
        rank_T[[self._number_of[term] for term in terms]] = np.arange(len(terms))
        ranks = rank_T[np.array(self._numbers, np.int64)]
        rows = np.array(self._rows, np.int64)[np.argsort(ranks, kind="stable")]
        counts = np.bincount(ranks, minlength=len(terms))
        np.save(folder / _ROWS, rows)
        table = pa.table([terms, np.cumsum(counts) - counts, counts], schema=_SCHEMA)
        with pa.ipc.new_file(str(folder / _TERMS), _SCHEMA) as file:
            file.write_table(table)
        facets = json.dumps(_facets(zip(terms, counts.tolist(), strict=True)), ensure_ascii=False)
        (folder / _FACETS).write_text(facets, encoding="utf-8")


class Filters:
    """Filters of a folder; reads only, so threads may share it.

    Args:
        folder: where `FilterWriter.save` wrote.
        products: number of products.

    Raises:
        ValueError: a file is missing or damaged.
    """

    def __init__(self, folder: Path, products: int) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(folder / _TERMS))).read_all()
            self._rows: Rows = np.load(folder / _ROWS, mmap_mode="r" if table.num_rows else None)
            self.facets: dict[str, Any] = json.loads((folder / _FACETS).read_text(encoding="utf-8"))
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            raise ValueError(f"the filters in {folder} cannot be read ({error}); make the artefact again") from None
        self._products = products
        self._terms, self._first, self._counts = table.columns
        if len(self._rows) != int(np.sum(self._counts.to_numpy())):
            raise ValueError(f"{folder / _ROWS} does not belong to {_TERMS} beside it; make the artefact again")

    def allowed(self, category: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> Rows | None:
        """Rows that pass every filter, ascending; None where there is no filter.

        Args:
            category: leading levels that the category path must have.
            attributes: for each key, values of which the product must have one.
        """
        groups = [[_term(_CATEGORY, *category)]] if category else []
        groups += [[_term(_ATTRIBUTE, key, value) for value in values] for key, values in attributes.items()]
        if not groups:
            return None
        if len(groups) == len(groups[0]) == 1:
            return self._with(groups[0][0])
        passed = np.ones(self._products, bool)
        for terms in groups:
            found = np.zeros(self._products, bool)
            for term in terms:
                found[self._with(term)] = True
            passed &= found
        return np.flatnonzero(passed)

    def _with(self, term: str) -> Rows:
        """The rows that have a term."""
        place = bisect.bisect_left(range(len(self._terms)), term, key=lambda place: self._terms[place].as_py())
        if place == len(self._terms) or self._terms[place].as_py() != term:
            return np.empty(0, np.int64)
        first = self._first[place].as_py()
        return np.asarray(self._rows[first : first + self._counts[place].as_py()])


def _term(kind: str, *parts: str) -> str:
    return json.dumps([kind, *parts], ensure_ascii=False)


def _facets(counted: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """Categories in order of their path, attribute keys and values by the number of their products."""
    categories: list[dict[str, Any]] = []
    values: dict[str, list[dict[str, Any]]] = {}
    for term, products in counted:
        kind, *parts = json.loads(term)
        if kind == _CATEGORY:
            categories.append({"path": parts, "products": products})
        else:
            values.setdefault(parts[0], []).append({"value": parts[1], "products": products})
    attributes: list[dict[str, Any]] = [
        {"key": key, "values": _most(found, _MOST_VALUES), "complete": len(found) <= _MOST_VALUES}
        for key, found in values.items()
    ]
    attributes.sort(key=lambda one: -sum(value["products"] for value in values[one["key"]]))
    frequent = _most(categories, _MOST_CATEGORIES)
    return {
        "categories": sorted(frequent, key=lambda one: list(one["path"])),
        "attributes": attributes[:_MOST_KEYS],
        "complete": len(categories) <= _MOST_CATEGORIES and len(attributes) <= _MOST_KEYS,
    }


def _most(found: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    return sorted(found, key=lambda one: -one["products"])[:most]
