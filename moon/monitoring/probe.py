"""A probe set: fixed queries with known products, asked anew with every window.

The queries stay the same, so whatever changes in their embeddings is the model's doing and not the traffic's, and
whatever changes in the products found, with the same embeddings, is the index's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SAME_MODEL: Final = 1e-3
"""Mean cosine distance of the embeddings up to which it is the same model: number formats and batches differ less."""
_VERSION_KEY: Final = b"moon.probe_version"
_VERSION: Final = b"1"


class ProbeError(ValueError):
    """A file is no answered probe set, or two of them cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class ProbeComparison:
    """The answers to the probe set now, beside those of the reference."""

    queries: int
    distance: float
    """Mean cosine distance of the embeddings, 0 to 2."""
    model_changed: bool
    reference_recall: float
    recall: float
    """Share of the queries with a right product among those found."""
    p_value: float
    """Of the change in recall: exact sign test over the queries that differ, two-sided."""
    reference_revision: str
    revision: str
    index_changed: bool


def probe_table(rows: Sequence[Mapping[str, Any]], revision: str, index_revision: str) -> pa.Table:
    """Answers as a table.

    Args:
        rows: ``query_id``, ``embedding``, ``found`` (product ids, best first) and ``relevant`` of each query.
        revision: of the model that answered.
        index_revision: of its index.
    """
    fields = [
        ("query_id", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("found", pa.list_(pa.string())),
        ("relevant", pa.list_(pa.string())),
    ]
    metadata = {_VERSION_KEY: _VERSION, b"revision": revision.encode(), b"index_revision": index_revision.encode()}
    return pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields, metadata=metadata))


def write_probe(path: Path, answers: pa.Table) -> None:
    """Writes answers as one Parquet file, which appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(answers, partial)
    partial.replace(path)


def read_probe(path: Path) -> pa.Table:
    """Reads what `write_probe` wrote.

    Raises:
        ProbeError: no such file, or not of this form.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ProbeError(f"no answered probe set at {path}: {error}; record one with 'moon probe'") from None
    if (table.schema.metadata or {}).get(_VERSION_KEY) != _VERSION:
        raise ProbeError(f"{path} is no answered probe set of version {_VERSION.decode()}; record it with 'moon probe'")
    return table


def compare_probes(reference: pa.Table, now: pa.Table) -> ProbeComparison:
    """Compares two answers to one probe set.

    Raises:
        ProbeError: they answer no common query.
    """
    before, after = ({row["query_id"]: row for row in table.to_pylist()} for table in (reference, now))
    common = sorted(before.keys() & after.keys())
    if not common:
        raise ProbeError("the two answered probe sets have no query in common; record the reference anew")
    pairs = [(before[name], after[name]) for name in common]
    hits = np.array([[_hit(first), _hit(second)] for first, second in pairs])
    distance = float(np.mean([_distance(first["embedding"], second["embedding"]) for first, second in pairs]))
    known = [table.schema.metadata for table in (reference, now)]
    return ProbeComparison(
        queries=len(common),
        distance=round(distance, 6),
        model_changed=distance > SAME_MODEL,
        reference_recall=float(hits[:, 0].mean()),
        recall=float(hits[:, 1].mean()),
        p_value=_sign_test(int((hits[:, 0] > hits[:, 1]).sum()), int((hits[:, 0] < hits[:, 1]).sum())),
        reference_revision=known[0][b"revision"].decode(),
        revision=known[1][b"revision"].decode(),
        index_changed=known[0][b"index_revision"] != known[1][b"index_revision"],
    )


def _hit(row: Mapping[str, Any]) -> bool:
    return bool(set(row["found"]) & set(row["relevant"]))


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Cosine distance; 1 for vectors of different lengths, which no one model gives."""
    if len(first) != len(second):
        return 1.0
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(1 - one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))


def _sign_test(lost: int, won: int) -> float:
    total = lost + won
    tail = sum(math.comb(total, count) for count in range(min(lost, won) + 1)) / 2**total
    return min(1.0, 2 * tail)
