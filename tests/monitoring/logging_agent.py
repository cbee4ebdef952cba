"""What KServe's logger writes for the requests that the model server gets, over HTTP and in its storage mode."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from moon.monitoring.events import REQUEST, RESPONSE, Event

SOURCE = "http://localhost:9081/"
NOON = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)


def photo(shade: int = 90) -> bytes:
    noise = np.random.default_rng(shade).integers(0, 2 * shade, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer := BytesIO(), "JPEG")
    return buffer.getvalue()


def body(tree: Any) -> bytes:
    return tree if isinstance(tree, bytes) else json.dumps(tree).encode()


def event(name: str, kind: str, tree: Any, time: datetime = NOON, service: str = "moon") -> Event:
    return Event(id=name, kind=kind, source=SOURCE, service=service, time=time, data=body(tree))


def search(name: str, time: datetime = NOON, text: str = "red mug", image: bytes = b"", **answer: Any) -> list[Event]:
    """A search and its answer, both logged."""
    asked = {"text": text, "image": base64.b64encode(image).decode(), "k": 1, "return_embedding": True}
    found = {"id": "p1", "title": "Mug", "category_path": ["Kitchen", "Mugs"], "score": 0.5, "has_picture": True}
    told = {"products": [found], "model_revision": "m1", "index_revision": "i1", "embedding": [0.6, 0.8], **answer}
    return [event(name, REQUEST, asked, time), event(name, RESPONSE, told, time)]


def headers(one: Event, **changes: str) -> dict[str, str]:
    """The headers of an event in binary mode, as the logger sends them."""
    return {
        "ce-specversion": "1.0",
        "ce-id": one.id,
        "ce-type": one.kind,
        "ce-source": one.source,
        "ce-inferenceservicename": one.service,
        "ce-namespace": "shop",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-metadata": "null",
        "ce-time": one.time.isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
        **changes,
    }


def stored(one: Event) -> dict[str, Any]:
    """An entry of an object of the storage mode, in the JSON that Go makes of it."""
    return {
        "Url": {"Scheme": "s3", "Host": "bucket", "Path": "/logs"},
        "Bytes": base64.b64encode(one.data).decode(),
        "ContentType": "application/json",
        "ReqType": one.kind,
        "Id": one.id,
        "SourceUri": {"Scheme": "http", "Opaque": "", "User": None, "Host": "localhost:9081", "Path": "/"},
        "InferenceService": one.service,
        "Namespace": "shop",
        "Component": "predictor",
        "Endpoint": "",
        "Metadata": None,
        "Annotations": None,
        "CertName": "",
        "TlsSkipVerify": False,
    }
