"""Step validate: does this catalogue hold what the rest of the chain relies on?"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from moon.catalog.store import Catalog
from moon.config import ValidationParams
from moon.steps import outcome

DOCS = "docs"
COUNTED = ("products", "images", "interactions")
"""Tables whose rows the result counts."""


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """Whether a catalogue may be used, and what was found in it."""

    passed: bool
    failures: list[str]
    warnings: list[str]
    rows: dict[str, int]
    """Rows of each checked table."""
    rejected: dict[str, int]
    """Rejected rows by ``table.reason``."""
    docs: str
    """Start page of the Data Docs, from the output folder."""
    checks: int
    """Checks that ran."""


def run(*, catalog: Path, params: ValidationParams, out: Path) -> ValidationResult:
    """Runs the suites and writes Data Docs to ``out/docs``; a failed validation is a result, not an error.

    Raises:
        CatalogError: ``catalog`` is not a catalogue folder.
    """
    from moon.catalog.validation.checks import check_catalog  # takes seconds to import

    opened = Catalog.open(catalog)
    shutil.rmtree(out / DOCS, ignore_errors=True)
    found = check_catalog(opened, params, out / DOCS)
    reasons = Counter(f"{row['table']}.{row['reason']}" for row in opened.rows("rejected", ["table", "reason"]))
    result = ValidationResult(
        passed=not found.failures,
        failures=found.failures,
        warnings=found.warnings,
        rows={name: _count(opened, name) for name in COUNTED},
        rejected=dict(sorted(reasons.items())),
        docs=f"{DOCS}/index.html",
        checks=len(found.results),
    )
    return outcome.save(out, result)


def _count(catalog: Catalog, table: str) -> int:
    shards = (catalog.root / table).glob("part-*.parquet")
    return sum(pq.read_metadata(shard).num_rows for shard in shards)
