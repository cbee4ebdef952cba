"""What a cluster is asked for: TrainJob, PyTorchJob and the runtime, against their schemas and each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moon.cluster import pytorchjob, trainjob
from moon.cluster.jobs import PERMANENT, PodSettings, Progress, TrainingJob, failing_rank, job_name
from moon.cluster.training_pod import cluster_training_runtime
from moon.config import LaunchParams
from moon.training import exits
from tests.conftest import outside
from tests.manifests.rendering import MANIFESTS, bodies, only, validate

TASK = {
    "resources": {"limits": {"cpu": "16", "memory": "200Gi", "nvidia.com/gpu": "4"}},
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "own", "persistentVolumeClaim": {"claimName": "moon-training"}}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}, {"name": "own", "mountPath": "/mnt/moon/"}],
}  # fmt: skip
PARAMS = LaunchParams(kind="trainjob", nodes=4, processes_per_node=4, queue="gpus", priority="training")
JOB = TrainingJob(
    name=job_name("run", "recipe"),
    run_id="run",
    recipe="recipe",
    arguments=["--out", "/mnt/moon/jobs/x/train"],
    pod=PodSettings.of(TASK),
)
PLAIN = TrainingJob(name=JOB.name, run_id="run", recipe="recipe", arguments=JOB.arguments)


@pytest.mark.parametrize("kind", [trainjob, pytorchjob], ids=["trainjob", "pytorchjob"])
@pytest.mark.parametrize("job", [JOB, PLAIN], ids=["task", "plain"])
@pytest.mark.parametrize("nodes", [1, 4])
def test_a_job_fits_its_schema(kind: Any, job: TrainingJob, nodes: int, tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    params = LaunchParams(kind="trainjob", nodes=nodes, processes_per_node=4, queue="gpus" if nodes > 1 else "")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(kind.body(job, params)))
    validate(schemas, tmp_path / "job.yaml")


def test_a_trainjob_is_what_was_asked_for() -> None:
    body = trainjob.body(JOB, PARAMS)
    spec = body["spec"]
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus" and spec["suspend"]
    assert body["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "training"
    assert spec["runtimeRef"] == {"apiGroup": trainjob.GROUP, "kind": "ClusterTrainingRuntime", "name": "moon-torch"}
    assert spec["activeDeadlineSeconds"] == PARAMS.deadline_seconds
    trainer = spec["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 4)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"
    assert trainer["env"] == TASK["env"]
    [patch] = spec["runtimePatches"]
    [replicated] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == TASK["node_selector"] and pod["tolerations"] == TASK["tolerations"]
    assert [one["name"] for one in pod["volumes"]] == ["data"], "the runtime mounts the shared claim itself"
    assert all("env" not in container for container in pod["containers"]), "Trainer takes variables in trainer.env only"


def test_a_job_starts_at_once_without_a_queue() -> None:
    for kind in (trainjob, pytorchjob):
        body = kind.body(PLAIN, LaunchParams(kind="trainjob"))
        assert "kueue.x-k8s.io/queue-name" not in body["metadata"]["labels"]
    assert trainjob.body(PLAIN, LaunchParams())["spec"]["suspend"] is False


def test_accelerators_and_processes_agree() -> None:
    assert trainjob.body(PLAIN, PARAMS)["spec"]["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"
    on_cpus = trainjob.body(PLAIN, LaunchParams(accelerator=""))["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert on_cpus.keys() == {"cpu", "memory", "ephemeral-storage"}
    with pytest.raises(ValueError, match=r"4 nvidia.com/gpu.*processes_per_node is 8"):
        trainjob.body(JOB, LaunchParams(processes_per_node=8))
    with pytest.raises(ValueError, match="no amd.com/gpu"):
        trainjob.body(JOB, LaunchParams(processes_per_node=4, accelerator="amd.com/gpu"))


def test_pod_settings_that_are_not_known_are_named() -> None:
    assert PodSettings.of(dict.fromkeys(TASK)) == PodSettings() == PodSettings.of(None)
    with pytest.raises(ValueError, match="got podSpecOverrides"):
        PodSettings.of({"podSpecOverrides": [1]})


def test_a_pytorchjob_carries_the_pod_of_the_runtime() -> None:
    spec = pytorchjob.body(JOB, PARAMS)["spec"]
    runtime = cluster_training_runtime(PARAMS)["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    expected = runtime["template"]["spec"]
    replicas = {role: one["replicas"] for role, one in spec["pytorchReplicaSpecs"].items()}
    assert replicas == {"Master": 1, "Worker": 3}
    assert pytorchjob.body(JOB, LaunchParams(processes_per_node=4))["spec"]["pytorchReplicaSpecs"].keys() == {"Master"}
    for one in spec["pytorchReplicaSpecs"].values():
        pod = one["template"]["spec"]
        for name in ("securityContext", "terminationGracePeriodSeconds", "serviceAccountName"):
            assert pod[name] == expected[name]
        [own], [other] = pod["containers"], expected["containers"]
        assert own["securityContext"] == other["securityContext"] and own["command"] == other["command"]
        mounts = [mount["mountPath"] for mount in own["volumeMounts"]]
        assert sorted(mounts) == ["/data", "/dev/shm", "/mnt/moon", "/tmp"]
        assert one["restartPolicy"] == "ExitCode" and "restartPolicy" not in pod
    with pytest.raises(ValueError, match=r"launch\.image"):
        pytorchjob.body(JOB, LaunchParams(image="", processes_per_node=4))


def test_the_operator_tries_again_what_may_not_come_again() -> None:
    """Training Operator 1 replaces a pod at exit codes from 128 on and fails the job at others."""
    codes = [exits.CRASHED, exits.INTERRUPTED]
    assert all(pytorchjob.exit_code(code + pytorchjob.OFFSET) == code for code in codes)
    assert all(pytorchjob.exit_code(code) == code for code in (*PERMANENT, 137, 143))
    assert set(PERMANENT) == {exits.MISTAKE, exits.DIVERGED}


def test_the_manifest_is_what_the_code_renders() -> None:
    path = MANIFESTS / "training" / "runtime" / "clustertrainingruntime.yaml"
    rendered = cluster_training_runtime(LaunchParams())
    assert yaml.safe_load(path.read_text()) == rendered, f"replace {path} with:\n{yaml.safe_dump(rendered)}"


@pytest.mark.parametrize("folder", ["training", "training/runtime"])
def test_the_manifests_validate(folder: str, tmp_path: Path) -> None:
    schemas = outside("MOON_CRD_SCHEMAS")
    (tmp_path / "rendered.yaml").write_text(yaml.safe_dump_all(bodies(MANIFESTS / folder)))
    validate(schemas, tmp_path / "rendered.yaml")


def test_the_runtime_finds_what_the_namespace_holds() -> None:
    found = bodies(MANIFESTS / "training")
    [job] = only("ClusterTrainingRuntime", bodies(MANIFESTS / "training/runtime"))["spec"]["template"]["spec"][
        "replicatedJobs"
    ]
    template = job["template"]["spec"]["template"]
    pod = template["spec"]
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
    assert claims == [only("PersistentVolumeClaim", found)["metadata"]["name"]]
    assert only("PersistentVolumeClaim", found)["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod["serviceAccountName"] == only("ServiceAccount", found)["metadata"]["name"]
    [container] = pod["containers"]
    assert container["envFrom"][0]["configMapRef"]["name"] == only("ConfigMap", found)["metadata"]["name"]
    policy = only("NetworkPolicy", found)["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= template["metadata"]["labels"].items()
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory" and volumes["shm"]["emptyDir"]["sizeLimit"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert not [name for name in variables if name.startswith("PET_")], "Trainer refuses them"
    assert int(variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < pod["terminationGracePeriodSeconds"]


MESSAGES = {  # as the Job controller writes them
    "Container node for pod moon/x-node-0-1 failed with exit code 2 matching FailJob rule at index 0": "FailJobSet",
    "Container node for pod moon/x-node-0-1 failed with exit code 5 matching FailJob rule at index 0": "FailJobSet",
    "Pod moon/x-node-0-1 has condition DisruptionTarget matching FailJob rule at index 1":
        "RestartJobSetAndIgnoreMaxRestarts",
    "Container node for pod moon/x failed with exit code 25 matching FailJob rule at index 0": None,
}  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_failures_meet_the_rule_that_is_theirs(message: str) -> None:
    rules = cluster_training_runtime(LaunchParams())["spec"]["template"]["spec"]["failurePolicy"]["rules"]
    patterns = {rule["action"]: rule["onJobFailureMessagePatterns"] for rule in rules}
    met = [action for action, own in patterns.items() if any(re.search(one, message) for one in own)]
    assert met == ([MESSAGES[message]] if MESSAGES[message] else [])


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "conditions", "expected"),
    [
        (trainjob, [], "waiting"),
        (trainjob, [("Suspended", "True")], "waiting"),
        (trainjob, [("Suspended", "False"), ("Complete", "True")], "succeeded"),
        (trainjob, [("Suspended", "False"), ("Failed", "True")], "failed"),
        (trainjob, [("Failed", "False")], "waiting"),
        (pytorchjob, [("Created", "True")], "waiting"),
        (pytorchjob, [("Created", "True"), ("Running", "True")], "running"),
        (pytorchjob, [("Running", "False"), ("Restarting", "True")], "waiting"),
        (pytorchjob, [("Running", "False"), ("Succeeded", "True")], "succeeded"),
        (pytorchjob, [("Restarting", "True"), ("Failed", "True")], "failed"),
    ],
)
def test_conditions_become_states(kind: Any, conditions: list[tuple[str, str]], expected: str) -> None:
    found = {"status": {"conditions": [condition(*one) for one in conditions]}}
    assert kind.state(found).phase == expected


def test_progress_is_read_from_the_status() -> None:
    metrics = [{"name": "loss", "value": "0.5"}]
    status = {"trainerStatus": {"progressPercentage": 40, "estimatedRemainingSeconds": 120, "metrics": metrics},
              "jobsStatus": [{"name": "node", "active": 2, "ready": 2}]}  # fmt: skip
    state = trainjob.state({"status": status})
    assert state.phase == "running"
    assert state.progress == Progress(percent=40, seconds_left=120, metrics={"loss": "0.5"})
    assert str(state.progress) == "40%, 120 s left, loss 0.5"


@given(st.text(), st.text())
def test_a_name_is_a_label_short_enough_for_its_pods(run_id: str, recipe: str) -> None:
    name = job_name(run_id, recipe)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(f"{name}-node-0-9999-abcde") <= 63
    assert name == job_name(run_id, recipe) and name != job_name(run_id + "x", recipe)


def test_a_rank_that_is_named_is_heard_alone() -> None:
    lines = ["[rank 1] a", "[rank 11] b", "[rank 1] c", "rank 1 failed first, with exit code -9"]
    assert failing_rank(lines) == ("rank 1", ["a", "c"])
    assert failing_rank(["x", "y"]) == ("", ["x", "y"])
    assert failing_rank([]) == ("", [])
