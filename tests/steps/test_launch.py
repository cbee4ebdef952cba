"""The launch step with real training processes: here, and through an API server whose jobs are such processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from moon.cluster.jobs import TrainingJob
from moon.cluster.local_launcher import LOCK, LocalLauncher
from moon.config import LaunchParams, MiningParams, ObjectivesParams, TrainingParams
from moon.steps import launch
from tests.cluster.fake_kubernetes import KUBECONFIG, FakeKubernetes, serving

ROOT = Path(__file__).parents[2]
TRAINING = TrainingParams(
    steps=4, batch_size=6, checkpoint_every=2, log_every=1, warmup_steps=1, token_budget=600, threads=1
)
CHANGED = ("steps", "batch_size", "checkpoint_every", "log_every", "warmup_steps", "token_budget", "threads")
SETTINGS = [f"training.{name}={getattr(TRAINING, name)}" for name in CHANGED]


@pytest.fixture(scope="module")
def inputs(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    from moon.steps import mine

    mined = tmp_path_factory.mktemp("mined")
    mine.run(catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, params=MiningParams(), out=mined)
    return {"catalog": tiny_catalog, "regions": tiny_regions, "negatives": mined, "model": tiny_model}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    """An API server that the current kubeconfig names."""
    fake = FakeKubernetes()
    with serving(fake) as address:
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(address=address))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield fake


def trains(fake: FakeKubernetes, tmp_path: Path) -> Callable[[str], None]:
    """A controller that runs a TrainJob's own command, as pods would."""

    def control(name: str) -> None:
        spec: dict[str, Any] = fake.objects[name]["spec"]["trainer"]
        assert spec["command"] == ["python", "-m", "moon.training.node"] and spec["args"][:2] == ["-m", "moon.training"]
        params = LaunchParams(nodes=spec["numNodes"], processes_per_node=spec["numProcPerNode"], max_restarts=0)
        labels = {"jobset.sigs.k8s.io/jobset-name": name}
        for index in range(params.nodes):
            fake.add_pod(f"{name}-{index}", labels | {"batch.kubernetes.io/job-completion-index": str(index)})

        def say(line: str) -> None:
            node, _, text = line.removeprefix("node ").partition(": ")
            fake.say(f"{name}-{node}", text)

        job = TrainingJob(name=name, run_id="", recipe="", arguments=spec["args"][2:])
        fake.set_status(name, {"jobsStatus": [{"name": "node", "active": params.nodes, "ready": 0}]})
        outcome = LocalLauncher(params, tmp_path / "pods", say).run(job)
        for index in range(params.nodes):
            fake.end_pod(f"{name}-{index}", outcome.exit_code)
        fake.condition(name, "Complete" if outcome.succeeded else "Failed")

    return control


def run(inputs: dict[str, Path], tmp_path: Path, out: str = "out", **changes: Any) -> Any:
    given: dict[str, Any] = {
        "params": TRAINING,
        "launch": LaunchParams(kind="trainjob", nodes=2, accelerator="", shared=str(tmp_path / "shared")),
        "objectives": ObjectivesParams(),
        "run_id": "run-1",
        "out": tmp_path / out,
    }
    return launch.run(**inputs, **(given | changes))


@pytest.mark.slow
def test_a_trainjob_returns_checkpoint_and_metrics(
    inputs: dict[str, Path], cluster: FakeKubernetes, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    cluster.controller = trains(cluster, tmp_path)
    result = run(inputs, tmp_path)
    assert result.steps == 4 and result.processes == 2
    assert (tmp_path / "out/model/model.safetensors").is_file() and (tmp_path / "out/loss.csv").is_file()
    [body] = cluster.created
    folder = tmp_path / "shared" / "jobs" / body["metadata"]["name"]
    assert not (folder / "inputs").exists()
    cluster.objects.clear()  # as if somebody had cleaned up
    again = run(inputs, tmp_path, "again")
    assert again.revision == result.revision and len(cluster.created) == 1, "what has succeeded is not done again"


def test_inputs_that_the_pods_see_already_are_not_copied(
    inputs: dict[str, Path], cluster: FakeKubernetes, tmp_path: Path
) -> None:
    shared = inputs["catalog"].parent.parent
    job = launch.Job(**inputs, out=tmp_path / "out")
    params = LaunchParams(kind="trainjob", shared=str(shared))
    _, placed = launch.plan(job, TRAINING, ObjectivesParams(), params, "run-1")
    assert placed.catalog == inputs["catalog"]
    elsewhere = LaunchParams(kind="trainjob", shared=str(tmp_path / "elsewhere"))
    asked, placed = launch.plan(job, TRAINING, ObjectivesParams(), elsewhere, "run-1")
    assert placed.catalog == tmp_path / "elsewhere" / "jobs" / asked.name / "inputs" / "catalog"
    assert not (tmp_path / "elsewhere").exists(), "a plan writes nothing"


def test_the_name_follows_run_data_and_recipe_and_nothing_else(inputs: dict[str, Path], tmp_path: Path) -> None:
    def name(run_id: str = "a", training: TrainingParams = TRAINING, **changes: Any) -> str:
        job = launch.Job(**inputs, out=tmp_path / "out")
        return launch.plan(job, training, ObjectivesParams(), LaunchParams(**changes), run_id)[0].name

    assert name() == name() == name(cpu="64", memory="1Ti", image="other", kind="trainjob")
    assert len({name(), name("b"), name(training=TrainingParams(steps=5))}) == 3


@pytest.mark.slow
def test_a_mistake_in_the_job_is_one_here(inputs: dict[str, Path], cluster: FakeKubernetes, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    cluster.controller = trains(cluster, tmp_path)
    one = LaunchParams(kind="trainjob", accelerator="", shared=str(tmp_path / "shared"))
    with pytest.raises(ValueError, match=r"training\.batch_size is 5000"):
        run(inputs, tmp_path, params=TrainingParams(batch_size=5000), launch=one)


def test_a_launcher_that_does_not_see_the_claim_says_so(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mount claim moon-training"):
        run(inputs, tmp_path)


def command(inputs: dict[str, Path], tmp_path: Path, *settings: str) -> list[str]:
    named = {**inputs, "out": tmp_path / "out"}
    changes = [*SETTINGS, "launch.accelerator=", *settings]
    return [
        *(sys.executable, "-m", "moon.cli", "launch"),
        *(part for name, path in named.items() for part in (f"--{name}", str(path))),
        *(part for change in changes for part in ("--set", change)),
    ]


def until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_killed_and_started_again_it_joins_its_job_and_sigterm_deletes_it(
    inputs: dict[str, Path], cluster: FakeKubernetes, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    args = command(inputs, tmp_path, "launch.kind=trainjob", "launch.nodes=2", f"launch.shared={tmp_path / 'shared'}")
    first = subprocess.Popen(args, env=environment(), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    until(lambda: bool(cluster.created), "no job")
    first.kill()
    first.communicate()
    [body] = cluster.created
    name = body["metadata"]["name"]
    uid = cluster.objects[name]["metadata"]["uid"]
    with subprocess.Popen(args, env=environment(), stderr=subprocess.PIPE, text=True, cwd=tmp_path) as second:
        try:
            until(lambda: sum(request[1].endswith("?watch") for request in cluster.requests) > 1, "not joined")
            assert len(cluster.created) == 1 and cluster.objects[name]["metadata"]["uid"] == uid
            second.send_signal(signal.SIGTERM)
            _, errors = second.communicate(timeout=60)
        finally:
            second.kill()
    assert second.returncode == 75 and f"attached to TrainJob {name}" in errors, errors
    assert "deleted" in errors.splitlines()[-1] and "Traceback" not in errors
    assert ("DELETE", f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/moon/trainjobs/{name}") in cluster.requests
    until(lambda: not cluster.objects, "the job is still there")


def namespaces_allowed() -> str:
    """Why two network namespaces cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    made = subprocess.run(["ip", "netns", "add", "moon-probe"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", "moon-probe"], capture_output=True)
    return made.stderr.strip()


@pytest.fixture
def hosts() -> Iterator[list[Any]]:
    """Two network namespaces joined by one link, as two machines that know each other by address only."""
    from moon.cluster.local_launcher import Host

    try:
        reason = namespaces_allowed()
    except FileNotFoundError:
        reason = "needs the command ip"
    if reason:
        pytest.skip(f"cannot make network namespaces: {reason}")
    names = [f"moon-{os.getpid()}-{index}" for index in (0, 1)]
    script = [
        *(f"netns add {name}" for name in names),
        f"link add eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}",
        *(f"-n {name} addr add 10.77.0.{index + 1}/24 dev eth0" for index, name in enumerate(names)),
        *(f"-n {name} link set {device} up" for name in names for device in ("eth0", "lo")),
    ]
    try:
        for line in script:
            subprocess.run(["ip", *line.split()], check=True, capture_output=True, text=True)
        yield [
            Host(prefix=("ip", "netns", "exec", name), address=f"10.77.0.{index + 1}")
            for index, name in enumerate(names)
        ]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Killer(threading.Thread):
    """Kills the training process of the second machine once a step has been done."""

    def __init__(self, out: Path, at_step: int) -> None:
        super().__init__(daemon=True)
        self._out, self._step, self.killed = out, at_step, 0

    def run(self) -> None:
        log, lock = self._out / "metrics.jsonl", self._out / LOCK
        until(lambda: log.is_file() and len(log.read_text().splitlines()) >= self._step, "no step", 240)
        [process] = children(json.loads(lock.read_text())[1])
        os.kill(process, signal.SIGKILL)
        self.killed = process


@pytest.mark.slow
def test_two_hosts_one_killed_mid_step_end_as_uninterrupted(
    inputs: dict[str, Path], hosts: list[Any], tmp_path: Path
) -> None:
    training = TrainingParams(**{**vars(TRAINING), "steps": 24, "checkpoint_every": 4})
    params = LaunchParams(nodes=2, accelerator="", max_restarts=2)
    pod = {"env": [{"name": "GLOO_SOCKET_IFNAME", "value": "eth0"}]}
    weights: list[dict[str, torch.Tensor]] = []
    attempts: list[int] = []
    for out in (tmp_path / "whole", tmp_path / "cut"):
        job = launch.Job(**inputs, out=out)
        asked, _ = launch.plan(job, training, ObjectivesParams(), params, out.name, pod)
        launch._write_params(out, training, ObjectivesParams())
        said: list[str] = []
        runner = LocalLauncher(params, out, said.append, hosts)
        if out.name == "cut":
            killer = Killer(out, at_step=7)
            killer.start()
        outcome = runner.run(asked)
        assert outcome.succeeded, (outcome, said[-30:])
        attempts.append(sum("resuming from step" in line for line in said))
        weights.append(load_file(out / "model" / "model.safetensors"))
    assert attempts == [0, 1] and killer.killed
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    rows = [(tmp_path / out / "metrics.jsonl").read_text().splitlines() for out in ("whole", "cut")]
    assert [json.loads(row)["loss"] for row in rows[0]] == [json.loads(row)["loss"] for row in rows[1]]
