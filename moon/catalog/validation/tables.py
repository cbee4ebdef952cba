"""The columns of a catalogue that the suites read, never the pictures' bytes, and what several suites derive of them.

Ids are looked up once and kept as row numbers, -1 for none, and texts as codes of their normal forms.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moon.catalog.schema import SPLITS
from moon.catalog.store import Catalog
from moon.catalog.validation.texts import normal_forms

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEVELS: Final = "\x1f"
"""Parts the levels of a category path."""
NO_TIME: Final = np.iinfo(np.int64).min


class Tables:
    """Lazily read columns of one catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @cached_property
    def products(self) -> pa.Table:
        """Products without their descriptions."""
        return self._read("products", ["product_id", "title", "category_path", "attributes", "image_ids", "split"])

    @cached_property
    def images(self) -> pa.Table:
        """Pictures without their bytes."""
        return self._read("images", ["image_id", "width", "height", "sha256"])

    @cached_property
    def interactions(self) -> pa.Table:
        """The whole behaviour log."""
        return self._read("interactions", None)

    def _read(self, name: str, columns: list[str] | None) -> pa.Table:
        return self.catalog.table(name, columns).combine_chunks()

    @cached_property
    def title_codes(self) -> Ints:
        """Code of each product's title in its normal form; -1 for none."""
        return codes(normal_forms(self.products["title"]))

    @cached_property
    def category_paths(self) -> pa.Array:
        """Each product's category path in one text, levels parted by `LEVELS`; empty levels and paths stay empty."""
        lists = one_array(self.products["category_path"])
        names = pc.fill_null(pc.list_flatten(lists), "")
        lengths = pc.fill_null(pc.list_value_length(lists), 0)
        ends = np.append(0, np.cumsum(lengths.to_numpy(zero_copy_only=False)))
        return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names), LEVELS)

    @cached_property
    def picture_codes(self) -> Ints:
        """Code of each picture's sha256; -1 for none."""
        return codes(self.images["sha256"])

    @cached_property
    def shown(self) -> tuple[Ints, Ints, pa.Array]:
        """Pictures that products name: the row of the product, the row of the picture or -1, and the picture's id."""
        lists = one_array(self.products["image_ids"])
        ids = pc.list_flatten(lists)
        return _whole(pc.list_parent_indices(lists)), rows_of(ids, self.images["image_id"]), ids

    @cached_property
    def shown_codes(self) -> Ints:
        """`picture_codes` of `shown`; -1 where the picture is unknown."""
        return _at(self.picture_codes, self.shown[1])

    @cached_property
    def bought(self) -> Ints:
        """Row of each interaction's product, -1 where it is unknown."""
        return rows_of(self.interactions["product_id"], self.products["product_id"])

    @cached_property
    def asked(self) -> Ints:
        """Row of each interaction's picture, -1 where there is none or it is unknown."""
        return rows_of(self.interactions["query_image_id"], self.images["image_id"])

    @cached_property
    def asked_codes(self) -> Ints:
        """`picture_codes` of `asked`; -1 where there is none."""
        return _at(self.picture_codes, self.asked)

    @cached_property
    def text_codes(self) -> Ints:
        """Code of each interaction's query text in its normal form; -1 where there is none."""
        return codes(normal_forms(self.interactions["query_text"]))

    @cached_property
    def question_codes(self) -> Ints:
        """Code of each interaction's whole question, text and picture; -1 where there is neither."""
        text, picture = self.text_codes, self.asked_codes
        pair = (text + 1) * (picture.max(initial=-1) + 2) + picture + 1
        return np.where(pair == 0, -1, pd.factorize(pair)[0]).astype(np.int64)

    @cached_property
    def product_splits(self) -> Ints:
        """Position of each product's split in `SPLITS`, -1 for another."""
        return rows_of(self.products["split"], pa.chunked_array([pa.array(SPLITS)]))

    @cached_property
    def splits(self) -> Ints:
        """Position of each interaction's split in `SPLITS`, -1 for another."""
        return rows_of(self.interactions["split"], pa.chunked_array([pa.array(SPLITS)]))

    @cached_property
    def times(self) -> Ints:
        """Microseconds since 1970 of each interaction, `NO_TIME` where there is none."""
        stamps = one_array(self.interactions["timestamp"]).cast(pa.int64())
        return _whole(pc.fill_null(stamps, NO_TIME))


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def codes(column: pa.ChunkedArray | pa.Array) -> Ints:
    """Equal numbers for equal values; -1 for null."""
    return _whole(pc.fill_null(one_array(column).dictionary_encode().indices, -1))


def rows_of(ids: pa.ChunkedArray | pa.Array, among: pa.ChunkedArray) -> Ints:
    """Row of each id in ``among``; -1 for null and unknown ones."""
    found = pc.index_in(one_array(ids), value_set=one_array(among), skip_nulls=True)
    return _whole(pc.fill_null(found, -1))


def earlier(keys: Ints, splits: Ints) -> Bools:
    """Rows whose key also occurs in an earlier split: train before val before test. A key of -1 is none."""
    usable = (keys >= 0) & (splits >= 0)
    first = np.full(int(keys.max(initial=-1)) + 1, len(SPLITS))
    np.minimum.at(first, keys[usable], splits[usable])
    return np.where(usable, splits > first[np.maximum(keys, 0)] if len(first) else False, False)


def _whole(array: pa.Array) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64)


def _at(values: Ints, rows: Ints) -> Ints:
    """``values[rows]`` with -1 for row -1."""
    return np.append(values, -1)[rows]
