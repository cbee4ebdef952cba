"""Requests made of a catalogue's purchases, and asking a server with them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from moon.catalog.store import Catalog, ImageStore
from moon.monitoring.shifts import dark_photo
from moon.monitoring.windows import describe
from moon.vision.decode import decode, encode_jpeg

CLIENTS: Final = 4
TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class SearchRequest:
    """One request and what the window keeps of its input."""

    body: dict[str, Any]
    features: dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """What a server said."""

    sent: datetime
    milliseconds: float
    tree: dict[str, Any]


class Purchases:
    """The held-out purchases of a catalogue (the test split, else val, else all) as search requests.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._pictures: ImageStore = catalog.image_store()
        known = {"", *catalog.table("images", ["image_id"]).column("image_id").to_pylist()}
        photo_exists = [row for row in catalog.rows("interactions") if (row["query_image_id"] or "") in known]
        self.rows = _held_out(photo_exists)
        if not self.rows:
            raise ValueError(f"{catalog.root} has no interactions to replay")
        paths = {row["product_id"]: " / ".join(row["category_path"]) for row in catalog.rows("products")}
        self.categories = [paths.get(row["product_id"], "") for row in self.rows]
        """Category path of what was bought, a text."""

    def request(self, position: int, k: int, darken: bool = False) -> SearchRequest:
        """The search that a purchase began with, for ``k`` products, with the query's embedding."""
        text, image_id = self.rows[position]["query_text"], self.rows[position]["query_image_id"]
        body: dict[str, Any] = {"k": k, "return_embedding": True}
        photo = None
        if text:
            body["text"] = text
        if image_id:
            data = self._pictures[image_id]
            photo = decode(data)
            if darken:
                photo = dark_photo(photo)
                data = encode_jpeg(photo)
            body["image"] = base64.b64encode(data).decode()
        return SearchRequest(body, describe(text or None, photo))


def ask_in_order(client: httpx.Client, requests: Iterator[SearchRequest]) -> Iterator[tuple[SearchRequest, Any]]:
    """Each request with its `Answered`, or the reason why there is none, in the order of the requests.

    A few are under way at a time.
    """
    waiting: list[tuple[SearchRequest, Future[Answered | str]]] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for request in requests:
            waiting.append((request, pool.submit(_ask, client, request)))
            if len(waiting) >= 2 * CLIENTS:
                first, future = waiting.pop(0)
                yield first, future.result()
        for request, future in waiting:
            yield request, future.result()


def _held_out(interactions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first split of test and val that has any, else all."""
    for split in ("test", "val"):
        rows = [row for row in interactions if row["split"] == split]
        if rows:
            return rows
    return interactions


def _ask(client: httpx.Client, request: SearchRequest) -> Answered | str:
    sent, started = datetime.now(UTC), time.perf_counter()
    try:
        response = client.post("/search", json=request.body)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    elapsed = 1000 * (time.perf_counter() - started)
    if response.status_code != httpx.codes.OK:
        return f"HTTP {response.status_code}: {response.text[:200]}"
    return Answered(sent, elapsed, response.json())
