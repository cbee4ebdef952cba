"""A running model server: as a process on this machine here, as an InferenceService on a cluster.

`LocalDeployment` keeps one detached process: it outlives the one that started it, and any later process that opens
the same folder can wait for it or stop it. It reads ``/proc``, so it needs Linux.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_STATE, _LOG = "server.json", "server.log"
_READY_PATH: Final = "/v2/health/ready"
_POLL_SECONDS: Final = 0.1
_LOG_LINES: Final = 15


class DeploymentError(RuntimeError):
    """The server did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a deployed server is reached."""

    url: str
    """REST, such as ``http://127.0.0.1:8080``."""
    grpc_url: str
    """gRPC, ``host:port``."""


class Deployment(Protocol):
    """A server that was deployed, wherever it runs."""

    def endpoint(self) -> Endpoint | None:
        """Where it is reached; None when nothing is deployed."""
        ...

    def wait_ready(self, seconds: float) -> float:
        """Waits until it answers; returns the seconds that took."""
        ...

    def stop(self) -> bool:
        """Ends it; returns whether it was running. Safe to repeat."""
        ...


@dataclass(frozen=True, kw_only=True)
class _State:
    """What is written down of the process."""

    pid: int
    started: int
    """Start time in clock ticks since boot; tells the process from a later one with the same id."""
    url: str
    grpc_url: str
    command: list[str]


class LocalDeployment:
    """One server process, its state and its log in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def log(self) -> Path:
        """The server's output."""
        return self._folder / _LOG

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        state = self._read()
        return state.pid if state else None

    def endpoint(self) -> Endpoint | None:
        """Where the running server is reached."""
        state = self._read()
        return Endpoint(url=state.url, grpc_url=state.grpc_url) if state else None

    def start(self, command: Sequence[str], endpoint: Endpoint, environment: Mapping[str, str]) -> int:
        """Starts a process in a session of its own, its output going to the log; returns its id.

        Args:
            command: program and arguments.
            endpoint: where it will listen.
            environment: its whole environment.

        Raises:
            DeploymentError: one is running already, or the program cannot be started.
        """
        if (running := self.pid) is not None:
            raise DeploymentError(f"a server runs already in {self._folder} as process {running}; stop it first")
        self._folder.mkdir(parents=True, exist_ok=True)
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        redirect = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), log_flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            pid = os.posix_spawn(command[0], list(command), environment, file_actions=redirect, setsid=True)
        except OSError as error:
            raise DeploymentError(f"cannot start {command[0]}: {error.strerror}") from error
        state = _State(pid=pid, started=_started(pid) or 0, **dataclasses.asdict(endpoint), command=list(command))
        partial = self._folder / f"{_STATE}.partial"
        partial.write_text(json.dumps(dataclasses.asdict(state), indent=2) + "\n", encoding="utf-8")
        partial.rename(self._folder / _STATE)
        return pid

    def revive(self, environment: Mapping[str, str]) -> bool:
        """Starts a server again, at the same place, that ended without `stop`; returns whether there was one.

        That is so after a restart of the machine, and where the container of the process that started it has ended.

        Raises:
            DeploymentError: the program cannot be started.
        """
        noted = self._noted()
        if noted is None or _runs(noted):
            return False
        self.start(noted.command, Endpoint(url=noted.url, grpc_url=noted.grpc_url), environment)
        return True

    def wait_ready(self, seconds: float) -> float:
        """Waits until the server says that it is ready; returns the seconds waited.

        Raises:
            DeploymentError: it ended, or was not ready in time.
        """
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            endpoint = self.endpoint()
            if endpoint is None:
                raise DeploymentError(f"the server ended before it was ready{self._last_words()}")
            if _answers(endpoint.url + _READY_PATH):
                return waited
            time.sleep(_POLL_SECONDS)
        raise DeploymentError(f"the server was not ready after {seconds:.0f} s{self._last_words()}")

    def stop(self, seconds: float = 15.0) -> bool:
        """Ends the server: SIGTERM, and SIGKILL to what is left after ``seconds``; forgets its state."""
        state = self._read()
        if state is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGTERM)
            if not _ends(state, seconds):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(state.pid, signal.SIGKILL)
                _ends(state, seconds)
        (self._folder / _STATE).unlink(missing_ok=True)
        return state is not None

    def _read(self) -> _State | None:
        """The state of the running process; None when there is none, or it has ended."""
        state = self._noted()
        return state if state is not None and _runs(state) else None

    def _noted(self) -> _State | None:
        """The state of the process that was started last and not stopped; it may have ended."""
        try:
            return _State(**json.loads((self._folder / _STATE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        tail = "\n".join(lines[-_LOG_LINES:]) or "(the log is empty)"
        return f"; the end of {self.log}:\n{tail}"


def free_ports(host: str, count: int) -> list[int]:
    """Different TCP ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(_bound(host)).getsockname()[1] for _ in range(count)]


@contextlib.contextmanager
def _bound(host: str) -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind((host, 0))
        yield bound


def _started(pid: int) -> int | None:
    """Start time of a process; None when it has ended, also when only its exit code is left to collect."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # from the third field on; the second may hold anything
    return None if fields[0] in "ZX" and _collected(pid) else int(fields[19])


def _collected(pid: int) -> bool:
    """Takes the exit code of a process that we started; False while its last threads are still ending."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # another process started it, and collects the code
        return True


def _runs(state: _State) -> bool:
    return _started(state.pid) == state.started


def _ends(state: _State, seconds: float) -> bool:
    """Waits for the process to end."""
    until = time.monotonic() + seconds
    while _runs(state):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _answers(url: str) -> bool:
    """Whether a GET gives 200; proxies of the environment are not for this machine's own ports."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
