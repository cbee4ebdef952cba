"""The search artefact that is served now, and how a new one takes its place without a request being lost.

A thread looks at the artefact's folder every few seconds. What it finds new it opens beside the old one, checks, and
searches once; then one assignment makes it the current one. A request that has begun keeps the one it began with, and
its files close when the last such request is done.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from moon.serving import metrics
from moon.serving.artefact import SETTINGS, ProductSearch

logger = logging.getLogger(__name__)

CURRENT: Final = "current"
"""A link in the folder that leads to the artefact in use; without one the folder is the artefact."""
_MOST_WAIT: Final = 60.0
"""Longest time between two attempts at an artefact that cannot be used, seconds."""

_Stamp: TypeAlias = tuple[str, int, int, int, int]


class LiveSearch:
    """The products that are searched now.

    Args:
        folder: the artefact, or a folder whose link ``current`` leads to it.
        revision: the model's revision, which every artefact must have been made with.
        dim: the model's dimensions.
        poll_seconds: how often to look for a new artefact; 0 never looks.

    Raises:
        ValueError: the artefact that is there cannot be used.
    """

    def __init__(self, folder: Path, revision: str, dim: int, poll_seconds: float = 0.0) -> None:
        self._folder, self._revision, self._dim, self._poll_seconds = folder, revision, dim, poll_seconds
        self._failed: _Stamp | None = None
        self._failures, self._retry_at = 0, 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamp = _stamp(folder)
        self._current = self._load()
        _show(self._current, None)

    @property
    def current(self) -> ProductSearch:
        """The products to search; whoever asks keeps them until its request is done."""
        return self._current

    def start(self) -> None:
        """Begins to look for new artefacts."""
        if self._poll_seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="moon-index", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread that looks."""
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def refresh(self) -> bool:
        """Takes up a new artefact if there is one; returns whether it did. The current one stays where that fails."""
        stamp = _stamp(self._folder)
        if stamp is None or stamp == self._stamp or (stamp == self._failed and time.monotonic() < self._retry_at):
            return False
        try:
            found = self._load()
        except Exception as error:  # whatever a damaged file makes a library raise, the old index goes on
            self._refuse(stamp, error)
            return False
        if _stamp(self._folder) != stamp:
            return False  # replaced while it was opened, so its parts may be of two artefacts
        _show(found, self._current)
        self._current, self._stamp, self._failed, self._failures = found, stamp, None, 0
        metrics.INDEX_SWAPS.labels("swapped").inc()
        logger.info("the index is now %s with %d products", found.revision, len(found))
        return True

    def _load(self) -> ProductSearch:
        found = ProductSearch.load(located(self._folder).resolve(), self._revision, self._dim)
        found.search(np.eye(1, self._dim, dtype=np.float32), 1)
        return found

    def _refuse(self, stamp: _Stamp, error: Exception) -> None:
        self._failures = self._failures + 1 if stamp == self._failed else 1
        wait = min(self._poll_seconds * 2**self._failures, _MOST_WAIT)
        self._failed, self._retry_at = stamp, time.monotonic() + wait
        metrics.INDEX_SWAPS.labels("failed").inc()
        logger.error("the new artefact in %s is not taken, %s stays: %s", self._folder, self._current.revision, error)

    def _watch(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            self.refresh()


def located(folder: Path) -> Path:
    """The artefact in a folder: where its link ``current`` leads, or the folder itself."""
    return folder / CURRENT if (folder / CURRENT).exists() else folder


def _stamp(folder: Path) -> _Stamp | None:
    """What changes when another artefact takes the place; None where there is none."""
    path = located(folder).resolve()
    try:
        made, settings = path.stat(), (path / SETTINGS).stat()
    except FileNotFoundError:
        return None
    return str(path), made.st_ino, settings.st_ino, settings.st_mtime_ns, settings.st_size


def _show(products: ProductSearch, before: ProductSearch | None) -> None:
    """What the metrics say of the index."""
    metrics.INDEX_PRODUCTS.set(len(products))
    metrics.INDEX_INFO.labels(products.revision).set(1)
    if before is not None and before.revision != products.revision:
        metrics.INDEX_INFO.remove(before.revision)
