"""Alert rules, dashboard, autoscaler and canary read only what a running server shows."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.manifests.promql import TARGET_LABELS, expressions, grouped, selectors
from tests.serving.running import Server

OF_PROMETHEUS = {"up"}
"""Metrics that Prometheus makes itself."""
OF_SAMPLES = {"le"}


@pytest.fixture(scope="module")
def shown(server: Server) -> dict[str, set[str]]:
    """Every name on ``/metrics``, after good and bad requests, and the labels seen with it."""
    server.http.post("/v1/embeddings", json={"input": "red mug"})
    server.http.post("/v1/embeddings", json={"input": 7})
    server.http.post("/search", json={"text": "red mug"})
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(server.http.get("/metrics").text):
        # A metric with labels has no samples before it is first used; its name is known all the same.
        total = f"{family.name}_total" if family.type == "counter" else family.name
        names = [total, *(f"{family.name}_{part}" for part in ("bucket", "sum", "count"))]
        for name in names if family.type == "histogram" else names[:1]:
            found.setdefault(name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_only_metrics_are_read_that_the_server_shows(shown: dict[str, set[str]]) -> None:
    for where, expression in expressions().items():
        for metric, labels in selectors(expression):
            assert metric in shown.keys() | OF_PROMETHEUS, f"{where} reads {metric}, which no server shows"
            if known := shown.get(metric):
                assert labels <= known | TARGET_LABELS, f"{where} matches labels that {metric} does not have"


def test_only_labels_are_grouped_by_that_the_metrics_have(shown: dict[str, set[str]]) -> None:
    for where, expression in expressions().items():
        metrics = [metric for metric, _ in selectors(expression)]
        known = {label for metric in metrics for label in shown.get(metric, ())}
        silent = any(not shown.get(metric) and metric.startswith("moon_") for metric in metrics)
        assert silent or grouped(expression) <= known | TARGET_LABELS | OF_SAMPLES, where


def test_every_metric_of_ours_is_on_the_dashboard(shown: dict[str, set[str]]) -> None:
    panels = [expression for where, expression in expressions().items() if where.startswith("panel")]
    read = {_family(metric) for expression in panels for metric, _ in selectors(expression)}
    assert {_family(name) for name in shown if name.startswith("moon_")} <= read


def _family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count|created|total)$", "", name)
