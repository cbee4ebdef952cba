"""The failure policy of jobs on one machine, with real processes that a script stands for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moon.cluster import local_launcher
from moon.cluster.jobs import FAILED, PREFIX, Outcome, TrainingJob
from moon.cluster.local_launcher import LOCK, Host, LocalLauncher, StillRunning
from moon.config import LaunchParams

JOB = TrainingJob(name="moon-x", run_id="x", recipe="r", arguments=["--out", "somewhere"])
# Counts its starts in a file, then does what the test says for its rank and start.
SCRIPT = """
import os, pathlib, signal, sys, time
rank, folder = int(os.environ["PET_NODE_RANK"]), pathlib.Path({folder!r})
counter = folder / f"starts-{{rank}}"
start = int(counter.read_text()) if counter.exists() else 0
counter.write_text(str(start + 1))
(folder / f"command-{{rank}}").write_text("\\n".join(sys.argv[1:]))
(folder / f"env-{{rank}}").write_text("\\n".join(f"{{k}}={{v}}" for k, v in os.environ.items() if k.startswith("PET_")))
{body}
"""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_launcher, "_OTHERS_SECONDS", 0.3)


def launcher(folder: Path, body: str, **params: int) -> tuple[LocalLauncher, list[str]]:
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(folder=str(folder), body=body))
    said: list[str] = []
    settings = LaunchParams(**{"nodes": 2, "grace_seconds": 30, **params})  # type: ignore[arg-type]
    hosts = [Host(prefix=(sys.executable, str(script)))] * settings.nodes
    return LocalLauncher(settings, folder, said.append, hosts), said


def starts(folder: Path) -> list[int]:
    return [int((folder / f"starts-{rank}").read_text()) for rank in (0, 1)]


def test_every_machine_is_told_its_place(tmp_path: Path) -> None:
    run, said = launcher(tmp_path, "print('hello')", processes_per_node=3)
    assert run.run(JOB) == Outcome(name="moon-x", succeeded=True)
    assert sorted(said) == ["node 0: hello", "node 1: hello"]
    for rank in (0, 1):
        env = dict(line.split("=") for line in (tmp_path / f"env-{rank}").read_text().splitlines())
        port = env.pop("PET_MASTER_PORT")
        assert port.isdigit()
        assert env == {"PET_NNODES": "2", "PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": "3",
                       "PET_MASTER_ADDR": "127.0.0.1"}  # fmt: skip
        command = (tmp_path / f"command-{rank}").read_text().splitlines()
        assert command[1:] == ["-m", "moon.training.node", "-m", "moon.training", *JOB.arguments]


def test_one_that_crashes_starts_all_again(tmp_path: Path) -> None:
    run, _ = launcher(tmp_path, "if rank == 1 and start < 2: sys.exit(1)\nif start < 2: time.sleep(60)")
    assert run.run(JOB).succeeded
    assert starts(tmp_path) == [3, 3]


def test_restarts_have_an_end_and_the_failing_rank_is_heard(tmp_path: Path) -> None:
    body = f"""
if rank == 1:
    print({PREFIX.format(rank=3)!r} + "out of memory", file=sys.stderr)
    print({PREFIX.format(rank=2)!r} + "lost a peer", file=sys.stderr)
    print({FAILED.format(rank=3, code=1)!r}, file=sys.stderr)
    sys.exit(1)
time.sleep(60)
"""
    run, _ = launcher(tmp_path, body, max_restarts=1)
    outcome = run.run(JOB)
    assert not outcome.succeeded and outcome.exit_code == 1 and outcome.lines == ["out of memory"]
    assert "rank 3 on machine 1" in str(outcome)
    assert starts(tmp_path) == [2, 2]


@pytest.mark.parametrize("code", [2, 5])
def test_what_would_come_again_is_not_tried_again(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another machine noticed first that something is wrong."""
    run, _ = launcher(tmp_path, f"time.sleep(0.3 * rank)\nsys.exit({code} if rank else 1)")
    monkeypatch.setattr(local_launcher, "_OTHERS_SECONDS", 5.0)
    outcome = run.run(JOB)
    assert outcome.exit_code == code and outcome.permanent and starts(tmp_path) == [1, 1]


def test_a_signal_counts_as_a_crash(tmp_path: Path) -> None:
    run, _ = launcher(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", max_restarts=0)
    assert run.run(JOB).exit_code == 1


def test_a_deadline_stops_the_job_with_time_to_save(tmp_path: Path) -> None:
    body = """
signal.signal(signal.SIGTERM, lambda *_: ((folder / f"saved-{rank}").write_text(""), sys.exit(75)))
time.sleep(60)
"""
    run, _ = launcher(tmp_path, body, deadline_seconds=3)
    outcome = run.run(JOB)
    assert not outcome.succeeded and "DeadlineExceeded" in outcome.reason
    assert all((tmp_path / f"saved-{rank}").exists() for rank in (0, 1)) and starts(tmp_path) == [1, 1]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_launches_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    run, _ = launcher(tmp_path, "time.sleep(3)")
    thread = threading.Thread(target=run.run, args=(JOB,))
    thread.start()
    until(lambda: (tmp_path / "starts-1").exists())
    with pytest.raises(StillRunning, match=r"kill \d+ \d+"):
        launcher(tmp_path, "")[0].run(JOB)
    thread.join()
    assert launcher(tmp_path, "")[0].run(JOB).succeeded


def test_processes_that_outlive_their_launcher_keep_the_folder(tmp_path: Path) -> None:
    """A launcher that is killed leaves processes; another one must not write beside them."""
    launcher(tmp_path, "time.sleep(60)")
    code = f"""
import sys
from pathlib import Path
from moon.cluster.jobs import TrainingJob
from moon.cluster.local_launcher import Host, LocalLauncher
from moon.config import LaunchParams
host = Host(prefix=(sys.executable, {str(tmp_path / "script.py")!r}))
job = TrainingJob(name="x", run_id="x", recipe="r", arguments=[])
LocalLauncher(LaunchParams(), Path({str(tmp_path)!r}), print, [host]).run(job)
"""
    first = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    until(lambda: (tmp_path / "starts-0").exists())
    first.kill()
    first.wait()
    with pytest.raises(StillRunning):
        launcher(tmp_path, "")[0].run(JOB)
    [left] = json.loads((tmp_path / LOCK).read_text())
    os.kill(left, signal.SIGKILL)
    (tmp_path / "starts-0").unlink()

    def free() -> bool:
        try:
            return launcher(tmp_path, "")[0].run(JOB).succeeded
        except StillRunning:
            return False

    until(free)


def test_as_many_hosts_as_machines() -> None:
    with pytest.raises(ValueError, match=r"got 1 hosts for launch.nodes=2"):
        LocalLauncher(LaunchParams(nodes=2), Path("x"), print, [Host()])
