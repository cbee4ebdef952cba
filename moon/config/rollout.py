"""The section ``pipeline``: how a pipeline shares out its work and brings a model into service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from moon.config.fields import Count, NotNegative, OneOf, Positive, Section


@dataclass(frozen=True, kw_only=True)
class PipelineParams(Section):
    """Shares of the work, and the roll-out of a model that passed its gate."""

    shards: Count = 1
    """Shares in which pictures are searched for regions and products are embedded, each a task of its own."""
    rollout: Annotated[str, OneOf("local", "kserve")] = "local"
    """Where a model is served: by a process on this machine, or by an InferenceService of KServe."""
    url: str = ""
    """Address of a predictor, ``{predictor}`` filled in; empty: its Service in the cluster (KServe only)."""
    prometheus: str = ""
    """Prometheus server that scrapes the predictors; a canary beside a stable version is judged by it (KServe only)."""
    canary_window: str = "30m"
    """How far back a canary's traffic is looked at, as PromQL writes it."""
    canary_seconds: NotNegative = 3600.0
    """How long a canary may take to get enough traffic; then it is rolled back."""
    poll_seconds: Positive = 15.0
    """Time between two looks at a roll-out."""
    ready_seconds: Positive = 900.0
    """How long an InferenceService may take to become ready."""
