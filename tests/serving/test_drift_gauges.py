from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import Gauge

from moon.model import View
from moon.serving import metrics
from moon.serving.drift_gauges import DriftGauges


def value(gauge: Gauge, label: str) -> float:
    return float(gauge.labels(label)._value.get())


def feed(gauges: DriftGauges, view: View, direction: int, count: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(count):
        vector = rng.normal(0, 0.05, 16)
        vector[direction] += 1
        gauges.observe(view, (vector / np.linalg.norm(vector)).astype(np.float32), 1.0)
    gauges.publish()


def test_the_distance_tells_the_reference_from_another_place_and_follows_the_traffic() -> None:
    gauges = DriftGauges({"image": 5.0 * np.eye(16)[0]}, window=50)
    feed(gauges, "image", 0, 300)
    assert value(metrics.CENTROID_DISTANCE, "image") < 0.02
    feed(gauges, "image", 1, 300)
    assert value(metrics.CENTROID_DISTANCE, "image") > 0.9
    feed(gauges, "image", 0, 300)
    assert value(metrics.CENTROID_DISTANCE, "image") < 0.02


def test_the_share_of_missing_sides_is_that_of_the_window() -> None:
    gauges = DriftGauges({}, window=50)
    for _ in range(10):
        for view in ("text", "image", "multimodal", "multimodal"):
            feed(gauges, view, 0, 1)  # type: ignore[arg-type]
    assert value(metrics.MISSING_MODALITY, "text") == pytest.approx(0.25, abs=0.02)
    assert value(metrics.MISSING_MODALITY, "image") == pytest.approx(0.25, abs=0.02)
    feed(gauges, "text", 0, 400)
    assert value(metrics.MISSING_MODALITY, "text") == pytest.approx(0, abs=0.01)
    assert value(metrics.MISSING_MODALITY, "image") == pytest.approx(1, abs=0.01)


def test_without_a_reference_there_is_no_distance() -> None:
    before = set(metrics.CENTROID_DISTANCE._metrics)
    feed(DriftGauges({}), "multimodal", 0, 3)
    assert set(metrics.CENTROID_DISTANCE._metrics) == before
