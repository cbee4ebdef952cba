"""What evaluation may not share with training, and whether there is anything of either."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from moon.catalog.schema import SPLITS as NAMES
from moon.catalog.validation.rules import BETWEEN, NOTHING, WARN, Rule, Suite, checker, faults, leak, share
from moon.catalog.validation.tables import NO_TIME, Bools, Ints, Tables, earlier
from moon.config import ValidationParams

_TRAIN: Final = NAMES.index("train")


def _splits_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row: interactions to train on and to evaluate on, and the share of the products that are bought."""
    counts = np.array([(tables.splits == _TRAIN).sum(), (tables.splits > _TRAIN).sum()], float)
    bought = len(np.unique(tables.bought[tables.bought >= 0]))
    row = [*counts, 1.0 - bought / max(tables.products.num_rows, 1)]
    if not tables.interactions.num_rows:
        row = [np.nan] * len(row)  # that there is no log is told by the interactions suite
    return pd.DataFrame([row], columns=["training", "evaluation", "never_bought"], index=["log"])


def _splits_rules(params: ValidationParams) -> list[Rule]:
    evaluate = "hold out some queries as split val or test"
    return [
        WARN(
            "splits-training",
            BETWEEN,
            "no interaction is in split train: there is nothing to train a model on",
            "give some queries the split train",
            column="training",
            min_value=1,
        ),
        WARN(
            "splits-evaluation",
            BETWEEN,
            "every interaction is in split train: there is nothing to evaluate a model on",
            evaluate,
            column="evaluation",
            min_value=1,
        ),
        WARN(
            "products-unbought",
            BETWEEN,
            f"more than {params.max_unbought_share:.0%} of the products were never bought",
            "the model learns of them through others only; take a longer log or a smaller catalogue",
            column="never_bought",
            max_value=params.max_unbought_share,
        ),
    ]


def _leakage_frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row an interaction of a split; rows that are not at fault are null."""
    log, splits = tables.interactions, tables.splits
    alone = np.where(tables.asked_codes < 0, tables.text_codes, -1)
    bought = tables.bought
    held_out = (splits == _TRAIN) & (bought >= 0) & (np.append(tables.product_splits, -1)[bought] > _TRAIN)
    return pd.DataFrame(
        {
            "text": faults(earlier(alone, splits), log["query_text"]),
            "picture": faults(earlier(tables.asked_codes, splits), log["query_image_id"]),
            "own_picture": faults(_own_picture(tables), log["query_image_id"]),
            "held_out_product": faults(held_out, log["product_id"]),
            "trained_later": faults(_trained_later(tables), log["product_id"]),
        },
        index=log["query_id"].to_pandas(),
    )


def _own_picture(tables: Tables) -> Bools:
    """Rows whose query picture is, byte for byte, a picture of the product bought."""
    owner, shown = tables.shown[0], tables.shown_codes
    width = int(tables.picture_codes.max(initial=-1)) + 1
    own = np.unique((owner * width + shown)[shown >= 0])
    asked = (tables.asked_codes >= 0) & (tables.bought >= 0)
    return asked & np.isin(tables.bought * width + tables.asked_codes, own)


def _trained_later(tables: Tables) -> Bools:
    """Train rows of a product that come after its first evaluated one, in a log whose times were recorded.

    Evenly spaced times were made, by an import for instance, and say nothing.
    """
    times, splits, bought = tables.times, tables.splits, tables.bought
    usable = (times != NO_TIME) & (bought >= 0) & (splits >= 0)
    if not usable.any() or _evenly_spaced(times[usable]):
        return np.zeros(len(times), bool)
    first = np.full(tables.products.num_rows, np.iinfo(np.int64).max)
    evaluated = usable & (splits > _TRAIN)
    np.minimum.at(first, bought[evaluated], times[evaluated])
    later: npt.NDArray[np.bool_] = usable & (splits == _TRAIN) & (times > first[bought])
    return later


def _evenly_spaced(times: Ints) -> bool:
    gaps = np.diff(np.sort(times))
    return len(gaps) < 2 or bool(gaps.min() == gaps.max())


def _leakage_rules(params: ValidationParams) -> list[Rule]:
    leaks, shared = leak(params), share(params)
    return [
        leaks(
            "query-text-in-two-splits",
            NOTHING,
            "ask with a text of an earlier split",
            "the answer may be remembered; keep all rows of a query in one split",
            column="text",
        ),
        shared(
            "query-picture-in-two-splits",
            NOTHING,
            "ask with a picture of an earlier split, byte for byte",
            "the answer was seen in training; keep all rows of a picture in one split",
            column="picture",
        ),
        leaks(
            "query-own-picture",
            NOTHING,
            "ask with the very picture that the product shows",
            "any model finds it; ask with a photo that the shop did not take",
            column="own_picture",
        ),
        shared(
            "held-out-product-trained",
            NOTHING,
            "are trained on, though their product is of split val or test",
            "the held-out product is seen; give the row the split of its product",
            column="held_out_product",
        ),
        checker("warn", params.warn_leak_share)(
            "trained-later",
            NOTHING,
            "are trained on, though the product was evaluated at an earlier time",
            "the model knows the future of what it is tested on; split the log at one time",
            column="trained_later",
        ),
    ]


SPLITS: Final = Suite(name="splits", things="", frame=_splits_frame, rules=_splits_rules)
LEAKAGE: Final = Suite(name="leakage", things="rows of interactions", frame=_leakage_frame, rules=_leakage_rules)
