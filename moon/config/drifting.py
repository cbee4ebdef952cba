"""The section ``drift``: windows of traffic and the decision on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from moon.config.fields import Count, Limits, NotNegative, Section, Seed, Share


@dataclass(frozen=True, kw_only=True)
class DriftParams(Section):
    """Windows of traffic and the test that compares them."""

    seed: Seed = 0
    window: Count = 300
    """Requests in one window."""
    shift: str = "dark-photos"
    """What the second replayed window changes: ``dark-photos`` or ``new-categories``."""
    alpha: Annotated[float, Limits(0, 1, open=True)] = 0.05
    """False-alarm rate of one decision over all of a window's tests."""
    permutations: Count = 999
    """Shuffles behind every p-value; the smallest one that can be had is 1 / (permutations + 1)."""
    retrain_auc: Share = 0.65
    """Embeddings that drifted ask for training where a classifier tells the windows apart with this AUC."""
    min_effect: Share = 0.02
    """A smaller effect is no drift, however certain: KS distance, Cramér's V, or 2 AUC - 1. It matters in windows of
    many rows."""
    min_rows: Annotated[int, Limits(2)] = 50
    """A window with fewer rows is not tested."""
    evidently_rows: Count = 200
    """Rows in the Evidently report; its plots grow faster than the rows."""
    probes: Count = 200
    """Queries of the probe set, which is asked anew with every window."""
    probe_k: Count = 10
    """Products among which a probe's right one must be found."""
    max_recall_drop: Share = 0.05
    """Recall that the probe set may lose before it is a warning."""
    trigger_hours: NotNegative = 24.0
    """Least time between the windows of two trainings that drift starts; one window never starts two."""
