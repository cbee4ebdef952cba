"""Products: keys, titles, pictures, and the same goods listed twice."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moon.catalog.schema import SPLITS
from moon.catalog.validation.rules import (
    BETWEEN,
    FAIL,
    NOTHING,
    PRESENT,
    ROWS,
    Rule,
    Suite,
    checker,
    faults,
    key_rules,
    leak,
    share,
    soft,
    split_rules,
)
from moon.catalog.validation.tables import Bools, Ints, Tables, codes, earlier, one_array
from moon.catalog.validation.texts import Objects, damaged, foreign, languages, mixed_words, scripts, wordless
from moon.config import ValidationParams

_MIN_TITLE: Final = 2
_STRAY: Final = 0.01
"""A script or language of a smaller share of the titles is a stray one."""


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a product."""
    table, count = tables.products, tables.products.num_rows
    title = one_array(table["title"])
    owner, picture, ids = tables.shown
    levels = pc.fill_null(pc.list_value_length(one_array(table["category_path"])), 0).to_numpy()
    same = _same(tables.title_codes)
    frame = table.select(["product_id", "title", "split"]).to_pandas()
    return frame.assign(
        title_length=pc.utf8_length(pc.utf8_trim_whitespace(title)).to_pandas(),  # null is another rule's
        untidy_id=faults(_untidy(table), table["product_id"]),
        damaged_title=faults(damaged(title), title),
        mixed_title=faults(mixed_words(title), title),
        wordless_title=faults(wordless(title), title),
        foreign_script=_foreign(scripts(title)),
        foreign_language=_foreign(languages(title)),
        same_title=faults(same, title),
        same_goods=faults(same & _shares_a_picture(tables), title),
        title_in_two_splits=faults(earlier(tables.title_codes, tables.product_splits), title),
        picture_in_two_splits=_picture_in_two_splits(tables),
        category_levels=levels,
        in_category=_in_category(tables, levels),
        pictures=np.bincount(owner, minlength=count),
        unknown_picture=_first(owner, picture < 0, ids, count),
        repeated_picture=_first(owner, _repeated(owner, picture), ids, count),
    ).set_index("product_id", drop=False)


def _untidy(table: pa.Table) -> Bools:
    ids = one_array(table["product_id"])
    return np.asarray(pc.fill_null(pc.match_substring_regex(ids, r"^\s|\s$|[\x00-\x1F\x7F]"), False), bool)


def _same(values: Ints) -> Bools:
    """Rows whose value another row has too; -1 is none."""
    return (np.bincount(values + 1)[values + 1] > 1) & (values >= 0) if len(values) else np.zeros(0, bool)


def _foreign(found: Objects) -> Objects:
    return faults(foreign(found, _STRAY), found)


def _shares_a_picture(tables: Tables) -> Bools:
    """Products with a picture that another product shows too, byte for byte."""
    owner, codes = tables.shown[0], tables.shown_codes
    seen = pd.DataFrame({"owner": owner, "code": codes})[codes >= 0].drop_duplicates()
    shared = np.zeros(tables.products.num_rows, bool)
    shared[seen["owner"][seen["code"].duplicated(keep=False)]] = True
    return shared


def _picture_in_two_splits(tables: Tables) -> Objects:
    owner, _, ids = tables.shown
    again = earlier(tables.shown_codes, tables.product_splits[owner])
    return _first(owner, again, ids, tables.products.num_rows)


def _in_category(tables: Tables, levels: Ints) -> npt.NDArray[np.float64]:
    """Products of the same category path, the product included; null without a category."""
    keys = codes(tables.category_paths) + 1
    return np.where(levels > 0, np.bincount(keys)[keys].astype(float), np.nan) if len(keys) else np.zeros(0)


def _repeated(owner: Ints, picture: Ints) -> Bools:
    return np.asarray(pd.DataFrame({"owner": owner, "picture": picture}).duplicated(), bool) & (picture >= 0)


def _first(owner: Ints, bad: Bools, ids: pa.Array, count: int) -> Objects:
    """For each product the id of its first bad picture, None where it has none."""
    column = np.full(count, None, object)
    for place in np.flatnonzero(bad)[::-1].tolist():
        column[owner[place]] = ids[place].as_py() or "(no id)"
    return column


def _rules(params: ValidationParams) -> list[Rule]:
    shared, warn, leaks = share(params), soft(params), leak(params)
    return [
        FAIL(
            "products-rows",
            ROWS,
            f"fewer than {params.min_products} rows",
            "give a catalogue with more products",
            min_value=params.min_products,
        ),
        *key_rules("product_id"),
        warn(
            "product-id-tidy",
            NOTHING,
            "have white space or control characters around their id",
            "joins by id with other systems will miss them; trim them at the source",
            column="untidy_id",
        ),
        FAIL("title-present", PRESENT, "have no title", "fill in the title or leave the row out", column="title"),
        shared(
            "title-short",
            BETWEEN,
            f"have a title of less than {_MIN_TITLE} characters",
            "write a title that names the product",
            column="title_length",
            min_value=_MIN_TITLE,
        ),
        warn(
            "title-long",
            BETWEEN,
            f"have a title of more than {params.max_title_chars} characters",
            "the model cuts it at model.max_text_tokens; move what is long to the description",
            column="title_length",
            max_value=params.max_title_chars,
        ),
        warn(
            "title-wordless",
            NOTHING,
            "have a title without a letter",
            "numbers and signs say little to a text encoder; map another column to the title",
            column="wordless_title",
        ),
        warn(
            "title-damaged",
            NOTHING,
            "have markup, entities or wrongly decoded characters in the title",
            "clean the text and read the file as UTF-8",
            column="damaged_title",
        ),
        warn(
            "title-mixed-script",
            NOTHING,
            "mix Latin with Cyrillic or Greek letters inside a word of the title",
            "letters that look alike are other tokens; spell the word in one script",
            column="mixed_title",
        ),
        warn(
            "title-script",
            NOTHING,
            f"have a title in a script of fewer than {_STRAY:.0%} of the titles",
            "too few to learn from; translate them or leave them out",
            column="foreign_script",
        ),
        warn(
            "title-language",
            NOTHING,
            f"have a title in a language of fewer than {_STRAY:.0%} of the titles",
            "too few to learn from; translate them or leave them out",
            column="foreign_language",
        ),
        leaks(
            "title-repeated",
            NOTHING,
            "have the title of another product, case and punctuation aside",
            "no text query can tell them apart; merge variants or put what differs into the title",
            column="same_title",
        ),
        warn(
            "product-repeated",
            NOTHING,
            "have title and a picture in common with another product",
            "the same goods listed twice are false negatives of each other; keep one row",
            column="same_goods",
        ),
        leaks(
            "title-in-two-splits",
            NOTHING,
            "have a title that is also in an earlier split",
            "what is held out was seen in training; split by title instead of by row",
            column="title_in_two_splits",
        ),
        shared(
            "picture-in-two-splits",
            NOTHING,
            "show a picture that a product of an earlier split shows too",
            "what is held out was seen in training; keep products that share a picture in one split",
            column="picture_in_two_splits",
        ),
        shared(
            "category-present",
            BETWEEN,
            "have no category",
            "hard negatives and label tasks need one; fill in category_path",
            column="category_levels",
            min_value=1,
        ),
        checker("warn", params.max_lonely_share)(
            "category-lonely",
            BETWEEN,
            "are alone in their category",
            "there is no hard negative within it; mine one level higher (mining.category_level) or merge categories",
            column="in_category",
            min_value=2,
        ),
        shared(
            "picture-present",
            BETWEEN,
            "have no picture",
            "give each product a picture or leave it out",
            column="pictures",
            min_value=1,
        ),
        FAIL(
            "picture-known",
            NOTHING,
            "name a picture that is not in the images table",
            "add the picture or take its id out of image_ids",
            column="unknown_picture",
        ),
        warn(
            "picture-repeated",
            NOTHING,
            "name the same picture twice",
            "take the second out: only model.max_images of each product are read",
            column="repeated_picture",
        ),
        *split_rules("product", SPLITS),
    ]


PRODUCTS: Final = Suite(name="products", things="rows of products", frame=_frame, rules=_rules)
