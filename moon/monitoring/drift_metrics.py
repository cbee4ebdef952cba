"""The latest decision on each service as Prometheus metrics, read from the files where decisions are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from moon.monitoring.segments import start_of

DECISIONS: Final = "decisions"
DECISION: Final = "decision.json"
_LEVELS: Final = ("ok", "warn", "retrain")
_LOG = logging.getLogger(__name__)


def decision_folder(root: Path, service: str, window: str) -> Path:
    """Where the decision on a window is kept, with its reports."""
    return root / DECISIONS / service / window


def published(root: Path) -> bytes:
    """The metrics in Prometheus's text form; nothing where there is no decision yet."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"moon_drift_{name}", text, ["service", *labels], registry=registry)

    decision = gauge("decision", "Latest decision: 1 for the one that holds.", "decision")
    start = gauge("window_start_timestamp_seconds", "When the latest judged window starts.")
    rows = gauge("window_rows", "Rows of the latest judged window.")
    p_value = gauge("p_value", "Smallest adjusted p-value of the latest window.")
    auc = gauge("auc", "AUC of the domain classifier on the embeddings.")
    model = gauge("model_changed", "Whether another model answers than in the reference.")
    effect = gauge("effect", "Size of the difference by test, on the test's own scale.", "test")
    drifted = gauge("drifted", "Whether a test has drifted.", "test")
    recall = gauge("probe_recall", "Recall on the probe set.")
    for service, tree in _latest(root):
        for level in _LEVELS:
            decision.labels(service, level).set(tree["decision"] == level)
        start.labels(service).set(start_of(tree["window"]).timestamp())
        rows.labels(service).set(tree["window_rows"])
        model.labels(service).set(tree["model_changed"])
        for number, value in ((p_value, tree["p_value"]), (auc, tree["auc"])):
            if value is not None:
                number.labels(service).set(value)
        for test in tree["tests"]:
            effect.labels(service, test["name"]).set(test["effect"])
            drifted.labels(service, test["name"]).set(test["drifted"])
        if tree["probe"] is not None:
            recall.labels(service).set(tree["probe"]["recall"])
    return generate_latest(registry)


def _latest(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Services and the decisions on their latest windows; a file that cannot be read is a warning."""
    for folder in sorted(path for path in (root / DECISIONS).glob("*") if path.is_dir()):
        newest = max(folder.glob(f"*/{DECISION}"), default=None)
        if newest is None:
            continue
        try:
            yield folder.name, json.loads(newest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            _LOG.warning("%s cannot be shown: %s", newest, error)
