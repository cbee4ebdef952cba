"""Rights, quotas, priorities and queues are those that the code needs and names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from moon.cluster import job_logs
from moon.cluster import launcher as launching
from moon.cluster.inferenceservice import Revision
from moon.cluster.jobs import TrainingJob
from moon.cluster.kserve_rollout import KServeRollout
from moon.cluster.kubernetes_api import Cluster
from moon.cluster.launcher import KINDS, Launcher
from moon.cluster.training_pod import SERVICE_ACCOUNT
from moon.config import LaunchParams, ServingParams
from tests.cluster.fake_kubernetes import FakeKubernetes, configuration, serving
from tests.manifests.rendering import MANIFESTS, OVERLAYS, amount, bodies, only, with_component

JOB = TrainingJob(name="moon-run", run_id="run", recipe="r", arguments=["--out", "/mnt/moon/x"])
VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
Body = dict[str, Any]


def granted(role: Body) -> set[tuple[str, str, str]]:
    """Group, resource and verb of each right."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(requests: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """The rights that requests of an API server need."""
    for method, path in requests:
        parts = path.removesuffix("?watch").split("/")
        group = parts[2] if parts[1] == "apis" else ""
        resource, *rest = parts[parts.index("namespaces") + 2 :]
        name, sub = (*rest, "", "")[:2]
        verb = "watch" if path.endswith("?watch") else VERBS.get(method) or ("get" if name else "list")
        yield group, f"{resource}/{sub}" if sub else resource, verb


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> set[tuple[str, str, str]]:
    """What the launcher asks of the cluster from the start of a job to its end, and to replace one that failed."""
    for module in (job_logs, launching):
        monkeypatch.setattr(module, "_PAUSE", 0.05)
    kind = KINDS[request.param]
    fake = FakeKubernetes()

    def control(name: str) -> None:
        labels = dict(part.split("=") for part in [kind.selector(name)])
        pod = f"{name}-{len(fake.created)}"
        fake.add_pod(pod, labels, kind.CONTAINER)
        fake.say(pod, "step 1")
        fake.end_pod(pod, int(len(fake.created) == 1))
        done = {"trainjob": ("Failed", "Complete"), "pytorchjob": ("Failed", "Succeeded")}[request.param]
        fake.condition(name, done[len(fake.created) != 1])

    fake.controller = control
    params = LaunchParams(kind=request.param, patience_seconds=20)
    with serving(fake) as address:
        for succeeded in (False, True):
            cluster = Cluster("moon", configuration(address), 20.0, timeout=(2.0, 2.0))
            assert Launcher(cluster, params, lambda line: None).run(JOB).succeeded is succeeded
    return set(asked(fake.requests))


@pytest.mark.parametrize("launches", ["trainjob"], indirect=True)
@pytest.mark.parametrize("folder", ["overlays/local", "overlays/prod", "standalone"])
def test_pipelines_may_launch_and_no_more(launches: set[tuple[str, str, str]], folder: str) -> None:
    rights = granted(only("Role", bodies(MANIFESTS / folder), "moon-pipelines"))
    assert launches <= rights
    assert {verb for group, _, verb in rights if group == "trainer.kubeflow.org"} == {
        "create",
        "get",
        "list",  # a watch begins with it in other clients
        "watch",
        "delete",
    }


def test_pipelines_may_roll_a_model_out() -> None:
    params = ServingParams(storage_uri="pvc://moon-training/registry/moon/{version}/model")
    v1, v2 = (Revision(storage_uri=params.storage_uri, version=version) for version in ("v1", "v2"))
    fake = FakeKubernetes()
    with serving(fake) as address:
        rollout = KServeRollout(Cluster("moon", configuration(address), 20.0), params)
        rollout.begin(v1, None)
        rollout.begin(v2, v1)
        rollout.settle(v2)
        rollout.settle(None)
    used = set(asked(fake.requests))
    assert used <= granted(only("Role", bodies(MANIFESTS / "base"), "moon-pipelines"))
    assert used <= granted(only("Role", bodies(MANIFESTS / "standalone"), "moon-deployers"))


@pytest.mark.parametrize("launches", ["pytorchjob"], indirect=True)
def test_the_old_operators_jobs_need_their_component(launches: set[tuple[str, str, str]], tmp_path: Any) -> None:
    role = only("Role", with_component("pytorchjob", tmp_path), "moon-pipelines")
    assert launches <= granted(role)
    assert not any(group == "trainer.kubeflow.org" for group, _, _ in granted(role))


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_quota_has_room_for_what_the_overlay_may_start(name: str) -> None:
    found = bodies(MANIFESTS / "overlays" / name)
    hard = only("ResourceQuota", found)["spec"]["hard"]
    [server] = only("ServingRuntime", found)["spec"]["containers"]
    replicas = only("InferenceService", found)["spec"]["predictor"]["maxReplicas"] + 1  # one more in an update
    job = LaunchParams()
    for bound in ("requests", "limits"):
        used = {"cpu": amount(job.cpu), "memory": amount(job.memory)}
        for resource, other in used.items():
            needed = replicas * amount(server["resources"][bound][resource]) + other
            assert needed <= amount(hard[f"{bound}.{resource}"])
    claims = [body for body in found if body["kind"] == "PersistentVolumeClaim"]
    stored = sum(amount(body["spec"]["resources"]["requests"]["storage"]) for body in claims)
    assert stored <= amount(hard["requests.storage"]) and len(claims) <= int(hard["persistentvolumeclaims"])


def test_a_container_that_names_nothing_gets_what_the_quota_counts() -> None:
    found = bodies(MANIFESTS / "base")
    [limits] = only("LimitRange", found)["spec"]["limits"]
    counted = {key.split(".")[1] for key in only("ResourceQuota", found)["spec"]["hard"] if key.startswith("limits.")}
    assert limits["default"].keys() == limits["defaultRequest"].keys() == counted
    for resource in counted:
        assert amount(limits["defaultRequest"][resource]) <= amount(limits["default"][resource])


def test_serving_comes_before_training_and_training_before_batch() -> None:
    found = bodies(MANIFESTS / "cluster")
    values = {body["metadata"]["name"]: body["value"] for body in found if body["kind"] == "PriorityClass"}
    assert values["moon-serving"] > values["moon-training"] > values["moon-batch"] > 0
    assert not any(body.get("globalDefault") for body in found)
    named = {str(only("ClusterTrainingRuntime", found)).split("'priorityClassName': '")[1].split("'")[0]}
    for name in OVERLAYS:
        text = str(bodies(MANIFESTS / "overlays" / name))
        named |= set(re.findall(r"'priorityClassName': '([^']+)'", text))
    assert named == values.keys()


def test_the_queue_admits_every_resource_of_a_job() -> None:
    kueue = bodies(MANIFESTS / "cluster" / "kueue")
    queue = only("ClusterQueue", kueue)
    local = only("LocalQueue", bodies(MANIFESTS / "overlays" / "prod"))
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    namespace = only("Namespace", bodies(MANIFESTS / "overlays" / "prod"))
    selected = queue["spec"]["namespaceSelector"]["matchLabels"]
    assert selected.items() <= namespace["metadata"]["labels"].items()
    params = LaunchParams(kind="trainjob", queue="moon")
    wanted = KINDS["trainjob"].body(JOB, params)["spec"]["trainer"]["resourcesPerNode"]["requests"]
    [group] = queue["spec"]["resourceGroups"]
    assert wanted.keys() <= set(group["coveredResources"])
    flavors = {body["metadata"]["name"] for body in kueue if body["kind"] == "ResourceFlavor"}
    for flavor in group["flavors"]:
        assert flavor["name"] in flavors
        assert [one["name"] for one in flavor["resources"]] == group["coveredResources"]  # Kueue wants this order
    assert any(
        all(amount(wanted[one["name"]]) <= amount(one["nominalQuota"]) for one in flavor["resources"])
        for flavor in group["flavors"]
    )


def test_the_parameters_name_what_the_manifests_hold() -> None:
    params = LaunchParams()
    base, cluster = bodies(MANIFESTS / "base"), bodies(MANIFESTS / "cluster")
    assert only("ClusterTrainingRuntime", cluster, params.runtime)
    assert only("PersistentVolumeClaim", base, params.claim)
    assert only("ServiceAccount", base, SERVICE_ACCOUNT)
    assert only("Namespace", base, params.namespace)
