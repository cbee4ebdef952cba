"""Progress bars on long work: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_UPDATE_EVERY = 64


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Yields ``items`` behind a progress bar on standard error.

    ``total`` is needed only where the items do not know their number.
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(items, description, total=total, console=Console(stderr=True), transient=True)


def follow(items: Iterable[T], description: str, total: int, position: Callable[[], int]) -> Iterable[T]:
    """`track` for items whose number is not known, but which are read from something whose length is.

    Args:
        items: what is yielded.
        description: what is done; empty shows no bar.
        total: the length, such as the bytes of a file.
        position: how much of it has been read.
    """
    if not description or not sys.stderr.isatty():
        return items
    return _followed(items, description, total, position)


def _followed(items: Iterable[T], description: str, total: int, position: Callable[[], int]) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        for number, item in enumerate(items):
            yield item
            if not number % _UPDATE_EVERY:
                bar.update(task, completed=position())


def quiet_libraries() -> None:
    """Keeps the bars of Hugging Face's libraries to terminals too; call it before they are imported."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
