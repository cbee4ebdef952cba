"""Jobs in processes of their own, a few at a time; Ctrl-C and SIGTERM end them with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from moon.progress import track

LOG: Final = "log.txt"
"""What a job said, in its folder."""
_GRACE_SECONDS: Final = 20.0
"""Time for a job that is told to end to save what it has."""


def run_jobs(module: str, folders: Sequence[Path], workers: int, description: str) -> dict[Path, str | None]:
    """Runs ``python -m module FOLDER`` for each folder, ``workers`` at a time, one CPU thread each.

    Returns:
        Folder -> None where the job ended well, else the last line it said, or the signal that ended it.
    """
    children = _Children(module)
    with terminated_as_interrupted(), ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(children.run, folder): folder for folder in folders}
        try:
            done = track(as_completed(futures), description, len(futures))
            return {futures[future]: future.result() for future in done}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise


class _Children:
    """The processes that run now.

    Args:
        module: what they run.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._stopping = False

    def run(self, folder: Path) -> str | None:
        """Waits for one job; see `run_jobs` for what is returned."""
        with (folder / LOG).open("wb") as log:
            with self._lock:
                if self._stopping:
                    return "stopped"
                process = subprocess.Popen(
                    [sys.executable, "-m", self._module, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    start_new_session=True,
                )
                self._alive.add(process)
            code = process.wait()
        with self._lock:
            self._alive.discard(process)
        if code == 0:
            return None
        if code < 0:
            return f"ended by signal {-code}"
        said = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return said[-1] if said else f"exit code {code}"

    def stop(self) -> None:
        """Ends all processes and those that they started."""
        with self._lock:
            self._stopping = True
            alive = list(self._alive)
        for process in alive:
            _signal(process, signal.SIGTERM)
        end = time.monotonic() + _GRACE_SECONDS
        for process in alive:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in alive:
            if process.poll() is None:
                _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended in between
        os.killpg(process.pid, number)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Turns SIGTERM into KeyboardInterrupt for a while; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
