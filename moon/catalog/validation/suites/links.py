"""The tables that join others: relations between products, and true boxes in pictures."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from moon.catalog.validation.rules import FAIL, IN_SET, NOTHING, Rule, Suite, faults, share, soft
from moon.catalog.validation.tables import Tables, rows_of
from moon.config import ValidationParams

_RELATIONS: Final = ("same", "substitute", "complement")
_SLACK: Final = 0.5
"""Pixels by which a box may leave its picture: rounding."""


def _relations_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a relation."""
    table = tables.catalog.table("relations")
    frame = table.to_pandas()
    known = tables.products["product_id"]
    one, other = (rows_of(table[name], known) for name in ("product_id", "other_id"))
    pairs = pd.DataFrame({"low": np.minimum(one, other), "high": np.maximum(one, other), "kind": frame["relation"]})
    kinds = pairs.groupby(["low", "high"])["kind"].transform("nunique").to_numpy(float)
    label = (frame["product_id"].astype(str) + " - " + frame["other_id"].astype(str)).to_numpy(object)
    both = (one >= 0) & (other >= 0)
    return pd.DataFrame(
        {
            "unknown": faults((one < 0) | (other < 0), label),
            "relation": frame["relation"].to_numpy(object),
            "itself": faults(both & (one == other), label),
            "twice": faults(frame.duplicated(["product_id", "other_id", "relation"]).to_numpy(bool), label),
            "contradiction": faults(both & (kinds > 1), label),
        },
        index=pd.Index(label, name="pair", dtype=object),
    )


def _relation_rules(params: ValidationParams) -> list[Rule]:
    warn = soft(params)
    return [
        FAIL(
            "relation-known",
            NOTHING,
            "name a product that is not in the products table",
            "add the product or leave the relation out",
            column="unknown",
        ),
        FAIL(
            "relation-kind",
            IN_SET,
            f"are of a kind other than {', '.join(_RELATIONS)}",
            "say it with one of these",
            column="relation",
            value_set=list(_RELATIONS),
        ),
        warn("relation-itself", NOTHING, "relate a product to itself", "leave the row out", column="itself"),
        warn("relation-twice", NOTHING, "are given twice", "leave the second out", column="twice"),
        warn(
            "relation-contradiction",
            NOTHING,
            "give two products different relations",
            "the same or a substitute cannot be a complement; keep one",
            column="contradiction",
        ),
    ]


def _boxes_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a true box."""
    table = tables.catalog.table("boxes")
    frame = table.to_pandas()
    rows = rows_of(table["image_id"], tables.images["image_id"])
    sides = tables.images.select(["width", "height"]).to_pandas().reindex(np.where(rows < 0, -1, rows))
    width, height = sides["width"].to_numpy(float), sides["height"].to_numpy(float)
    label = [f"{row.image_id}: {row.x0:g}, {row.y0:g}, {row.x1:g}, {row.y1:g}" for row in frame.itertuples(index=False)]
    empty = ~((frame["x1"] > frame["x0"]) & (frame["y1"] > frame["y0"])).to_numpy(bool)
    outside = (frame[["x0", "y0"]].min(axis=1) < -_SLACK).to_numpy(bool)
    outside |= (frame["x1"].to_numpy() > width + _SLACK) | (frame["y1"].to_numpy() > height + _SLACK)
    names = np.array(label, object)
    return pd.DataFrame(
        {
            "unknown": faults(rows < 0, names),
            "empty": faults(empty, names),
            "outside": faults(outside & (rows >= 0), names),
        },
        index=pd.Index(frame["image_id"], name="image_id", dtype=object),
    )


def _box_rules(params: ValidationParams) -> list[Rule]:
    shared = share(params)
    return [
        FAIL(
            "box-known",
            NOTHING,
            "are in a picture that is not in the images table",
            "add the picture or leave the box out",
            column="unknown",
        ),
        FAIL(
            "box-empty",
            NOTHING,
            "have no area or a corner that is no number",
            "x0 < x1 and y0 < y1 in pixels; convert boxes of centre and size",
            column="empty",
        ),
        shared(
            "box-inside",
            NOTHING,
            "reach outside their picture",
            "they were drawn in a picture of another size; scale them to the stored one",
            column="outside",
        ),
    ]


RELATIONS: Final = Suite(name="relations", things="rows of relations", frame=_relations_frame, rules=_relation_rules)
BOXES: Final = Suite(name="boxes", things="rows of boxes", frame=_boxes_frame, rules=_box_rules)
