"""One event of KServe's inference logger, as a CloudEvent over HTTP or as an object of its storage mode.

The logger sends a request and its response as two events of one id. An event says nothing of the path that was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

REQUEST: Final = "org.kubeflow.serving.inference.request"
RESPONSE: Final = "org.kubeflow.serving.inference.response"
UNKNOWN: Final = "unknown"
"""Service of an event that names none."""

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MAX_ID: Final = 1000


class EventError(ValueError):
    """An event cannot be taken; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A logged request or response."""

    id: str
    kind: str
    """`REQUEST` or `RESPONSE`."""
    source: str
    service: str = UNKNOWN
    """InferenceService, with its endpoint behind a dot where that is not the default one."""
    time: datetime
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuses what cannot be kept under its name."""
        if self.kind not in (REQUEST, RESPONSE):
            raise EventError(f"type '{self.kind[:100]}' is not of KServe's logger; expected {REQUEST} or {RESPONSE}")
        if not 0 < len(self.id) <= _MAX_ID:
            raise EventError(f"an id has 1 to {_MAX_ID} characters, got {len(self.id)}")
        if not _NAME.fullmatch(self.service):
            raise EventError(f"inferenceservicename '{self.service[:100]}' is not a name of Kubernetes")

    @property
    def key(self) -> bytes:
        """What no other event has: request and response of one id differ by their type."""
        return hashlib.blake2b(f"{self.source}\0{self.kind}\0{self.id}".encode(), digest_size=16).digest()


def draw(request_id: str) -> float:
    """A number from 0 to 1 that depends on the id alone, to sample a request together with its response."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=7).digest()) / 2**56


def from_http(headers: Mapping[str, str], body: bytes) -> Event:
    """Reads a CloudEvent in binary or structured mode.

    Args:
        headers: of the request, in lower case.
        body: of the request.

    Raises:
        EventError: not a CloudEvent, or not one of KServe's logger.
    """
    from cloudevents.exceptions import GenericException
    from cloudevents.http import from_http as parse

    try:
        event = parse(dict(headers), body, data_unmarshaller=_as_it_is)
    except (GenericException, ValueError, TypeError, AttributeError) as error:
        raise EventError(f"not a CloudEvent: {error}") from None
    attributes = event.get_attributes()
    return _event(attributes, _bytes(event.get_data()))


def from_stored(fields: Mapping[str, Any], stored: datetime) -> Event:
    """Reads one entry of an object that the logger's storage mode wrote.

    Args:
        fields: ``id``, ``req_type``, ``source_uri``, ``inference_service``, ``endpoint`` and ``bytes``.
        stored: when the object was written; an entry has no time of its own.

    Raises:
        EventError: an entry that the logger does not write.
    """
    attributes = {
        "id": fields["id"],
        "type": fields["req_type"],
        "source": fields["source_uri"],
        "inferenceservicename": fields["inference_service"],
        "endpoint": fields["endpoint"],
        "time": stored.isoformat(),
    }
    return _event(attributes, fields["bytes"] or b"")


def _event(attributes: Mapping[str, Any], data: bytes) -> Event:
    name, endpoint = (str(attributes.get(key) or "") for key in ("inferenceservicename", "endpoint"))
    service = f"{name}.{endpoint}" if name and endpoint not in ("", "default") else name or UNKNOWN
    return Event(
        id=str(attributes.get("id") or ""),
        kind=str(attributes.get("type") or ""),
        source=str(attributes.get("source") or ""),
        service=service,
        time=_time(attributes.get("time")),
        data=data,
    )


def _time(value: Any) -> datetime:
    """The event's time; now where it has none."""
    if not value:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise EventError(f"time '{str(value)[:100]}' is not of RFC 3339") from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _as_it_is(data: Any) -> Any:
    return data


def _bytes(data: Any) -> bytes:
    """The logged body: bytes in binary mode, JSON or text in structured mode."""
    if isinstance(data, bytes):
        return data
    return b"" if data is None else data.encode() if isinstance(data, str) else json.dumps(data).encode()
