"""Every table has exactly the columns and types of the schema."""

from __future__ import annotations

from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import reading
from moon.catalog.validation.rules import FAIL, PAIR_EQUAL, Rule, Suite
from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a column of every table: the type ``found`` and the type ``expected``."""
    rows = []
    for table, schema in CATALOG_TABLES.items():
        shards = []
        for path in sorted((tables.catalog.root / table).glob("part-*.parquet")):
            with reading(path):
                shards.append(pq.read_schema(path))
        for name in dict.fromkeys([*schema.names, *(name for shard in shards for name in shard.names)]):
            expected = schema.field(name).type if name in schema.names else None
            types = [shard.field(name).type if name in shard.names else None for shard in shards]
            wrong = [kind for kind in types if kind != expected]  # Arrow's equality, blind to names of list elements
            found = expected if not wrong else wrong[0]
            rows.append({"column": f"{table}.{name}", "found": _type_name(found), "expected": _type_name(expected)})
    return pd.DataFrame(rows).set_index("column")


def _type_name(kind: pa.DataType | None) -> str:
    return "no such column" if kind is None else str(kind)


def _rules(params: ValidationParams) -> list[Rule]:
    return [
        FAIL(
            "schema",
            PAIR_EQUAL,
            "are not as the schema says",
            "write the tables with moon.catalog.schema, or import the source again",
            column_A="found",
            column_B="expected",
        )
    ]


SCHEMA: Final = Suite(name="schema", things="columns", frame=_frame, rules=_rules)
