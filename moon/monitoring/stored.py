"""The logger's storage mode: objects in a bucket or a folder instead of events over HTTP.

The logger writes ``PREFIX/ID-request.json`` and ``PREFIX/ID-response.json``, or the same as Parquet or CSV, each with
one or more entries. Fields are spelled ``ReqType``, ``reqType`` or ``req_type``, depending on form and version.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from moon.monitoring.events import Event, EventError, from_stored

_KINDS: Final = ("json", "parquet", "csv")
_FIELDS: Final = ("id", "req_type", "source_uri", "inference_service", "endpoint", "bytes")


@dataclass(frozen=True)
class StoredObject:
    """An object of the log."""

    path: str
    size: int
    stored: datetime


class Store:
    """A folder or a bucket with the logger's objects.

    Args:
        uri: a local folder, or an address that Arrow's file systems know, such as ``s3://bucket/logs``; credentials and
            the endpoint come from the environment, as AWS's variables or the address's parameters say.

    Raises:
        ValueError: no such file system.
    """

    def __init__(self, uri: str) -> None:
        try:
            self._files, self._root = fs.FileSystem.from_uri(uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"expected an absolute folder or s3://bucket/logs, got '{uri}': {error}") from None

    def objects(self) -> list[StoredObject]:
        """All objects, oldest first.

        Raises:
            OSError: the store cannot be read.
        """
        found = self._files.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
        files = [info for info in found if info.type == fs.FileType.File]
        return sorted(
            (StoredObject(info.path, info.size, _utc(info.mtime)) for info in files if info.extension in _KINDS),
            key=lambda one: (one.stored, one.path),
        )

    def events(self, stored: StoredObject) -> Iterator[Event]:
        """The events of an object.

        Raises:
            EventError: the logger did not write it.
            OSError: it cannot be read.
        """
        with self._files.open_input_file(stored.path) as file:
            data = file.read()
        try:
            entries = [_entry(one) for one in _READERS[stored.path.rpartition(".")[2]](data)]
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error, pa.ArrowException) as error:
            raise EventError(f"{stored.path} is no object of KServe's logger: {error!r:.200}") from None
        for entry in entries:
            yield from_stored(entry, stored.stored)


def _parquet(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
    return rows


def _csv(data: bytes) -> list[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def _json(data: bytes) -> list[dict[str, Any]]:
    """A list of entries, or a single one."""
    tree = json.loads(data)
    return tree if isinstance(tree, list) else [tree]


_READERS: Final = {"json": _json, "parquet": _parquet, "csv": _csv}


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an entry, whichever way they are spelled; a body that is text is base64."""
    plain = {name.replace("_", "").lower(): value for name, value in row.items()}
    entry = {name: plain[name.replace("_", "")] for name in _FIELDS}
    if not isinstance(entry["bytes"], bytes):
        entry["bytes"] = base64.b64decode(entry["bytes"] or "", validate=True)
    entry["source_uri"] = _address(entry["source_uri"])
    return entry


def _address(url: Mapping[str, Any] | str | None) -> str:
    """An address as text; in JSON it comes as the parts that Go's URL has."""
    if not isinstance(url, Mapping):
        return url or ""
    scheme, host, path = (str(url.get(part) or "") for part in ("Scheme", "Host", "Path"))
    return f"{scheme}://{host}{path}" if scheme else f"{host}{path}"


def _utc(time: datetime | None) -> datetime:
    return datetime.now(UTC) if time is None else time.astimezone(UTC)
