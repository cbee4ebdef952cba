"""The roll-out of versions on this machine: real servers on a tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moon.cluster.kserve_rollout import Serving
from moon.cluster.registry import LocalRegistry
from moon.config import PipelineParams, RegionsParams, ServingParams, to_json
from moon.steps import deploy, embed, index, rollout
from moon.steps.rollout import Target
from tests.cluster.fake_kubernetes import KUBECONFIG, FakeKubernetes, serving

MEASURE = {"value": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture
def target(tmp_path: Path, tiny_model: Path) -> Iterator[Target]:
    registry = LocalRegistry(tmp_path / "registry")
    for number in (1, 2, 3):
        kept = {"lineage": {"data": "d"}, "retrieval": {"text->product": {"R@10": MEASURE}}}
        registry.register("moon", tiny_model, f"digest {number}", kept)
    made = Target.of(str(tmp_path / "registry"), str(tmp_path / "deployment"), to_json(ServingParams()), "{}")
    yield made
    rollout.stop(made.deployment)


@pytest.fixture(scope="module")
def data(tiny_catalog: Path, tiny_regions: Path) -> dict[str, Path]:
    return {"catalog": tiny_catalog, "regions": tiny_regions}


@pytest.fixture(scope="module")
def artefact(tiny_model: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("index")
    embed.run(model=tiny_model, **data, params=ServingParams(), out=out / "part", shard="1/1")
    settings: dict[str, Any] = {"params": ServingParams(), "regions_params": RegionsParams()}
    index.run(catalog=data["catalog"], parts=[out / "part"], **settings, out=out / "index")
    return out / "index" / index.ARTEFACT


def replayed(folder: Path, errors: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    sent = {"windows": {"steady": 100 - errors}, "errors": errors, "p95_ms": 12.0}
    (folder / "metrics.json").write_text(json.dumps(sent))
    return folder


def test_a_version_is_tried_promoted_and_gets_a_new_index(
    target: Target, artefact: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    tried = rollout.start(target=target, version="v1", artefact=artefact, **data)
    assert list(tried.answers) == ["text", "image", "both"] and rollout.serves(target=target) == ""
    assert target.state() == Serving(canary="v1")
    found = rollout.judge(target=target, version="v1", replay=replayed(tmp_path / "r"), out=tmp_path / "judge")
    assert found.verdict == "promote" and any("no other version" in reason for reason in found.reasons)
    for _ in range(2):  # a repeated task finds the work done
        assert rollout.settle(target=target, version="v1", verdict="promote").stable == "v1"
    assert deploy.running(target.server("v1")) and rollout.clean(target=target) == ""

    swapped = rollout.swap(target=target, version="v1", artefact=artefact)
    assert swapped.index_revision == tried.index_revision
    with pytest.raises(ValueError, match="serves 'v1', the artefact was made with v2"):
        rollout.swap(target=target, version="v2", artefact=artefact)

    rollout.start(target=target, version="v2", artefact=artefact, **data)
    assert deploy.running(target.server("v1")) and deploy.running(target.server("v2"))
    text = rollout.finish(
        registry=target.registry, deployment=target.deployment, recipe="", state="FAILED", error="out of memory"
    )
    assert "v2 was on trial" in text and "serving: v1" in text and "out of memory" in text
    assert deploy.running(target.server("v1")) and not deploy.running(target.server("v2"))
    rollout.stop(target.deployment)
    assert not deploy.running(target.server("v1")) and rollout.serves(target=target) == "v1"


def test_a_verdict_moves_what_serves(target: Target) -> None:
    target.write(Serving(stable="v1", canary="v2"))
    with pytest.raises(ValueError, match="tries 'v2' beside 'v1', not v3"):
        rollout.settle(target=target, version="v3", verdict="promote")
    with pytest.raises(ValueError, match="expected 'promote' or 'roll back'"):
        rollout.settle(target=target, version="v2", verdict="wait")
    for _ in range(2):
        assert rollout.settle(target=target, version="v2", verdict="roll back").stable == "v1"
    assert target.state() == Serving(stable="v1")
    target.write(Serving(stable="v1", canary="v2"))
    settled = rollout.settle(target=target, version="v2", verdict="promote")
    assert (settled.stable, settled.removed) == ("v2", "v1")


def test_failed_requests_and_a_worse_evaluation_roll_back(target: Target, tmp_path: Path) -> None:
    target.write(Serving(stable="v1", canary="v2"))

    def verdict(errors: int = 0) -> str:
        replay = replayed(tmp_path / "replay", errors)
        return rollout.judge(target=target, version="v2", replay=replay, out=tmp_path / "judge").verdict

    assert (verdict(), verdict(errors=3)) == ("promote", "roll back")
    worse = {"value": 0.1, "low": 0.0, "high": 0.2}
    path = target.registry / "moon" / "v2" / "version.json"
    path.write_text(path.read_text().replace(json.dumps(MEASURE["value"]), json.dumps(worse["value"])))
    tree = json.loads(path.read_text())
    tree["metadata"]["retrieval"]["text->product"]["R@10"] = worse
    path.write_text(json.dumps(tree))
    assert verdict() == "roll back"


def test_what_is_not_registered_or_does_not_serve_is_named(target: Target, artefact: Path, data: Any) -> None:
    with pytest.raises(ValueError, match="no version 'v9'"):
        rollout.start(target=target, version="v9", artefact=artefact, **data)
    assert not target.deployment.exists()
    with pytest.raises(ValueError, match="run moon-train first"):
        rollout.model_folder(registry=target.registry, version="", params="{}")


def test_a_failed_start_leaves_the_stable_version(
    target: Target, artefact: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    target.write(Serving(stable="v1"))
    broken = tmp_path / "broken"
    shutil.copytree(artefact, broken)
    settings = json.loads((broken / "server.json").read_text())
    (broken / "server.json").write_text(json.dumps({**settings, "model_revision": "another"}))
    quick = replace(target, pipeline=PipelineParams())
    with pytest.raises(Exception, match="another"):
        rollout.start(target=quick, version="v2", artefact=broken, **data)
    assert rollout.clean(target=target) == "v2" and target.state() == Serving(stable="v1")


def test_on_a_cluster_the_service_is_asked_and_keeps_the_record(
    target: Target, artefact: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout.start(target=target, version="v1", artefact=artefact, **data)  # stands for the predictor
    url = deploy.outcome.read(target.server("v1"), "url")["url"]
    fake = FakeKubernetes()
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "canaryStatuses": [{"name": "v3", "ready": True}]}

    def controller(name: str) -> None:
        if not fake.objects[name].get("status"):
            fake.set_status(name, ready)

    fake.controller = controller
    with serving(fake) as address:
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(address=address))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        params = ServingParams(storage_uri="pvc://moon/{version}", artefact_claim="moon/deployment")
        pipeline = PipelineParams(rollout="kserve", url=url, poll_seconds=0.05, ready_seconds=20)
        cluster = replace(target, deployment=tmp_path / "shared", params=params, pipeline=pipeline)
        for version, stable in (("v2", ""), ("v3", "v2")):
            tried = rollout.start(target=cluster, version=version, artefact=artefact, **data)
            assert tried.answers.keys() == {"text", "image", "both"} and tried.grpc_url == ""
            assert cluster.state() == Serving(stable=stable, canary=version)
            assert (cluster.artefact(version) / "server.json").is_file()
            rollout.settle(target=cluster, version=version, verdict="promote")
            assert rollout.serves(target=cluster) == version
        assert fake.objects["moon"]["spec"]["predictor"]["model"]["storageUri"] == "pvc://moon/v3"
        cluster.kserve().begin(cluster.revision("v2"), cluster.revision("v3"))  # type: ignore[union-attr]
        assert rollout.clean(target=cluster) == "v2" and rollout.serves(target=cluster) == "v3"
