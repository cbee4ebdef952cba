"""What the log keeps of an event: numbers about each query, or what it was answered; by default no photo, no text."""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np

from moon.config import CollectorParams
from moon.monitoring.bodies import Answer, Query, read_request, read_response
from moon.monitoring.events import REQUEST, Event
from moon.monitoring.windows import describe
from moon.vision.decode import ImageError, decode

REQUESTS: Final = "request"
RESPONSES: Final = "response"


def record(event: Event, params: CollectorParams) -> dict[str, Any]:
    """An event as the log keeps it.

    Raises:
        BodyError: its body is of no protocol of the model server.
    """
    kept: dict[str, Any] = {
        "key": event.key.hex(),
        "id": event.id,
        "source": event.source,
        "service": event.service,
        "time": event.time.isoformat(),
    }
    if event.kind == REQUEST:
        return {**kept, "kind": REQUESTS, "items": [_query(one, params) for one in read_request(event.data)]}
    answers, revision = read_response(event.data)
    return {**kept, "kind": RESPONSES, "revision": revision, "items": [_answer(one) for one in answers]}


def _query(query: Query, params: CollectorParams) -> dict[str, Any] | None:
    """The input columns of a row; None for an item without text and photo."""
    if not query.text and not query.has_image:
        return None
    row = describe(query.text or None, _photo(query, params.max_image_pixels), has_image=query.has_image)
    if query.category:
        row["category"] = list(query.category)
    if params.keep_texts and query.text:
        row["text"] = query.text
    if params.keep_pictures and query.image:
        row["picture"] = base64.b64encode(query.image).decode()
    return row


def _photo(query: Query, max_pixels: int) -> Any:
    try:
        return decode(query.image, max_pixels) if query.image else None
    except ImageError:
        return None


def _answer(answer: Answer) -> dict[str, Any] | None:
    """The output columns of a row; None where the item failed."""
    if answer.failed:
        return None
    row: dict[str, Any] = {"top_score": answer.top_score, "top_product": answer.top_product}
    if answer.top_category is not None:
        row["top_category"] = list(answer.top_category)
    if answer.embedding is not None:
        row["embedding"] = base64.b64encode(answer.embedding.astype("<f4").tobytes()).decode()
    return row


def vector(row: dict[str, Any]) -> np.ndarray | None:
    """The embedding of an output row, float32 [D]."""
    text = row.get("embedding")
    return None if text is None else np.frombuffer(base64.b64decode(text), "<f4")
