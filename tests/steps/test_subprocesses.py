from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moon.steps.subprocesses import LOG, run_jobs

JOB = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
todo = (folder / "todo").read_text()
if todo == "fine":
    print("all is well")
if todo == "killed":
    os.kill(os.getpid(), 9)
if todo == "fail":
    sys.exit("what went wrong")
if todo == "silent":
    os._exit(3)
if todo == "wait":
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)
"""
PARENT = """
import sys
from pathlib import Path
from moon.steps.subprocesses import run_jobs
run_jobs("waiting_job", [Path(folder) for folder in sys.argv[1:]], 2, "waiting")
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that does what the file ``todo`` in its folder says."""
    (tmp_path / "waiting_job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "waiting_job"


def folders(root: Path, *todo: str) -> list[Path]:
    made = []
    for number, text in enumerate(todo):
        folder = root / f"job{number}"
        folder.mkdir()
        (folder / "todo").write_text(text)
        made.append(folder)
    return made


def test_a_failed_job_says_why_and_the_others_go_on(job: str, tmp_path: Path) -> None:
    given = folders(tmp_path, "fine", "fail", "silent", "killed")
    reasons = run_jobs(job, given, 2, "test")
    assert [reasons[folder] for folder in given[:2]] == [None, "what went wrong"]
    assert [reasons[folder] for folder in given[2:]] == ["exit code 3", "ended by signal 9"]
    assert (given[0] / LOG).read_text() == "all is well\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_jobs_with_their_parent(job: str, tmp_path: Path, number: signal.Signals) -> None:
    given = folders(tmp_path, "wait", "wait", "wait")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *map(str, given)], stderr=subprocess.PIPE)
    running = given[:2]
    limit = time.monotonic() + 60
    while not all((folder / "pid").is_file() for folder in running) and time.monotonic() < limit:
        time.sleep(0.05)
    parent.send_signal(number)
    assert b"KeyboardInterrupt" in parent.communicate(timeout=60)[1] and parent.returncode != 0
    for folder in running:
        with pytest.raises(ProcessLookupError):
            os.kill(int((folder / "pid").read_text()), 0)
    assert not (given[2] / "pid").exists()
