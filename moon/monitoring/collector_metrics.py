"""Metrics of the collector."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()
EVENTS: Final = Counter(
    "moon_collector_events", "Events by outcome.", ["service", "kind", "outcome"], registry=REGISTRY
)
REFUSED: Final = Counter("moon_collector_refused", "Requests refused by reason.", ["reason"], registry=REGISTRY)
PENDING: Final = Gauge("moon_collector_pending_events", "Events that are not yet in the log.", registry=REGISTRY)
FSYNC: Final = Histogram("moon_collector_fsync_seconds", "One fsync of the log.", registry=REGISTRY)
WRITE_ERRORS: Final = Counter("moon_collector_write_errors", "Failed writes of the log.", registry=REGISTRY)
LAST_EVENT: Final = Gauge(
    "moon_collector_last_event_timestamp_seconds", "When the last event was accepted.", ["service"], registry=REGISTRY
)
