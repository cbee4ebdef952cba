"""A running server and what is known of it without asking it."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from moon.catalog.store import Catalog
from moon.cluster.deployment import Endpoint
from moon.config import ServingParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.serving.query import Query

LIMITS = ServingParams(
    max_body_bytes=400_000,
    max_request_items=12,
    max_image_bytes=100_000,
    max_image_pixels=1_000_000,
    max_text_chars=400,
    max_top_k=20,
    max_batch_items=8,
    header_seconds=2.0,
    body_seconds=2.0,
)


@dataclass(frozen=True)
class Server:
    endpoint: Endpoint
    http: httpx.Client
    embedder: Embedder
    source: ItemSource
    catalog: Catalog
    index_ids: list[str]
    index_vectors: np.ndarray
    log: Path

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The first interactions of each kind, mixed."""
        kinds: dict[tuple[bool, bool], list[dict[str, Any]]] = {}
        for row in self.catalog.rows("interactions"):
            kinds.setdefault((bool(row["query_text"]), bool(row["query_image_id"])), []).append(row)
        assert len(kinds) == 3
        return [row for group in zip(*kinds.values(), strict=False) for row in group][:count]

    def query(self, row: Mapping[str, Any]) -> Query:
        image_id = row["query_image_id"]
        return Query(row["query_text"] or "", self.catalog.image_store()[image_id] if image_id else b"")

    def offline(self, rows: list[dict[str, Any]]) -> np.ndarray:
        """What the same queries are embedded to without a server."""
        return self.embedder.embed([self.source.query(row) for row in rows])

    def photo(self) -> bytes:
        return next(data for _, data in self.catalog.images())


def b64(data: bytes | str) -> str:
    return base64.b64encode(data).decode() if isinstance(data, bytes) else data


def command(model: Path, folder: Path, ports: list[int]) -> list[str]:
    flags = [f"--model_dir={model}", f"--artefact_dir={folder}", f"--http_port={ports[0]}", f"--grpc_port={ports[1]}"]
    return [sys.executable, "-m", "moon.serving", *flags]


def wait_ready(http: httpx.Client, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    """Until the server says that it is ready."""
    until = time.monotonic() + seconds
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        try:
            if http.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends it, by force where it does not go."""
    process.terminate()
    try:
        process.wait(30)
    finally:
        process.kill()
        process.wait()
