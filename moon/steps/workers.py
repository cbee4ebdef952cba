"""Worker processes of a step."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import Pool
from typing import Any

Mapper = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]


def pool(workers: int) -> Pool:
    """A pool whose processes leave Ctrl-C to the one that started them; use it as a context manager."""
    # Spawned, not forked: the caller may run threads.
    return multiprocessing.get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN))


@contextmanager
def mapper(workers: int, chunk: int) -> Iterator[Mapper]:
    """An ordered map over processes, ``chunk`` items at a time; one worker is this process."""
    if workers < 2:
        yield map
        return
    with pool(workers) as processes:
        yield partial(processes.imap, chunksize=chunk)
