"""What PromQL expressions read: the metrics and labels of alert rules, dashboard, autoscaler and canary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from moon.cluster.canary import traffic
from tests.manifests.rendering import MANIFESTS, bodies, only

MONITORING = MANIFESTS / "components" / "monitoring"
VARIABLES = {"$__rate_interval": "5m", "$namespace": "moon", "$predictor": ".*"}
TARGET_LABELS = {"namespace", "pod", "inferenceservice", "predictor"}
"""What Prometheus adds to every series; the last two by the PodMonitor."""


def rules(*names: str) -> list[dict[str, Any]]:
    """The alert rules of these PrometheusRules, or of all."""
    return [
        rule
        for path in sorted(MONITORING.glob("*.yaml"))
        for body in yaml.safe_load_all(path.read_text())
        if body["kind"] == "PrometheusRule" and (not names or body["metadata"]["name"] in names)
        for group in body["spec"]["groups"]
        for rule in group["rules"]
    ]


def dashboard(name: str = "moon") -> dict[str, Any]:
    """A Grafana dashboard: ``moon`` of the server, ``moon-platform`` of what runs beside it."""
    return dict(json.loads((MONITORING / f"{name}.json").read_text()))


def expressions() -> dict[str, str]:
    """Every PromQL expression on the model server, by where it stands."""
    found = {f"alert {rule['alert']}": str(rule["expr"]) for rule in rules("moon-serving")}
    found |= _panels(dashboard())
    service = only("InferenceService", bodies(MANIFESTS / "overlays" / "keda"))
    [metric] = service["spec"]["predictor"]["autoScaling"]["metrics"]
    found["autoscaler"] = metric["external"]["metric"]["query"]
    for query in _canary_queries():
        found[f"canary {query[:40]}"] = query
    return {where: _filled(expression) for where, expression in found.items()}


def platform_expressions() -> dict[str, str]:
    """Every PromQL expression on what runs beside the server, by where it stands."""
    found = {f"alert {rule['alert']}": str(rule["expr"]) for rule in rules("moon-traffic", "moon-platform")}
    found |= _panels(dashboard("moon-platform"))
    return {where: _filled(expression) for where, expression in found.items()}


def _panels(board: dict[str, Any]) -> dict[str, str]:
    return {
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metric and the matched labels of each selector in an expression.

    Raises:
        ValueError: the expression is no PromQL.
    """
    parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    yield from _walk(parser.parse(expression))


def grouped(expression: str) -> set[str]:
    """Labels that an expression groups by."""
    parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    return {label for node in _nodes(parser.parse(expression)) for label in _grouping(node)}


def _canary_queries() -> list[str]:
    asked: list[str] = []
    traffic(lambda query: asked.append(query), "moon", "moon-v2-predictor", "30m")  # type: ignore[func-returns-value]
    return asked


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _walk(root: Any) -> Iterator[tuple[str, set[str]]]:
    for node in _nodes(root):
        if type(node).__name__ == "VectorSelector":
            yield node.name, {matcher.name for matcher in node.matchers.matchers}


def _nodes(node: Any) -> Iterator[Any]:
    """A node and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str | float):
            yield from _nodes(child)
    for child in getattr(node, "args", None) or []:
        yield from _nodes(child)


def _grouping(node: Any) -> list[str]:
    """Of an aggregation, or of the matching between two sides."""
    modifier = getattr(node, "modifier", None)
    return list(getattr(getattr(modifier, "matching", modifier), "labels", None) or [])
