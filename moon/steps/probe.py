"""Step: asks the running server the probe set, queries of the catalogue whose right products are known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from moon.catalog.store import Catalog
from moon.config import DriftParams
from moon.monitoring.probe import probe_table, write_probe
from moon.progress import track
from moon.steps import outcome
from moon.steps.traffic import TIMEOUT_SECONDS, Answered, Purchases, ask_in_order

PROBE = "probe.parquet"


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """How the server answered."""

    queries: int
    failed: int
    recall: float
    """Share of the queries with a right product among the first ``k``."""
    k: int
    model_revision: str
    index_revision: str


def run(*, url: str, catalog: Path, params: DriftParams, out: Path) -> ProbeResult:
    """Asks the probe set; the same catalogue and parameters give the same one.

    Args:
        url: of the model server.
        catalog: catalogue folder; its held-out queries are the probes.
        params: number of probes, products among which to look, and the seed of their choice.
        out: receives ``probe.parquet`` and ``metrics.json``.

    Raises:
        ValueError: the server answers no probe, or another model or index took over while it was asked.
    """
    purchases = Purchases(Catalog.open(catalog))
    relevant: dict[str, set[str]] = defaultdict(set)
    for row in purchases.rows:
        relevant[row["query_id"]].add(row["product_id"])
    position = {row["query_id"]: number for number, row in reversed([*enumerate(purchases.rows)])}
    names = sorted(position)
    count = min(params.probes, len(names))
    chosen = [names[one] for one in np.random.default_rng(params.seed).permutation(len(names))[:count]]
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    revisions = set()
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        requests = (purchases.request(position[name], k=params.probe_k) for name in chosen)
        answers = track(ask_in_order(client, requests), "probe", total=count)
        for name, (_, answer) in zip(chosen, answers, strict=True):
            if isinstance(answer, Answered):
                revisions.add((answer.tree["model_revision"], answer.tree["index_revision"]))
                found = [product["id"] for product in answer.tree["products"]]
                rows.append(
                    {
                        "query_id": name,
                        "embedding": answer.tree["embedding"],
                        "found": found,
                        "relevant": sorted(relevant[name]),
                    }
                )
            else:
                failures.append(answer)
    if not rows:
        raise ValueError(f"{url} answered none of {count} probes, the first with: {failures[0]}")
    if len(revisions) > 1:
        raise ValueError(f"{url} changed model or index while it was asked: {sorted(revisions)}; ask again")
    ((revision, index_revision),) = revisions
    write_probe(out / PROBE, probe_table(rows, revision, index_revision))
    return outcome.save(
        out,
        ProbeResult(
            queries=len(rows),
            failed=len(failures),
            recall=float(np.mean([bool(set(row["found"]) & set(row["relevant"])) for row in rows])),
            k=params.probe_k,
            model_revision=revision,
            index_revision=index_revision,
        ),
    )
