"""Progress bars on long work: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Yields ``items`` behind a progress bar on standard error.

    ``total`` is needed only where the items do not know their number.
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(items, description, total=total, console=Console(stderr=True), transient=True)


def quiet_libraries() -> None:
    """Keeps the bars of Hugging Face's libraries to terminals too; call it before they are imported."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
