from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from moon.cli import main
from moon.cluster.kfp_client import PipelineService
from moon.steps.trigger import TriggerResult, trigger
from tests.cluster.fake_kfp import FakeKfp, serving

WINDOW = "2026-11-23T1200Z"


class Runs:
    """A server of runs that knows keys: the same key is the same run."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.broken = False

    def __call__(self, job_name: str, key: str) -> str:
        if self.broken:
            raise RuntimeError("no answer")
        self.keys.append(f"{job_name}-{key}")
        return f"run-{job_name}-{key}"


def ask(root: Path, runs: Runs, window: str = WINDOW, service: str = "moon", hours: float = 24) -> TriggerResult:
    return trigger(root=root, service=service, window=window, hours=hours, start=runs)


def test_a_window_starts_one_run_however_often_it_is_judged(tmp_path):
    runs = Runs()
    first, second = ask(tmp_path, runs), ask(tmp_path, runs)
    assert first.started and not second.started
    assert first.run_id == second.run_id == f"run-drift-moon-{WINDOW.lower()}" and len(runs.keys) == 1


def test_another_service_and_a_later_window_start_their_own(tmp_path):
    runs = Runs()
    windows = [WINDOW, "2026-11-24T1100Z", "2026-11-24T1200Z"]
    assert [ask(tmp_path, runs, window).started for window in windows] == [True, False, True]
    late = ask(tmp_path, runs, "2026-11-24T1800Z")
    assert not late.started and "2026-11-24T1200Z" in late.reason and not late.run_id
    assert ask(tmp_path, runs, service="shop").started
    assert ask(tmp_path, runs, "2026-11-24T1800Z", hours=0).started


def test_a_window_judged_late_does_not_start_a_second_run_beside_a_newer_one(tmp_path):
    runs = Runs()
    assert ask(tmp_path, runs, "2026-11-23T1300Z").started
    assert not ask(tmp_path, runs, WINDOW).started


def test_a_start_that_failed_is_made_up_for_with_the_same_key(tmp_path):
    runs = Runs()
    runs.broken = True
    with pytest.raises(RuntimeError, match="no answer"):
        ask(tmp_path, runs)
    runs.broken = False
    assert ask(tmp_path, runs).started and not ask(tmp_path, runs).started
    assert len(runs.keys) == 1


def test_the_next_window_makes_up_for_a_start_that_failed(tmp_path):
    runs = Runs()
    runs.broken = True
    with pytest.raises(RuntimeError):
        ask(tmp_path, runs)
    runs.broken = False
    made_up = ask(tmp_path, runs, "2026-11-23T1300Z")
    assert made_up.started and made_up.run_id.endswith(WINDOW.lower())
    assert not ask(tmp_path, runs).started and not ask(tmp_path, runs, "2026-11-23T1400Z").started
    assert len(runs.keys) == 1


def _judge(root: str, started: str) -> None:
    def start(job_name: str, key: str) -> str:
        with open(started, "a", encoding="utf-8") as file:
            file.write(f"{job_name}\n")
        return "run"

    trigger(root=Path(root), service="moon", window=WINDOW, hours=24, start=start)


def test_judges_at_the_same_time_start_one_run(tmp_path):
    context = multiprocessing.get_context("fork")
    started = tmp_path / "started.txt"
    judges = [context.Process(target=_judge, args=(str(tmp_path), str(started))) for _ in range(6)]
    for judge in judges:
        judge.start()
    for judge in judges:
        judge.join(60)
        assert judge.exitcode == 0
    assert len(started.read_text().splitlines()) == 1
    assert json.loads((tmp_path / "triggers" / "moon" / f"{WINDOW}.json").read_text())["run_id"] == "run"


SPEC = """
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
pipelineInfo: {name: moon-train}
root: {dag: {tasks: {}}}
deploymentSpec: {executors: {}}
components: {}
"""


def decided(root: Path, decision: str) -> None:
    folder = root / "decisions" / "moon" / WINDOW
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(json.dumps({"decision": decision}))


def test_a_training_is_started_on_the_pipelines_server_once(tmp_path):
    fake = FakeKfp(token="secret")
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "moon-train.yaml").write_text(SPEC)
    root = tmp_path / "root"
    decided(root, "retrain")
    with serving(fake) as host:
        PipelineService(host, token="secret").upload(tmp_path / "moon-train.yaml")
        command = ["retrain", "--service", "moon", "--host", host, "--argument", "data=/data", "--root", str(root)]
        command += [
            "--token-file",
            str(tmp_path / "token"),
            "--out",
            str(tmp_path / "out"),
            "--window",
            WINDOW,
            "--json",
        ]
        assert main(command) == main(command) == 0
        # Even a claim that was lost with its process does not start a second run.
        (root / "triggers" / "moon" / f"{WINDOW}.json").write_text(json.dumps({"window": WINDOW, "run_id": ""}))
        assert main(command) == 0
    (run,) = fake.rows["runs"]
    assert run["display_name"] == f"drift-moon-{WINDOW.lower()}"
    assert run["runtime_config"]["parameters"] == {"data": "/data"}
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert told["run_id"] == run["run_id"]


@pytest.mark.parametrize(("decision", "told"), [("warn", "asks for no training"), (None, "no decision at")])
def test_a_window_that_asks_for_nothing_starts_nothing(tmp_path, capsys, decision, told):
    if decision:
        decided(tmp_path, decision)
    command = ["retrain", "--service", "moon", "--host", "http://127.0.0.1:1", "--root", str(tmp_path)]
    assert main([*command, "--window", WINDOW, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert main([*command, "--window", WINDOW, "--argument", "data"]) == 2
