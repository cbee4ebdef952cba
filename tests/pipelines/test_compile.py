"""What the compiled pipelines say: the committed YAML, the policies for it, and what the API server would refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.base import image
from moon.cluster.kfp_package import Package, read_package
from moon.config import Params, parse_params
from pipelines import compile as compiling
from pipelines.platform import MOUNT
from pipelines.sweep import moon_sweep, moon_sweep_here
from pipelines.train import moon_train, moon_train_here
from tests.conftest import outside

SIDE_EFFECTS = {"canary", "deploy", "finish", "monitor", "probe", "register", "replay", "report", "report-2", "retrain",
                "serving", "settle", "swap", "windows"}  # fmt: skip
TRAINING = {"launch", "train"}
SHARED = {"canary", "challenge", "deploy", "fetch", "finish", "launch", "model", "monitor", "register", "replay",
          "report", "report-2", "retrain", "serving", "settle", "swap", "windows"}  # fmt: skip
"""Tasks that see the claim."""


@pytest.fixture(params=list(compiling.PIPELINES), scope="module")
def package(request: pytest.FixtureRequest) -> Package:
    return read_package(compiling.COMPILED / f"{request.param}.yaml")


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, task and executor of every container task, those in groups too."""
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    for dag in dags:
        for name, task in dag["tasks"].items():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
            if label:
                yield name, task, label


def component_of(label: str) -> str:
    return re.sub(r"^exec-|-\d+$", "", label).replace("-", "_")


def test_the_committed_yaml_is_what_the_code_says() -> None:
    assert compiling.check() == []


def test_a_stale_missing_or_left_over_file_is_named(tmp_path: Path) -> None:
    shutil.copytree(compiling.COMPILED, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "moon-train.yaml"
    path.write_text("# a comment changes nothing\n" + path.read_text())
    assert compiling.check(tmp_path) == []
    path.write_text(path.read_text().replace("cpu", "gpu"))
    (tmp_path / "native" / "moon-monitor.yaml").unlink()
    (tmp_path / "moon-old.yaml").write_text("{}")
    stale = ["moon-train.yaml", "native/moon-monitor.yaml", "moon-old.yaml"]
    assert compiling.check(tmp_path) == stale
    assert compiling.main(["--check", "--out", str(tmp_path)]) == 1


def test_another_image_can_be_put_in_place_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_IMAGE", "registry.local/moon-python:test")
    compiling.compile_pipeline(compiling.PIPELINES["moon-monitor"], tmp_path / "x.yaml")
    executors = read_package(tmp_path / "x.yaml").spec["deploymentSpec"]["executors"].values()
    assert {one["container"]["image"] for one in executors} == {"registry.local/moon-python:test"}


def test_the_resources_say_what_the_upload_says(package: Package) -> None:
    native = list(yaml.safe_load_all((compiling.COMPILED / "native" / f"{package.name}.yaml").read_text()))
    pipeline, version = native
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"]["name"] == version["spec"]["pipelineName"] == package.name
    assert version["metadata"]["name"] == package.version
    assert version["spec"]["pipelineSpec"] == package.spec
    assert version["spec"]["platformSpec"] == package.platform


def test_the_resources_are_valid(package: Package) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schemas = outside("MOON_CRD_SCHEMAS")
    for body in yaml.safe_load_all((compiling.COMPILED / "native" / f"{package.name}.yaml").read_text()):
        schema = json.loads((schemas / f"{body['kind'].lower()}-pipelines-v2beta1.json").read_text())
        assert list(jsonschema.Draft7Validator(schema).iter_errors(body)) == []


def test_a_pipeline_has_a_few_described_parameters(package: Package) -> None:
    inputs = package.spec["root"]["inputDefinitions"]["parameters"]
    assert len(inputs) <= 12
    assert all(one["description"] for one in inputs.values())
    assert parse_params(inputs["recipe"]["defaultValue"]) == Params()


def test_every_task_runs_an_allowed_image_and_installs_nothing(package: Package) -> None:
    executors = package.spec["deploymentSpec"]["executors"]
    for label, executor in executors.items():
        container = executor["container"]
        assert container["image"] == image(component_of(label))
        assert not re.search(r"pip3? install|uv pip|apt-get", " ".join(container["command"]))
        assert {"name": "DO_NOT_TRACK", "value": "1"} in container["env"]


def test_images_are_published_ones_by_digest_and_others_by_version() -> None:
    """Until images are published they are named by the package's version; see `make images-push`."""
    named = yaml.safe_load((compiling.COMPILED.parents[1] / "components" / "images.yaml").read_text())
    digests = ["@sha256:" in one for one in named["images"].values()]
    assert all(digests) or not any(digests)
    assert not any(one.endswith(":latest") or ":" not in one for one in named["images"].values())


def test_every_task_has_limits_and_a_deadline(package: Package) -> None:
    settings = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in package.spec["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["resourceCpuLimit"] and resources["resourceMemoryLimit"], label
        assert int(settings[label]["activeDeadlineSeconds"]) > 0


def test_only_training_asks_for_accelerators_and_for_their_nodes(package: Package) -> None:
    settings = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in package.spec["deploymentSpec"]["executors"].items():
        training = component_of(label) in TRAINING
        assert ("accelerator" in executor["container"]["resources"]) == training
        assert ("nodeSelector" in settings[label]) == ("tolerations" in settings[label]) == training


def test_the_claim_is_mounted_where_tasks_share_files_and_nowhere_else(package: Package) -> None:
    settings = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, _, label in tasks(package.spec):
        mounts = settings[label].get("pvcMount", [])
        assert [one["mountPath"] for one in mounts] == ([MOUNT] if name in SHARED else []), name
        assert all(one["pvcNameParameter"]["runtimeValue"] if "runtimeValue" in one["pvcNameParameter"] else
                   one["pvcNameParameter"]["componentInputParameter"] for one in mounts)  # fmt: skip


def test_every_task_is_nobody_and_only_the_one_that_fetches_sees_the_keys(package: Package) -> None:
    settings = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for _, _, label in tasks(package.spec):
        rights = settings[label]["securityContext"]
        assert rights["runAsNonRoot"] is True and int(rights["runAsUser"]) == int(rights["runAsGroup"]) == 10001
        secrets = [one["secretName"] for one in settings[label].get("secretAsEnv", [])]
        assert secrets == (["moon-s3"] if component_of(label) == "fetch" else [])
        assert all(one["optional"] for one in settings[label].get("secretAsEnv", []))


def test_pure_tasks_are_cached_and_no_others(package: Package) -> None:
    for name, task, _ in tasks(package.spec):
        cached = bool(task["cachingOptions"].get("enableCache"))
        assert cached == (name not in SIDE_EFFECTS), name


def test_tasks_start_again_after_growing_pauses(package: Package) -> None:
    for name, task, _ in tasks(package.spec):
        policy = task["retryPolicy"]
        assert policy["maxRetryCount"] >= 1 and policy["backoffFactor"] == 2, name
        assert policy["backoffDuration"] == "15s" and policy["backoffMaxDuration"] == "600s"


def test_nothing_is_trained_on_data_that_failed_and_nothing_served_that_did_not_pass() -> None:
    spec = read_package(compiling.COMPILED / "moon-train.yaml").spec
    groups = {name: one["dag"]["tasks"] for name, one in spec["components"].items() if "dag" in one}
    main = groups["comp-exit-handler-1"]
    loop = next(name for name, group in groups.items() if "regions" in group).removeprefix("comp-")
    for name in ("initialise", "duplicates", loop):
        assert "validate" in main[name]["dependentTasks"]
    [passed] = [group for group in groups.values() if "register" in group]
    assert {"deploy", "canary", "settle", "index"} <= set(passed) and "embed" not in passed
    assert not {"deploy", "settle", "register"} & set(main)
    assert "canary" in passed["settle"]["dependentTasks"] and "settle" in passed["report"]["dependentTasks"]
    branches = spec["components"]["comp-condition-branches-2" if "comp-condition-branches-2" in groups else next(
        name for name in groups if name.startswith("comp-condition-branches"))]["dag"]["tasks"].values()  # fmt: skip
    conditions = sorted(branch["triggerPolicy"]["condition"] for branch in branches)
    is_passed = "inputs.parameter_values['pipelinechannel--gate-Output'] == true"
    assert conditions == [f"!({is_passed})", is_passed]


def test_the_exit_handler_runs_whatever_happened() -> None:
    for name in ("moon-train", "moon-embed"):
        root = read_package(compiling.COMPILED / f"{name}.yaml").spec["root"]["dag"]["tasks"]
        assert root["finish"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
        assert "taskFinalStatus" in root["finish"]["inputs"]["parameters"]["status"]


@pytest.mark.parametrize(
    ("cluster", "here"), [(moon_train, moon_train_here), (moon_sweep, moon_sweep_here)], ids=["train", "sweep"]
)
def test_a_machine_runs_what_a_cluster_runs_but_for_the_training_task(cluster: Any, here: Any) -> None:
    labels = [set(one.pipeline_spec.deployment_spec["executors"]) for one in (cluster, here)]
    assert labels[0] - labels[1] == {"exec-launch"} and labels[1] - labels[0] == {"exec-train"}


def test_names_are_as_kubernetes_wants_them(package: Package) -> None:
    label = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
    for name, *_ in tasks(package.spec):
        assert label.fullmatch(name)
