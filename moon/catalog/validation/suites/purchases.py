"""How purchases spread over the products."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from moon.catalog.validation.rules import BETWEEN, WARN, Rule, Suite
from moon.catalog.validation.tables import Tables, one_array
from moon.config import ValidationParams

_TIMES_EVEN: Final = 10
"""A share up to this many times an even one is plausible whatever ``max_product_share`` says: small catalogues."""


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a bought product; ``share`` of all purchases, 0 where it is within ten times an even share."""
    counts = np.bincount(tables.bought[tables.bought >= 0], minlength=tables.products.num_rows)
    rows = np.flatnonzero(counts)
    shares = counts[rows] / max(counts.sum(), 1)
    names = one_array(tables.products["product_id"]).take(pa.array(rows)).to_pandas()
    plausible = shares * len(rows) <= _TIMES_EVEN
    index = pd.Index(names, name="product_id", dtype=object)
    return pd.DataFrame({"purchases": counts[rows], "share": np.where(plausible, 0.0, shares)}, index=index)


def _rules(params: ValidationParams) -> list[Rule]:
    return [
        WARN(
            "product-share",
            BETWEEN,
            f"take more than {params.max_product_share:.0%} of all purchases and ten times an even share",
            "often a gift, a bag or a default; leave its purchases out or cap them, or training learns little else",
            column="share",
            max_value=params.max_product_share,
        )
    ]


PURCHASES: Final = Suite(name="purchases", things="bought products", frame=_frame, rules=_rules)
