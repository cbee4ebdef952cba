"""The section ``collector``: the log of the server's traffic and the windows made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from moon.config.fields import Count, Limits, OneOf, ParamsError, Port, Positive, Section, Share


@dataclass(frozen=True, kw_only=True)
class CollectorParams(Section):
    """What is kept of the logged requests, how safely, and how much may wait."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 in a container."""
    port: Port = 8099
    """0 takes a free one."""
    sample: Share = 1.0
    """Share of the requests that are kept, chosen by their ids: a request and its response go together."""
    keep_texts: bool = False
    """Keeps the texts of queries in the log; windows never hold them."""
    keep_pictures: bool = False
    """Keeps the photos of queries in the log; windows never hold them."""
    fsync: Annotated[str, OneOf("always", "interval")] = "always"
    """``always``: an event is accepted when it is on the disk. ``interval``: when the operating system has it, so that
    a crash of the machine can lose the last ``fsync_seconds``."""
    fsync_seconds: Positive = 1.0
    segment_bytes: Count = 64_000_000
    """A file of the log is closed when it is longer."""
    max_body_bytes: Count = 64_000_000
    """Largest event."""
    max_image_pixels: Count = 40_000_000
    """A photo with more is not decoded; its row has no brightness."""
    max_pending_events: Count = 256
    """Events that have come and are not yet on the disk; beyond it 429."""
    max_pending_bytes: Count = 256_000_000
    """Bytes of these; beyond it 429."""
    threads: Count = 2
    """Threads that decode photos."""
    remember_events: Count = 200_000
    """Latest events whose repetition is noticed at once; windows notice all."""
    window_minutes: Annotated[int, Limits(1, 1440)] = 60
    """Length of a window; a divisor of a day."""
    grace_seconds: Positive = 120.0
    """How long after its end a window waits for late events."""
    max_rows: Count = 100_000
    """Rows of a window; of more requests a random part is taken."""
    keep_hours: Positive = 168.0
    """How long the log of a window is kept after the window is made."""

    def __post_init__(self) -> None:
        """Refuses a window that does not divide a day."""
        super().__post_init__()
        if 1440 % self.window_minutes:
            raise ParamsError(f"collector.window_minutes must divide 1440, got {self.window_minutes}")
