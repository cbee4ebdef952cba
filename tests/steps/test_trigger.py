from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from moon.steps.trigger import TriggerResult, trigger

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
    assert not late.started and "2026-11-24T1200Z, less than 24 hours" in late.reason
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
