"""Worker processes of a step."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.pool import Pool


def pool(workers: int) -> Pool:
    """A pool whose processes leave Ctrl-C to the one that started them; use it as a context manager."""
    # Spawned, not forked: the caller may run threads.
    return multiprocessing.get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN))
