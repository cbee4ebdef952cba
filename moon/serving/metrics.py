"""Prometheus metrics of the server; KServe's ``/metrics`` shows them beside its own."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

ITEMS = Counter("moon_items", "Items embedded", ["route", "view"])
ERRORS = Counter("moon_errors", "Requests refused or failed", ["reason"])
BATCH_ITEMS = Histogram("moon_batch_items", "Items in one forward pass", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
QUEUE_SECONDS = Histogram(
    "moon_queue_seconds", "Time from decoded to computed on", buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
FORWARD_SECONDS = Histogram(
    "moon_forward_seconds", "Time of one forward pass", buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
