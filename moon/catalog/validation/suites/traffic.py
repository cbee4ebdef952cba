"""The behaviour log minute by minute: what no person does."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from moon.catalog.validation.rules import BETWEEN, WARN, Rule, Suite
from moon.catalog.validation.tables import NO_TIME, Ints, Tables
from moon.config import ValidationParams

_MINUTE: Final = 60_000_000
_BUSY: Final = 100
"""A minute with fewer rows is no burst, however quiet the others are."""


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a minute with traffic: rows over the median minute's, and the most repeats of one purchase in it."""
    timed = (tables.times != NO_TIME) & (tables.question_codes >= 0)
    minutes = tables.times[timed] // _MINUTE
    if not len(minutes):
        return pd.DataFrame({"over_median": [], "repeats": []}, dtype=float)
    first = minutes.min()
    rows = pd.Series(minutes - first).value_counts(sort=False).sort_index()
    busy = np.where(rows >= _BUSY, rows / rows.median(), 0.0)
    return pd.DataFrame(
        {"over_median": busy, "repeats": _repeats(tables, timed, minutes - first).reindex(rows.index).to_numpy()},
        index=pd.to_datetime((rows.index.to_numpy() + first) * _MINUTE, unit="us").strftime("%Y-%m-%d %H:%M"),
    )


def _repeats(tables: Tables, timed: np.ndarray, minutes: Ints) -> pd.Series:
    """Most rows of one question and product in each minute."""
    frame = pd.DataFrame({"minute": minutes, "question": tables.question_codes[timed], "product": tables.bought[timed]})
    counts = frame.groupby(["minute", "question", "product"], sort=False).size()
    return counts.groupby(level="minute").max()


def _rules(params: ValidationParams) -> list[Rule]:
    return [
        WARN(
            "traffic-repeats",
            BETWEEN,
            f"hold one query and product more than {params.max_repeats_per_minute} times",
            "a script or a test of the shop; leave these rows out",
            column="repeats",
            max_value=params.max_repeats_per_minute,
        ),
        WARN(
            "traffic-burst",
            BETWEEN,
            f"hold more than {params.max_burst:g} times the rows of the median minute",
            "a bot, or a batch stamped with its time of import; leave these rows out or take the time of the act",
            column="over_median",
            max_value=params.max_burst,
        ),
    ]


TRAFFIC: Final = Suite(name="traffic", things="minutes with traffic", frame=_frame, rules=_rules)
