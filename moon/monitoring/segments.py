"""The log of accepted events: append-only files, one folder a window, each record with its checksum.

A record is a line: CRC-32 in eight hexadecimal digits, a space, JSON. A writer starts a new file and never touches an
old one, so a crash can tear only the last line of a file, and a reader passes over it.

    log/2026-11-23T0800Z/collector-0-5f3a2c-0001.log
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import uuid
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, Final

LOG: Final = "log"
_FORM: Final = "%Y-%m-%dT%H%MZ"
_SUFFIX: Final = ".log"
_MADE: Final = "made"
_OPEN_FILES: Final = 3
"""Windows with an open file: this one, the last one, and one for stragglers."""
_LOG = logging.getLogger(__name__)


def window_of(time: datetime, minutes: int) -> str:
    """Name of the window that a time lies in: when it starts, in UTC."""
    day = time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + (time - day) // timedelta(minutes=minutes) * timedelta(minutes=minutes)).strftime(_FORM)


def start_of(window: str) -> datetime:
    """When a window starts.

    Raises:
        ValueError: not the name of a window.
    """
    try:
        return datetime.strptime(window, _FORM).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"'{window}' names no window; expected a time such as 2026-11-23T0800Z") from None


def logged_windows(root: Path) -> list[str]:
    """Names of the windows that have a log, oldest first."""
    names = []
    for folder in (root / LOG).glob("*"):
        try:
            start_of(folder.name)
        except ValueError:
            continue
        names.append(folder.name)
    return sorted(names)


def is_made(root: Path, window: str) -> bool:
    """Whether the window of a log was made; its log should get no more events."""
    return (root / LOG / window / _MADE).exists()


def mark_made(root: Path, window: str) -> None:
    """Notes that the window of a log was made."""
    (root / LOG / window / _MADE).touch()


def encode(record: Any) -> bytes:
    """A record as a line."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read(root: Path, window: str) -> Iterator[dict[str, Any]]:
    """The records of a window, the file last written to last.

    Torn and damaged lines are counted in a warning and passed over.
    """
    paths = (root / LOG / window).glob(f"*{_SUFFIX}")
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        damaged = 0
        with path.open("rb") as file:
            for line in file:
                text = line[9:-1]
                if line[-1:] == b"\n" and line[:9] == b"%08x " % zlib.crc32(text):
                    yield json.loads(text)
                else:
                    damaged += 1
        if damaged:
            _LOG.warning("%s: %d damaged lines passed over; the writer was stopped while it wrote them", path, damaged)


class Writer:
    """Appends records; one thread uses it.

    Args:
        root: folder that gets ``log/``.
        segment_bytes: a file is closed when it is longer.
    """

    def __init__(self, root: Path, segment_bytes: int) -> None:
        self._root, self._segment_bytes = root, segment_bytes
        self._name = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        self._files: dict[str, FileIO] = {}
        self._number = 0

    def append(self, window: str, lines: Sequence[bytes]) -> None:
        """Hands lines of a window to the operating system.

        Raises:
            OSError: none of them counts as written; the next call starts a new file.
        """
        try:
            file = self._files.get(window) or self._open(window)
            left = memoryview(b"".join(lines))
            while left:
                left = left[file.write(left) :]
        except OSError:
            self._abandon()
            raise

    def sync(self) -> None:
        """Returns when everything appended is on the disk.

        Raises:
            OSError: it may not be; the next call starts a new file.
        """
        try:
            for window, file in list(self._files.items()):
                os.fsync(file.fileno())
                if file.tell() >= self._segment_bytes or len(self._files) > _OPEN_FILES:
                    del self._files[window]
                    file.close()
        except OSError:
            self._abandon()
            raise

    def close(self) -> None:
        """Ends all files, with everything on the disk."""
        self.sync()
        self._abandon()

    def _open(self, window: str) -> FileIO:
        self._number += 1
        folder = self._root / LOG / window
        folder.mkdir(parents=True, exist_ok=True)
        file = self._files[window] = (folder / f"{self._name}-{self._number:04d}{_SUFFIX}").open("xb", buffering=0)
        for place in (folder, folder.parent, folder.parent.parent):
            _sync_folder(place)
        return file

    def _abandon(self) -> None:
        """Leaves all files; after an error the last line of each may be torn."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
