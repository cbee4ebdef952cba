"""From logged traffic to a decision: collect, windows, reference, monitor."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from moon.config import CollectorParams, DriftParams
from moon.monitoring.drift_metrics import published
from moon.monitoring.probe import probe_table, write_probe
from moon.steps import collect, monitor, windows
from tests.monitoring.logging_agent import NOON, search, stored

COLLECTOR = CollectorParams(fsync_seconds=0.05, keep_hours=10**6)
DRIFT = DriftParams(permutations=99, min_rows=20, evidently_rows=30)
HOURS = ("2026-11-23T1200Z", "2026-11-23T1300Z", "2026-11-23T1400Z")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def probe(folder: Path, name: str, recall: float = 1.0) -> Path:
    rows = [
        {"query_id": f"q{n}", "embedding": [1.0, n], "found": ["p"] if n < 40 * recall else [], "relevant": ["p"]}
        for n in range(40)
    ]
    write_probe(folder / f"{name}.parquet", probe_table(rows, "m1", "i1"))
    return folder / f"{name}.parquet"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three hours of traffic in the storage mode's objects; in the third the embeddings have moved."""
    place = tmp_path_factory.mktemp("monitoring")
    bucket = place / "bucket"
    bucket.mkdir()
    rng = np.random.default_rng(0)
    for hour in range(3):
        entries = []
        for number in range(60):
            vector = rng.normal(size=6) + (2.0 if hour == 2 else 0.0)
            pair = search(f"{hour}-{number}", text="mug " * int(rng.integers(1, 9)), embedding=vector.tolist())
            entries += [stored(one) for one in pair]
        path = bucket / f"{hour}-request.json"
        path.write_text(json.dumps(entries))
        stamp = (NOON + timedelta(hours=hour)).timestamp()
        os.utime(path, (stamp, stamp))
    return place


def now(hours: int):
    return NOON + timedelta(hours=hours)


def test_traffic_becomes_windows_and_windows_become_decisions(root, tmp_path, monkeypatch):
    monkeypatch.setattr("moon.monitoring.collector.datetime", _clock(now(3)))
    first = collect.ingest(store=str(root / "bucket"), root=root, params=COLLECTOR, out=tmp_path / "ingest")
    assert (first.objects, first.events, first.bad_objects) == (3, {"accepted": 360}, 0)
    again = collect.ingest(store=str(root / "bucket"), root=root, params=COLLECTOR, out=tmp_path / "ingest")
    assert (again.objects, again.events) == (0, {})

    made = windows.run(root=root, params=COLLECTOR, out=tmp_path / "windows", now=now(3))
    assert [(one.window, one.rows) for one in made.windows] == [(hour, 60) for hour in HOURS]
    assert windows.run(root=root, params=COLLECTOR, out=tmp_path / "windows", now=now(3)).windows == []

    with pytest.raises(ValueError, match="accept a window with 'moon reference"):
        monitor.run(root=root, service="moon", params=DRIFT)
    windows.accept(root=root, service="moon", window=HOURS[0], probe=probe(tmp_path, "before"))

    steady = monitor.run(root=root, service="moon", window=HOURS[1], params=DRIFT)
    assert (steady.decision, steady.cause, steady.probe) == ("ok", "none", None)
    moved = monitor.run(
        root=root, service="moon", probe=probe(tmp_path, "now", 0.7), params=DRIFT, out=tmp_path / "out"
    )
    assert (moved.window, moved.decision, moved.cause) == (HOURS[2], "retrain", "data")
    assert "Recall on the probe set" in moved.reasons[0] and moved.model_revision == "m1"
    assert set(moved.data) == {"reference", "window", "reference_probe", "probe"}

    kept = root / "decisions" / "moon" / HOURS[2]
    told = json.loads((kept / "decision.json").read_text())
    assert told == json.loads(json.dumps(dataclasses.asdict(moved))) == json.loads((kept / "metrics.json").read_text())
    assert (tmp_path / "out" / "report.html").read_bytes() == (kept / "report.html").read_bytes()
    assert (tmp_path / "out" / "evidently.html").stat().st_size > 10_000

    samples = {
        (sample.name, sample.labels.get("decision") or sample.labels.get("test")): sample.value
        for family in text_string_to_metric_families(published(root).decode())
        for sample in family.samples
    }
    assert samples["moon_drift_decision", "retrain"] == 1 and samples["moon_drift_decision", "ok"] == 0
    assert samples["moon_drift_drifted", "embeddings"] == 1 and samples["moon_drift_window_rows", None] == 60
    assert samples["moon_drift_auc", None] == moved.auc and samples["moon_drift_probe_recall", None] == 0.7


def _clock(time):
    class Clock(type(time)):
        @classmethod
        def now(cls, _zone=None):
            return time

    return Clock


def test_names_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(ValueError, match="windows of no service, none of 'moon'"):
        windows.newest(tmp_path, "moon")
    with pytest.raises(ValueError, match="names no window"):
        monitor.run(root=tmp_path, service="moon", window="../x", params=DRIFT)
    with pytest.raises(ValueError, match="no window at"):
        windows.accept(root=tmp_path, service="moon", window=HOURS[0], probe=None)


def test_a_decision_that_cannot_be_read_hides_no_other(tmp_path, caplog):
    broken = tmp_path / "decisions" / "moon" / HOURS[0] / "decision.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert b"moon_drift_decision" in published(tmp_path)
    assert "cannot be shown" in caplog.text


def test_bad_objects_are_counted_and_do_not_stop_the_rest(tmp_path):
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "a-request.json").write_text("{")
    (bucket / "b-request.json").write_text(json.dumps([stored(one) for one in search("a")]))
    found = collect.ingest(store=str(bucket), root=tmp_path / "root", params=COLLECTOR, out=tmp_path / "out")
    assert (found.objects, found.events, found.bad_objects) == (2, {"accepted": 2}, 1)
    assert "a-request.json" in found.bad_reasons[0]
