"""One machine's processes as a pod starts them: exit codes, whose line is whose, and who failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moon.cluster.jobs import RETRY_OFFSET, failing_rank

ROOT = Path(__file__).parents[2]


def command(script: str) -> list[str]:
    return [*(sys.executable, "-m", "moon.training.node", "--no-python", "bash", "-c", script)]


def environment(processes: int = 2, offset: int = 0) -> dict[str, str]:
    """The variables that Kubeflow Trainer sets."""
    place = {"PET_NNODES": "1", "PET_NODE_RANK": "0", "PET_NPROC_PER_NODE": str(processes)}
    master = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": "0"}
    return {**os.environ, **place, **master, "PYTHONPATH": str(ROOT), RETRY_OFFSET: str(offset)}


def run(script: str, processes: int = 2, offset: int = 0) -> subprocess.CompletedProcess[str]:
    given = environment(processes, offset)
    return subprocess.run(command(script), env=given, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "offset", "expected"),
    [
        ("exit 0", 128, 0),
        ("exit 2", 128, 2),
        ("exit 5", 0, 5),
        ("exit 75", 128, 203),
        ("exit 1", 128, 129),
        ("kill -9 $$", 0, 1),
    ],
)
def test_the_exit_code_is_that_of_the_process_that_failed(script: str, offset: int, expected: int) -> None:
    done = run(script, 1, offset)
    assert done.returncode == expected, done.stderr


def test_lines_bear_their_rank_and_the_last_one_names_who_failed() -> None:
    done = run('echo "I am $RANK of $WORLD_SIZE"; [ $RANK = 0 ] && sleep 30; echo "lost" >&2; exit 1')
    said = (done.stdout + done.stderr).splitlines()
    assert "[rank 0] I am 0 of 2" in said and "[rank 1] I am 1 of 2" in said
    assert failing_rank(said) == ("rank 1", ["I am 1 of 2", "lost"])
    assert "Traceback" not in done.stderr


def test_sigterm_reaches_the_processes_and_asks_to_try_again() -> None:
    script = "trap 'echo saved; exit 75' TERM; echo ready; while true; do sleep 0.1; done"
    with subprocess.Popen(command(script), env=environment(1), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[rank 0] ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert "[rank 0] saved" in process.communicate(timeout=60)[0]
    assert process.returncode == 75


def test_sigterm_before_the_processes_exist_ends_it_too() -> None:
    """A machine waits long for the others at the rendezvous; here for one that never comes."""
    waiting = environment(1, 128) | {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_PORT": "9"}
    with subprocess.Popen(command("exit 0"), env=waiting, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(4.0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 203
