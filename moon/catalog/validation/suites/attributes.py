"""Attributes: their keys, and the vocabulary of values of each key."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from moon.catalog.validation.rules import BETWEEN, FAIL, NOTHING, WARN, Rule, Suite, checker, faults
from moon.catalog.validation.tables import Tables, one_array
from moon.catalog.validation.texts import near_equal
from moon.config import ValidationParams

_JUDGED: Final = 100
"""A key on fewer products is not judged by how often its values occur."""


def _entries(tables: Tables) -> pd.DataFrame:
    """One row a key of a product: product number, key, number of its values."""
    lists = one_array(tables.products["attributes"])
    structs = pc.list_flatten(lists)
    return pd.DataFrame(
        {
            "product": pc.list_parent_indices(lists).to_numpy(),
            "key": pc.fill_null(pc.struct_field(structs, "key"), "").to_pandas(),
        }
    )


def _values(tables: Tables, entries: pd.DataFrame) -> pd.DataFrame:
    """One row a value of a key of a product."""
    lists = pc.struct_field(pc.list_flatten(one_array(tables.products["attributes"])), "values")
    entry = pc.list_parent_indices(lists).to_numpy()
    values = pc.fill_null(pc.list_flatten(lists), "").to_pandas()
    return entries.iloc[entry].reset_index(drop=True).assign(value=values.to_numpy())


def _keys_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row an attribute key."""
    entries = _entries(tables)
    values = _values(tables, entries)
    total = max(tables.products.num_rows, 1)
    covered = entries.groupby("key")["product"].nunique()
    counts = values.groupby(["key", "value"])["product"].nunique()
    singles = (counts == 1).groupby("key").mean()
    keys = covered.index.to_numpy(object)
    judged = covered.to_numpy() >= _JUDGED
    alike = near_equal({str(key): int(count) for key, count in covered.items()})
    again = entries[entries.duplicated(["product", "key"])]["key"].value_counts().reindex(keys, fill_value=0)
    twice = values[values.duplicated(["product", "key", "value"])]["key"].value_counts().reindex(keys, fill_value=0)
    return pd.DataFrame(
        {
            "blank": faults(np.array([not key.strip() for key in keys], bool), keys),
            "products_with_key_twice": again.to_numpy(),
            "products_with_value_twice": twice.to_numpy(),
            "coverage": covered.to_numpy() / total,
            "seen_once": np.where(judged, singles.reindex(keys, fill_value=0.0), 0.0),
            "values": np.where(judged, counts.groupby("key").size().reindex(keys, fill_value=0), np.nan),
            "near_equal": [f"{key}, like {alike[key]}" if key in alike else None for key in keys],
        },
        index=pd.Index(keys, name="key"),
    )


def _values_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a distinct value of a key."""
    counts = _values(tables, _entries(tables)).groupby(["key", "value"])["product"].nunique()
    labels, alike = [], []
    for key, part in counts.groupby("key"):
        usual = near_equal({str(value): int(count) for value, count in part.droplevel("key").items()})
        for value in part.index.get_level_values("value"):
            labels.append(f"{key}: {value}")
            alike.append(f"{key}: {value}, like {usual[value]}" if value in usual else None)
    values = counts.index.get_level_values("value")
    return pd.DataFrame(
        {
            "blank": [None if value.strip() else label for value, label in zip(values, labels, strict=True)],
            "length": np.array([len(value) for value in values], np.int64),
            "near_equal": np.array(alike, object),
        },
        index=pd.Index(labels, name="value", dtype=object),
    )


def _key_rules(params: ValidationParams) -> list[Rule]:
    return [
        FAIL("attribute-key-blank", NOTHING, "are empty", "name the attribute or leave it out", column="blank"),
        FAIL(
            "attribute-key-repeated",
            BETWEEN,
            "occur twice in one product",
            "all but the last are lost when attributes are read as a mapping; put the values into one list",
            column="products_with_key_twice",
            max_value=0,
        ),
        WARN(
            "attribute-value-repeated",
            BETWEEN,
            "have a value twice in one product",
            "the model reads it twice; take the second out",
            column="products_with_value_twice",
            max_value=0,
        ),
        WARN(
            "attribute-coverage",
            BETWEEN,
            f"are on less than {params.min_key_coverage:.0%} of the products",
            "too rare to learn or to score as a label task; fill the key in or drop it",
            column="coverage",
            min_value=params.min_key_coverage,
        ),
        WARN(
            "attribute-values-once",
            BETWEEN,
            f"have more than {params.max_single_values:.0%} of their values on a single product only",
            "free text or an identifier, not a vocabulary; leave it out of label tasks or group its values",
            column="seen_once",
            max_value=params.max_single_values,
        ),
        WARN(
            "attribute-constant",
            BETWEEN,
            "have one value for every product",
            "it tells no products apart and costs tokens; leave it out",
            column="values",
            min_value=2,
        ),
        WARN(
            "attribute-key-near-equal",
            NOTHING,
            "are spelled nearly like another key",
            "probably one attribute under two names; merge them",
            column="near_equal",
        ),
    ]


def _value_rules(params: ValidationParams) -> list[Rule]:
    return [
        WARN("attribute-value-blank", NOTHING, "are empty", "leave the value out", column="blank"),
        WARN(
            "attribute-value-near-equal",
            NOTHING,
            "are spelled nearly like another value of their key",
            "probably one value in two spellings, which a label task counts as two; merge them",
            column="near_equal",
        ),
        checker("warn", params.warn_unexpected_share)(
            "attribute-value-long",
            BETWEEN,
            f"have more than {params.max_value_chars} characters",
            "it is a sentence and no value; move it to the description",
            column="length",
            max_value=params.max_value_chars,
        ),
    ]


ATTRIBUTES: Final = Suite(name="attributes", things="attribute keys", frame=_keys_frame, rules=_key_rules)
ATTRIBUTE_VALUES: Final = Suite(
    name="attribute-values", things="attribute values", frame=_values_frame, rules=_value_rules
)
