"""Alert rules and dashboard: whole, readable, and firing when they should."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from moon.cluster.canary import FAULTS
from moon.cluster.servingruntime import HTTP_PORT, serving_runtime
from moon.config import ServingParams
from tests.manifests.promql import MONITORING, TARGET_LABELS, dashboard, expressions, rules, selectors
from tests.manifests.rendering import MANIFESTS, bodies, only

HANDBOOK = Path(__file__).parents[2] / "docs" / "operate.md"


def test_every_expression_reads_something() -> None:
    found = expressions()
    assert len(found) > 40
    for where, expression in found.items():
        assert list(selectors(expression)), where


def test_an_alert_says_what_happened_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "runbook"}
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        by = (
            set(re.findall(r"by \(([^)]*)\)", rule["expr"])[0].split(", "))
            if " by (" in rule["expr"]
            else TARGET_LABELS | set(re.findall(r"(\w+)=~?\"", rule["expr"]))
        )
        assert named <= by, f"{rule['alert']} names labels that its expression drops"


def test_the_handbook_has_a_runbook_for_every_alert() -> None:
    text = HANDBOOK.read_text()
    assert set(re.findall(r"\bMoon[A-Z]\w+", text)) == {rule["alert"] for rule in rules()}
    parts = re.split(r"^### (\w+)$", text, flags=re.MULTILINE)
    runbooks = dict(zip(parts[1::2], parts[2::2], strict=True))
    for rule in rules():
        assert len(runbooks[rule["alert"]].split()) > 25, rule["alert"]


def test_alert_and_canary_call_the_same_failures_the_servers_fault() -> None:
    [errors] = [rule for rule in rules() if rule["alert"] == "MoonErrors"]
    assert set(re.findall(r'reason=~"([^"]+)"', errors["expr"])) == {FAULTS}


def test_the_memory_alert_knows_the_limit() -> None:
    [container] = serving_runtime(ServingParams())["spec"]["containers"]
    [rule] = [rule for rule in rules() if rule["alert"] == "MoonMemoryGrows"]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert f"> {4 * 2**30}\n" in rule["expr"]


def test_the_collectors_pods_are_scraped_where_they_listen() -> None:
    found = bodies(MANIFESTS / "overlays" / "prod")
    monitor = only("PodMonitor", found, "moon-collector")["spec"]
    pod = only("Deployment", found, "moon-collector")["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [endpoint], [container] = monitor["podMetricsEndpoints"], pod["spec"]["containers"]
    [port] = [port for port in container["ports"] if port["name"] == endpoint["port"]]
    let_in = only("NetworkPolicy", found, "collector")["spec"]["ingress"][0]
    assert [opened["port"] for opened in let_in["ports"]] == [port["containerPort"]]
    assert any("namespaceSelector" in peer for peer in let_in["from"])


def test_prometheus_reaches_the_pods_that_it_scrapes() -> None:
    found = bodies(MANIFESTS / "overlays" / "prod")
    [endpoint] = only("PodMonitor", found, "moon-serving")["spec"]["podMetricsEndpoints"]
    [rule] = only("NetworkPolicy", found, "prometheus")["spec"]["ingress"]
    assert endpoint["portNumber"] == HTTP_PORT and [port["port"] for port in rule["ports"]] == [HTTP_PORT]
    assert {one["targetLabel"] for one in endpoint["relabelings"]} == TARGET_LABELS - {"namespace", "pod"}


@pytest.mark.parametrize(
    ("label", "predictor"),
    [
        ("isvc.moon-predictor", "moon-predictor"),
        ("isvc.moon-v2-predictor", "moon-v2-predictor"),
        ("moon-p-1", "moon-p-1"),
    ],
)
def test_the_predictor_label_comes_from_the_pod(label: str, predictor: str) -> None:
    body = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())
    [endpoint] = body["spec"]["podMetricsEndpoints"]
    [relabel] = [one for one in endpoint["relabelings"] if one["targetLabel"] == "predictor"]
    match = re.fullmatch(relabel["regex"], label)
    assert match is not None and match[1] == predictor


@pytest.mark.parametrize("name", ["moon", "moon-platform"])
def test_the_dashboard_is_whole(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["title"] and panel["description"] and panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y


def test_the_dashboards_reach_grafana_whole() -> None:
    config = only("ConfigMap", bodies(MANIFESTS / "overlays" / "prod"), "moon-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["data"] == {path.name: path.read_text() for path in MONITORING.glob("*.json")}
