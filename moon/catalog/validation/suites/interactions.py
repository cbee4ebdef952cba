"""The behaviour log row by row: keys, questions, events and times."""

from __future__ import annotations

import datetime
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moon.catalog.schema import SPLITS
from moon.catalog.validation.rules import (
    BETWEEN,
    FAIL,
    IN_SET,
    NOTHING,
    PRESENT,
    ROWS,
    Rule,
    Suite,
    faults,
    key_rules,
    share,
    soft,
    split_rules,
)
from moon.catalog.validation.tables import NO_TIME, Bools, Tables
from moon.config import ValidationParams

_EARLIEST: Final = datetime.datetime(1995, 1, 1, tzinfo=datetime.UTC)
"""Before shops were on the web; a clock that was never set says 1970."""
_AHEAD: Final = datetime.timedelta(days=1)
"""How far a shop's clock or time zone may be ahead."""
_NEEDED: Final = (
    "training and evaluation need queries with what was bought for them; a table of your own gets "
    "them from catalog.columns.query_text or catalog.columns.query_image"
)


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row an interaction."""
    log = tables.interactions
    text = pc.utf8_length(pc.utf8_trim_whitespace(log["query_text"]))
    asks = pc.or_(pc.fill_null(pc.greater(text, 0), False), pc.is_valid(log["query_image_id"]))
    missing = tables.bought < 0
    lost = (tables.asked < 0) & pc.is_valid(log["query_image_id"]).to_numpy()
    return pd.DataFrame(
        {
            "query_id": log["query_id"].to_pandas(),
            "question": pc.if_else(asks, "asked", pa.scalar(None, pa.string())).to_pandas(),
            "unknown_product": faults(missing, pc.fill_null(log["product_id"], "(no id)")),
            "unknown_picture": faults(lost, log["query_image_id"]),
            "logged_twice": faults(_logged_twice(tables), log["query_id"]),
            "event": log["event"].to_pandas(),
            "timestamp": log["timestamp"].to_pandas().dt.tz_localize(None),
            "split": log["split"].to_pandas(),
        }
    ).set_index("query_id", drop=False)


def _logged_twice(tables: Tables) -> Bools:
    """Rows after the first with the same question, product, event and time."""
    parts = {"question": tables.question_codes, "product": tables.bought, "time": tables.times}
    parts["event"] = pd.factorize(tables.interactions["event"].to_pandas())[0]
    known = (tables.question_codes >= 0) & (tables.bought >= 0) & (tables.times != NO_TIME)
    return np.asarray(pd.DataFrame(parts).duplicated(), bool) & known


def _rules(params: ValidationParams) -> list[Rule]:
    shared, warn = share(params), soft(params)
    now = datetime.datetime.now(datetime.UTC)
    return [
        FAIL(
            "interactions-rows",
            ROWS,
            f"fewer than {params.min_interactions} rows",
            _NEEDED,
            min_value=params.min_interactions,
        ),
        *key_rules("query_id"),
        FAIL(
            "query-asks",
            PRESENT,
            "have neither a query text nor a query picture",
            "leave out what asks nothing",
            column="question",
        ),
        FAIL(
            "product-known",
            NOTHING,
            "bought a product that is not in the products table",
            "add the product or leave the row out",
            column="unknown_product",
        ),
        FAIL(
            "query-picture-known",
            NOTHING,
            "ask with a picture that is not in the images table",
            "add the picture or leave the row out",
            column="unknown_picture",
        ),
        FAIL("event-present", PRESENT, "have no event", "say what happened, such as purchase", column="event"),
        warn(
            "event-known",
            IN_SET,
            f"have an event other than {', '.join(params.events)}",
            "every row is learned as if bought; keep the events that say so, and list them in validation.events",
            column="event",
            value_set=list(params.events),
        ),
        FAIL("time-present", PRESENT, "have no timestamp", "give the time in UTC", column="timestamp"),
        shared(
            "time-future",
            BETWEEN,
            "happened in the future",
            "check the unit (seconds, milliseconds) and the time zone of the source",
            column="timestamp",
            max_value=(now + _AHEAD).replace(tzinfo=None),
        ),
        shared(
            "time-past",
            BETWEEN,
            f"happened before {_EARLIEST.year}",
            "a time of 1970 is one that was never set; check the unit of the source",
            column="timestamp",
            min_value=_EARLIEST.replace(tzinfo=None),
        ),
        warn(
            "logged-twice",
            NOTHING,
            "repeat another row: question, product, event and time",
            "one act logged twice weighs twice in training and evaluation; keep one",
            column="logged_twice",
        ),
        *split_rules("interaction", SPLITS),
    ]


INTERACTIONS: Final = Suite(name="interactions", things="rows of interactions", frame=_frame, rules=_rules)
