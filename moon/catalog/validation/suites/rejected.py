"""How much of the source could not enter the catalogue."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from moon.catalog.validation.rules import BETWEEN, FAIL, WARN, Rule, Suite
from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams

_TABLES: Final = ("products", "images", "interactions")


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a table: how many of its rows were rejected, as a share of all that were given."""
    reasons: dict[str, Counter[str]] = {name: Counter() for name in _TABLES}
    for row in tables.catalog.rows("rejected", ["table", "reason"]):
        reasons.setdefault(row["table"], Counter())[row["reason"]] += 1
    rows = []
    for name, counts in reasons.items():
        given = _kept(tables, name) + counts.total()
        told = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        label = f"{name}: {counts.total()} of {given} rows, {told}"
        lost = counts.total() / max(given, 1)
        fails = lost > params.fail_rejected_share  # told once, by the worse check
        rows.append({"table": label, "share": lost, "tolerable_share": np.nan if fails else lost})
    return pd.DataFrame(rows).set_index("table")


def _kept(tables: Tables, name: str) -> int:
    shards = (tables.catalog.root / name).glob("part-*.parquet")
    return sum(pq.read_metadata(shard).num_rows for shard in shards)


def _rules(params: ValidationParams) -> list[Rule]:
    advice = "the rejected table says what is wrong with each row"
    return [
        FAIL(
            "rejected-rows-fail",
            BETWEEN,
            f"lost more than {params.fail_rejected_share:.1%} of their rows at the import",
            advice,
            column="share",
            max_value=params.fail_rejected_share,
        ),
        WARN(
            "rejected-rows-warn",
            BETWEEN,
            f"lost more than {params.warn_rejected_share:.1%} of their rows at the import",
            advice,
            column="tolerable_share",
            max_value=params.warn_rejected_share,
        ),
    ]


REJECTED: Final = Suite(name="rejected", things="tables", frame=_frame, rules=_rules)
