"""A training job of several machines as processes of this one, with the failure policy of the cluster form.

Every machine is one `moon.training.node`, told its place by the variables that Kubeflow Trainer sets. When one ends
badly the others are stopped; unless its exit code says that it would fail again, all start anew and go on from the
newest checkpoint.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moon.cluster.jobs import ENTRY, PERMANENT, TAIL, Outcome, TrainingJob, failing_rank
from moon.config import LaunchParams

log = logging.getLogger(__name__)

LOCK: Final = "launch.json"
"""In the job's folder: held, also by its processes, while they run; names them."""
_KEPT: Final = 400
_POLL: Final = 0.1
_OTHERS_SECONDS: Final = 5.0
"""Time for the other machines to notice by themselves that one has ended."""
_CRASHED: Final = 1


class StillRunning(RuntimeError):
    """Processes of an earlier launch of the same job are alive."""

    exit_code = 75


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where the processes of one machine run."""

    prefix: Sequence[str] = ()
    """Put before the command, such as ``ip netns exec NAME`` or ``numactl --cpunodebind=0``."""
    address: str = "127.0.0.1"
    """At which the other machines reach it."""


class LocalLauncher:
    """Runs jobs on this machine.

    Args:
        params: machines, processes, restarts, deadline and grace.
        folder: of the job; two launches of one folder do not run at once.
        say: gets every line of the job's log.
        hosts: one for each machine; without any, all are this one.

    Raises:
        ValueError: there are not as many hosts as machines.
    """

    def __init__(
        self, params: LaunchParams, folder: Path, say: Callable[[str], None], hosts: Sequence[Host] = ()
    ) -> None:
        self._params, self._folder, self._say = params, folder, say
        self._hosts = list(hosts) or [Host()] * params.nodes
        if len(self._hosts) != params.nodes:
            raise ValueError(f"got {len(self._hosts)} hosts for launch.nodes={params.nodes}; give one for each")

    def run(self, job: TrainingJob) -> Outcome:
        """Runs a job to its end, restarts included; KeyboardInterrupt stops it with a checkpoint.

        Raises:
            StillRunning: processes of an earlier launch are alive.
        """
        end = time.monotonic() + self._params.deadline_seconds
        with self._locked() as lock:
            for attempt in range(self._params.max_restarts + 1):
                outcome = self._attempt(job, lock, end)
                if outcome.succeeded or outcome.permanent or time.monotonic() >= end:
                    return outcome
                if attempt < self._params.max_restarts:
                    log.warning("%s; starting all again (%d of %d)", outcome, attempt + 1, self._params.max_restarts)
        return outcome

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / LOCK
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                groups = path.read_text() or "[]"
                raise StillRunning(
                    f"processes of an earlier launch still train in {self._folder}; wait for them, or stop them with "
                    f"a checkpoint: kill {' '.join(map(str, json.loads(groups)))}"
                ) from None
            yield handle
        finally:
            os.close(handle)

    def _attempt(self, job: TrainingJob, lock: int, end: float) -> Outcome:
        machines: list[_Machine] = []
        try:
            port = _free_port()
            for number, host in enumerate(self._hosts):
                machines.append(_Machine(number, host, self._command(job), self._variables(job, number, port), lock,
                                         self._say))  # fmt: skip
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps([machine.process.pid for machine in machines]).encode(), 0)
            first = _first_failed(machines, end)
        finally:
            _stop(machines, self._params.grace_seconds)
        if first is None:
            if all(machine.code == 0 for machine in machines):
                return Outcome(name=job.name, succeeded=True)
            reason = f"DeadlineExceeded: longer than {self._params.deadline_seconds} s"
            return Outcome(name=job.name, succeeded=False, exit_code=_CRASHED, reason=reason)
        first = next((machine for machine in machines if machine.code in PERMANENT), first)
        rank, said = failing_rank(list(first.lines))
        who = f"{rank} on machine {first.number}" if rank else f"machine {first.number}"
        code = max(first.code or 0, _CRASHED)  # a negative one is a signal
        return Outcome(name=job.name, succeeded=False, exit_code=code, reason=f"{who} said last:", lines=said[-TAIL:])

    def _command(self, job: TrainingJob) -> list[str]:
        return [sys.executable, *ENTRY[1:], "-m", "moon.training", *job.arguments]

    def _variables(self, job: TrainingJob, number: int, port: int) -> dict[str, str]:
        given = {variable["name"]: str(variable["value"]) for variable in job.pod.env if "value" in variable}
        return {
            **given,
            "PET_NNODES": str(self._params.nodes),
            "PET_NODE_RANK": str(number),
            "PET_NPROC_PER_NODE": str(self._params.processes_per_node),
            "PET_MASTER_ADDR": self._hosts[0].address,
            "PET_MASTER_PORT": str(port),
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(self._params.grace_seconds),
        }


class _Machine:
    """The running processes of one machine."""

    def __init__(
        self,
        number: int,
        host: Host,
        command: list[str],
        variables: dict[str, str],
        lock: int,
        say: Callable[[str], None],
    ) -> None:
        self.number = number
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self.process = subprocess.Popen(
            [*host.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | variables,
            start_new_session=True,
            pass_fds=[lock],
        )
        self._reader = threading.Thread(target=self._read, args=(say,), name=f"log of machine {number}", daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Exit code, None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals, everything: bool = False) -> None:
        """Sends a signal to the parent of the processes, or to all of them."""
        with suppress(ProcessLookupError):  # it has ended in between
            (os.killpg if everything else os.kill)(self.process.pid, number)

    def drain(self) -> None:
        """Waits until everything that was said has been read."""
        self._reader.join(5.0)

    def _read(self, say: Callable[[str], None]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            say(f"node {self.number}: {self.lines[-1]}")


def _first_failed(machines: Sequence[_Machine], end: float) -> _Machine | None:
    """Waits until all machines are done, one has failed (and the others had time to notice), or the time is over."""
    while time.monotonic() < end:
        codes = [machine.code for machine in machines]
        for machine, code in zip(machines, codes, strict=True):
            if code:
                _wait_for(machines, _OTHERS_SECONDS)
                return machine
        if all(code == 0 for code in codes):
            return None
        time.sleep(_POLL)
    return None


def _wait_for(machines: Sequence[_Machine], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(machine.code is None for machine in machines):
        time.sleep(_POLL)


def _stop(machines: Sequence[_Machine], grace: float) -> None:
    """Ends what still runs: SIGTERM, time for a checkpoint, SIGKILL to everything that is left."""
    for machine in machines:
        if machine.code is None:
            machine.signal(signal.SIGTERM)
    _wait_for(machines, grace)
    for machine in machines:
        machine.signal(signal.SIGKILL, everything=True)
        machine.process.wait()
        machine.drain()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
