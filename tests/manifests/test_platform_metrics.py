"""Rules and panels on what runs beside the server read metrics that something shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.manifests.promql import grouped, platform_expressions, selectors

OF_THE_PLATFORM = {
    "up": {"job"},
    "moon_items_total": set(),  # the server's
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_status_desired_replicas": {"horizontalpodautoscaler"},
    "kube_job_failed": {"condition", "job_name"},
    "kube_pod_container_status_restarts_total": {"pod", "container"},
    "kube_pod_status_phase": {"phase", "pod"},
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
    "container_cpu_usage_seconds_total": {"container", "pod"},
    "container_memory_working_set_bytes": {"container", "pod"},
}
"""Of kube-state-metrics, the kubelet and Prometheus itself, with their labels beside the namespace."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every name that the collector shows, and its labels."""
    from prometheus_client import generate_latest

    from moon.monitoring import collector_metrics, drift_metrics

    root = tmp_path_factory.mktemp("traffic")
    window = "2026-11-23T0700Z"
    folder = drift_metrics.decision_folder(root, "moon", window)
    folder.mkdir(parents=True)
    test = {"name": "length", "effect": 0.1, "drifted": True}
    decision = {
        "decision": "warn",
        "window": window,
        "window_rows": 500,
        "model_changed": False,
        "p_value": 0.01,
        "auc": 0.6,
        "tests": [test],
        "probe": {"recall": 0.9},
    }
    (folder / drift_metrics.DECISION).write_text(json.dumps(decision))
    collector_metrics.EVENTS.labels("moon", "request", "accepted").inc(0)
    collector_metrics.REFUSED.labels("busy").inc(0)
    collector_metrics.LAST_EVENT.labels("moon").set(0)
    text = (generate_latest(collector_metrics.REGISTRY) + drift_metrics.published(root)).decode()
    found: dict[str, set[str]] = dict(OF_THE_PLATFORM)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_only_metrics_are_read_that_something_shows(shown: dict[str, set[str]]) -> None:
    for where, expression in platform_expressions().items():
        found = list(selectors(expression))
        assert found, where
        for metric, labels in found:
            assert metric in shown, f"{where} reads {metric}, which nothing shows"
            assert labels <= shown[metric] | {"namespace"}, f"{where} matches labels that {metric} does not have"
        known = {label for metric, _ in found for label in shown[metric]}
        assert grouped(expression) <= known | {"namespace"}, where


def test_every_metric_of_the_collector_is_on_the_dashboard(shown: dict[str, set[str]]) -> None:
    panels = [expression for where, expression in platform_expressions().items() if where.startswith("panel")]
    read = {metric for expression in panels for metric, _ in selectors(expression)}
    ours = {name for name in shown if name.startswith(("moon_collector", "moon_drift"))}
    assert {name for name in ours if not name.endswith(("_created", "_bucket", "_sum", "_count"))} <= read


def test_the_folder_of_manifests_holds_no_loose_dashboard() -> None:
    folder = Path(__file__).parents[2] / "manifests"
    assert {path.parent.name for path in folder.rglob("*.json")} == {"monitoring"}
