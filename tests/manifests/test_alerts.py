"""Each alert fires on the series of its trouble, and not on those of a server that is well; needs promtool."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.manifests.promql import rules

POD = 'namespace="moon",inferenceservice="moon",predictor="moon-predictor",pod="p1"'
OTHER = POD.replace("p1", "p2")


def series(name: str, values: str, labels: str = "", pod: str = POD) -> dict[str, str]:
    """One series in promtool's notation: ``0+6x600`` starts at 0 and grows by 6 a minute for 600 minutes."""
    return {"series": f"{name}{{{pod}{',' if labels else ''}{labels}}}", "values": values}


@dataclass(frozen=True)
class Case:
    """Series, and the alerts that fire after ``minutes``."""

    given: tuple[dict[str, str], ...]
    fires: tuple[str, ...] = ()
    minutes: int = 30


def other(name: str, values: str, **labels: str) -> dict[str, str]:
    """One series that is not the model server's, in namespace ``moon``."""
    named = ",".join(f'{key}="{value}"' for key, value in {"namespace": "moon", **labels}.items())
    return {"series": f"{name}{{{named}}}", "values": values}


def decided(decision: str, values: str) -> dict[str, str]:
    return other("moon_drift_decision", values, service="moon", decision=decision)


JOB = {"job": "moon/moon-collector"}
SERVER = {"deployment": "moon-predictor"}
SCALER = {"horizontalpodautoscaler": "moon-predictor"}
UP = series("up", "1x1800")
ITEMS = series("moon_items_total", "0+600x1800", 'route="v2",view="text"')
CASES = {
    "well": Case(
        (
            UP,
            ITEMS,
            series("moon_errors_total", "0+1x1800", 'reason="internal"'),
            series("moon_errors_total", "0+300x1800", 'reason="not_an_image"'),
            series("moon_errors_total", "0+1x1800", 'reason="overloaded"'),
            series("moon_queue_seconds_sum", "0+6x1800"),
            series("moon_queue_seconds_count", "0+600x1800"),
            series("moon_forward_seconds_sum", "0+6x1800"),
            series("moon_forward_seconds_count", "0+100x1800"),
            series("moon_decode_restarts_total", "0x1000 1x800"),
            series("moon_model_restarts_total", "0x1000 1x800"),
            series("process_resident_memory_bytes", "3000000000x1800"),
            series("moon_centroid_distance", "0.05x1800", 'view="text"'),
            series("moon_missing_modality_ratio", "0.4x1000 0.5x800", 'modality="image"'),
            series("moon_search_top_score_sum", "0+300x1800"),
            series("moon_search_top_score_count", "0+600x1800"),
            series("moon_index_info", "1x1800", 'revision="a"'),
            series("moon_index_info", "1x1800", 'revision="a"', OTHER),
            series("moon_index_products", "32x1800"),
            series("moon_index_swaps_total", "0+1x1800", 'outcome="swapped"'),
            other("up", "1x1800", **JOB),
            other("moon_collector_write_errors_total", "0x1800", **JOB),
            other("moon_collector_refused_total", "0+1x1800", reason="busy", **JOB),
            other("moon_collector_last_event_timestamp_seconds", "0+60x1800", service="moon", **JOB),
            decided("ok", "1x1800"),
            decided("warn", "0x1800"),
            decided("retrain", "0x1800"),
            other("moon_drift_window_start_timestamp_seconds", "-7200+60x1800", service="moon", **JOB),
            other("moon_drift_probe_recall", "0.95x900 0.93x900", service="moon", **JOB),
            other("kube_deployment_status_replicas_available", "2x1800", **SERVER),
            other("kube_deployment_spec_replicas", "2x1800", **SERVER),
            other("kube_horizontalpodautoscaler_status_desired_replicas", "2x1800", **SCALER),
            other("kube_horizontalpodautoscaler_spec_max_replicas", "8x1800", **SCALER),
            other("kube_pod_container_status_restarts_total", "1x1800", pod="p1", container="kserve-container"),
            other("kubelet_volume_stats_available_bytes", "30x1800", persistentvolumeclaim="moon-training"),
            other("kubelet_volume_stats_capacity_bytes", "100x1800", persistentvolumeclaim="moon-training"),
            other("kube_job_failed", "0x1800", condition="true", job_name="moon-run-node-0"),
            other("kube_pod_status_phase", "1x5 0x1795", phase="Pending", pod="moon-run-node-0-1-abc"),
        ),
        minutes=1750,
    ),
    "no pod answers": Case((series("up", "0x60"),), ("MoonDown", "MoonPodDown")),
    "one pod of two does not answer": Case((UP, series("up", "0x60", pod=OTHER)), ("MoonPodDown",)),
    "a twentieth fails": Case(
        (UP, ITEMS, series("moon_errors_total", "0+30x60", 'reason="deadline"')), ("MoonErrors",)
    ),
    "all fails and nothing was ever answered": Case(
        (UP, series("moon_errors_total", "0+30x60", 'reason="internal"')), ("MoonErrors",)
    ),
    "a tenth is turned away": Case(
        (UP, ITEMS, series("moon_errors_total", "0+60x60", 'reason="overloaded"')), ("MoonOverloaded",)
    ),
    "items wait": Case(
        (
            series("moon_queue_seconds_sum", "0+1200x60"),
            series("moon_queue_seconds_count", "0+600x60"),
            series("moon_forward_seconds_sum", "0+1x60"),
            series("moon_forward_seconds_count", "0+100x60"),
        ),
        ("MoonSlow",),
    ),
    "picture workers die": Case((series("moon_decode_restarts_total", "0+1x60"),), ("MoonDecodeRestarts",)),
    "the model dies": Case((series("moon_model_restarts_total", "0+1x60"),), ("MoonModelRestarts",)),
    "memory creeps": Case(
        (series("process_resident_memory_bytes", "2000000000+2000000x800"),), ("MoonMemoryGrows",), minutes=700
    ),
    "queries change": Case(
        (series("moon_centroid_distance", "0.4x120", 'view="image"'),), ("MoonEmbeddingDrift",), minutes=90
    ),
    "photos stay away": Case(
        (series("moon_missing_modality_ratio", "0.2x1500 0.9x300", 'modality="image"'),),
        ("MoonModalityShift",),
        minutes=1700,
    ),
    "scores fall": Case(
        (
            series("moon_search_top_score_sum", "0+540x1500 810000+300x300"),
            series("moon_search_top_score_count", "0+600x1800"),
        ),
        ("MoonSearchScoresFell",),
        minutes=1700,
    ),
    "the first swap is refused": Case(
        (series("moon_index_swaps_total", "_x20 1x40", 'outcome="failed"'),), ("MoonIndexSwapFailed",)
    ),
    "replicas search different indexes": Case(
        (
            series("moon_index_info", "1x60", 'revision="a"'),
            series("moon_index_info", "1x60", 'revision="b"', OTHER),
            series("moon_index_products", "32x60"),
        ),
        ("MoonIndexesDiffer",),
        minutes=50,
    ),
    "the index is empty": Case(
        (series("moon_index_info", "1x60", 'revision="a"'), series("moon_index_products", "0x60")),
        ("MoonIndexEmpty",),
    ),
    "the collector is away": Case((other("up", "0x60", **JOB),), ("MoonCollectorDown",)),
    "the log's disk is full": Case(
        (other("moon_collector_write_errors_total", "0+1x60", **JOB),), ("MoonCollectorCannotWrite",)
    ),
    "the collector is behind": Case(
        (other("moon_collector_refused_total", "0+60x60", reason="busy", **JOB),), ("MoonCollectorRefuses",)
    ),
    "nothing is logged": Case(
        (ITEMS, other("moon_collector_last_event_timestamp_seconds", "0x90", service="moon", **JOB)),
        ("MoonCollectorSilent",),
        minutes=80,
    ),
    "nobody asks, so nothing is logged": Case(
        (
            series("moon_items_total", "600x90", 'route="v2",view="text"'),
            other("moon_collector_last_event_timestamp_seconds", "0x90", service="moon", **JOB),
        ),
        minutes=80,
    ),
    "a window differs": Case((decided("warn", "1x60"),), ("MoonDriftWarns",)),
    "windows ask for a training": Case((decided("retrain", "1x300"),), ("MoonDriftAsksForTraining",), minutes=240),
    "one window asks for a training": Case((decided("retrain", "1x60 0x240"),), minutes=240),
    "no window is judged": Case(
        (other("moon_drift_window_start_timestamp_seconds", "0x400", service="moon", **JOB),),
        ("MoonDriftStale",),
        minutes=300,
    ),
    "the probe is found less": Case(
        (other("moon_drift_probe_recall", "0.95x1500 0.7x300", service="moon", **JOB),),
        ("MoonProbeRecallFell",),
        minutes=1700,
    ),
    "a pod cannot start": Case(
        (
            other("kube_deployment_status_replicas_available", "1x60", **SERVER),
            other("kube_deployment_spec_replicas", "2x60", **SERVER),
        ),
        ("MoonReplicasMissing",),
    ),
    "more replicas are needed": Case(
        (
            other("kube_horizontalpodautoscaler_status_desired_replicas", "8x60", **SCALER),
            other("kube_horizontalpodautoscaler_spec_max_replicas", "8x60", **SCALER),
        ),
        ("MoonAtMostReplicas",),
        minutes=50,
    ),
    "one replica is all there may be": Case(
        (
            other("kube_horizontalpodautoscaler_status_desired_replicas", "1x60", **SCALER),
            other("kube_horizontalpodautoscaler_spec_max_replicas", "1x60", **SCALER),
        ),
        minutes=50,
    ),
    "a server restarts again and again": Case(
        (other("kube_pod_container_status_restarts_total", "0x10 0+1x50", pod="p1", container="kserve-container"),),
        ("MoonContainerRestarts",),
    ),
    "a volume fills": Case(
        (
            other("kubelet_volume_stats_available_bytes", "5x60", persistentvolumeclaim="moon-traffic"),
            other("kubelet_volume_stats_capacity_bytes", "100x60", persistentvolumeclaim="moon-traffic"),
        ),
        ("MoonVolumeFills",),
    ),
    "a training has failed": Case(
        (other("kube_job_failed", "1x60", condition="true", job_name="moon-run-node-0"),), ("MoonTrainingFailed",)
    ),
    "a training finds no nodes": Case(
        (other("kube_pod_status_phase", "1x120", phase="Pending", pod="moon-run-node-0-1-abc"),),
        ("MoonTrainingWaits",),
        minutes=100,
    ),
    "a server that only embeds has no index": Case((UP, series("moon_index_products", "0x60"))),
}


def test_every_alert_has_its_trouble() -> None:
    assert {alert for case in CASES.values() for alert in case.fires} == {rule["alert"] for rule in rules()}


def test_alerts_fire_in_their_trouble_and_in_no_other(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    spec = {"groups": [{"name": "all", "rules": rules()}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    tests = [_promtool(name, case) for name, case in CASES.items()]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": tests}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", "cases.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool(name: str, case: Case) -> dict[str, object]:
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in case.fires]
    expected = {"expr": firing, "eval_time": f"{case.minutes}m", "exp_samples": samples}
    return {"name": name, "interval": "1m", "input_series": list(case.given), "promql_expr_test": [expected]}
