"""What shoppers ask, each distinct text or picture once."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moon.catalog.validation.rules import BETWEEN, NOTHING, WARN, Rule, Suite, faults, soft
from moon.catalog.validation.tables import Ints, Tables, one_array
from moon.catalog.validation.texts import Objects, damaged, languages, scripts, wordless
from moon.config import ValidationParams

_SAID: Final = 0.01
"""A language or script of fewer of the titles counts as one that no title is in."""


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a distinct query text, in its first spelling, and one a distinct query picture."""
    texts, pictures = _texts(tables), _pictures(tables)
    return pd.concat([texts, pictures]) if len(pictures) else texts


def _texts(tables: Tables) -> pd.DataFrame:
    codes = tables.text_codes
    distinct, first = np.unique(codes, return_index=True)
    rows = first[distinct >= 0]
    text = one_array(tables.interactions["query_text"]).take(pa.array(rows))
    alone = np.where(tables.asked_codes < 0, codes, -1)  # a text beside a picture may be as general as it likes
    title = one_array(tables.products["title"])
    return pd.DataFrame(
        {
            "length": pc.utf8_length(text).to_numpy(zero_copy_only=False).astype(float),
            "wordless": faults(wordless(text), text),
            "damaged": faults(damaged(text), text),
            "unknown_script": _unknown(scripts(text), scripts(title)),
            "unknown_language": _unknown(languages(text), languages(title)),
            "products": _bought_for(alone, tables.bought, distinct[distinct >= 0]),
        },
        index=pd.Index(text.to_pandas(), name="query", dtype=object),
    )


def _pictures(tables: Tables) -> pd.DataFrame:
    codes = tables.asked_codes
    distinct, first = np.unique(codes, return_index=True)
    rows = first[distinct >= 0]
    names = one_array(tables.interactions["query_image_id"]).take(pa.array(rows))
    frame = pd.DataFrame({"products": _bought_for(codes, tables.bought, distinct[distinct >= 0])})
    return frame.set_index(pd.Index(names.to_pandas(), name="query", dtype=object))


def _bought_for(codes: Ints, bought: Ints, wanted: Ints) -> Ints:
    """Number of distinct products bought for each of the wanted codes."""
    pairs = pd.DataFrame({"code": codes, "product": bought})[(codes >= 0) & (bought >= 0)].drop_duplicates()
    return np.asarray(pairs["code"].value_counts().reindex(wanted, fill_value=0), np.int64)


def _unknown(found: Objects, of_titles: Objects) -> Objects:
    """Scripts or languages of queries that next to no title is in; None where no title has one."""
    names, counts = np.unique(of_titles[of_titles != None].astype(str), return_counts=True)  # noqa: E711 (elementwise)
    if not len(names):
        return np.full(len(found), None, object)
    known = names[counts >= _SAID * counts.sum()]
    return faults((found != None) & ~np.isin(found.astype(str), known), found)  # noqa: E711


def _rules(params: ValidationParams) -> list[Rule]:
    warn = soft(params)
    foreign = "their words meet no title; translate titles or queries, or count on a base model that knows both"
    return [
        warn(
            "query-long",
            BETWEEN,
            f"are texts of more than {params.max_query_chars} characters",
            "the model cuts them at model.max_text_tokens; descriptions in the place of queries look like this",
            column="length",
            max_value=params.max_query_chars,
        ),
        warn(
            "query-wordless",
            NOTHING,
            "are texts without a letter",
            "article numbers are found by look-up and not by meaning; leave them out",
            column="wordless",
        ),
        warn(
            "query-damaged",
            NOTHING,
            "are texts with markup, entities or wrongly decoded characters",
            "clean the text and read the log as UTF-8",
            column="damaged",
        ),
        warn("query-script", NOTHING, "are in a script that no title is in", foreign, column="unknown_script"),
        warn("query-language", NOTHING, "are in a language that no title is in", foreign, column="unknown_language"),
        WARN(
            "query-many-products",
            BETWEEN,
            f"ended with more than {params.max_query_products} different products",
            "too general to learn from, or what the search box holds before one types; leave them out",
            column="products",
            max_value=params.max_query_products,
        ),
    ]


QUERIES: Final = Suite(name="queries", things="distinct queries", frame=_frame, rules=_rules)
