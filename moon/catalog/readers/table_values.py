"""Values of a foreign table as ours: lists, category paths, attributes, times."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any, Final

from moon.catalog.readers.rows import Picture, RowError, texts

_MILLISECONDS_FROM: Final = 1e11
"""A number of at least this is a time in milliseconds, a smaller one in seconds (1e11 s is the year 5138)."""
_COMPACT_DATE: Final = re.compile(r"(19|20)\d{6}")
"""Eight digits such as 20240131 are a date and not a second of the year 1970."""
_BETWEEN_URLS: Final = re.compile(r"\s*[;|,]\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
"""A URL may hold a comma or a semicolon itself, so one only parts what it stands between and a URL."""
_SPLIT_NAMES: Final = {"training": "train", "valid": "val", "validation": "val", "dev": "val"}


def text_of(value: Any) -> str:
    """A value as stripped text; nothing, and the NaN that data frames write for nothing, as an empty one.

    Raises:
        RowError: a list, an object, bytes or text that is no Unicode.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list | tuple | dict | bytes):
        raise RowError("bad_row", f"a {type(value).__name__} stands where a text is expected: {str(value)[:80]}")
    text = str(value).strip()
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RowError("bad_row", f"text with half of a surrogate pair: {text[:80]!a}")
    return text


def list_of(value: Any, separators: str) -> list[str]:
    """A list, a JSON list, or text split at the first of the ``separators`` that occurs in it.

    Raises:
        RowError: see `text_of`, also of every element.
    """
    if isinstance(value, list | tuple):
        return texts([text_of(element) for element in value])
    text = text_of(value)
    if text.startswith("["):
        parsed = _json(text)
        return texts([text_of(element) for element in parsed]) if isinstance(parsed, list) else [text]
    for separator in separators:
        if separator in text:
            return texts(text.split(separator))
    return texts([text])


def pictures_of(value: Any) -> list[Picture]:
    """Paths, URLs or encoded bytes of pictures, from one or a list of them.

    Text is split as in `list_of`, but where it holds a URL only before each URL. Bytes, alone or in the object
    ``{"bytes": ..., "path": ...}`` of Hugging Face, are taken as they are; without bytes the path counts.

    Raises:
        RowError: anything else.
    """
    if isinstance(value, bytes):
        return [value] if value else []
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"} and not isinstance(value.get("bytes"), str):
        return pictures_of(value.get("bytes") or value.get("path"))
    if isinstance(value, list | tuple) and any(isinstance(one, dict | bytes) for one in value):
        return [picture for one in value for picture in pictures_of(one)]
    if isinstance(value, str) and "://" in value and not value.lstrip().startswith("["):
        return [*texts(_BETWEEN_URLS.split(text_of(value)))]
    return [*list_of(value, ";|,")]


def attributes_of(value: Any) -> dict[str, list[str]]:
    """Attributes from an object, a map, a JSON object or ``key:value,,key:value!!!value`` text.

    Raises:
        RowError: anything else.
    """
    if isinstance(value, list | tuple):  # Arrow maps come as pairs, stored attributes as key and values
        merged: dict[str, list[str]] = {}
        for key, values in map(_pair, value):
            merged.setdefault(text_of(key), []).extend(list_of(values, ""))
        return _attributes(merged)
    if isinstance(value, dict):
        return _attributes(value)
    text = text_of(value)
    if text.startswith("{"):
        parsed = _json(text)
        if not isinstance(parsed, dict):
            raise RowError("bad_row", f"attributes are no JSON object: {text[:80]}")
        return _attributes(parsed)
    found: dict[str, list[str]] = {}
    for part in filter(None, text.split(",,")):
        key, colon, values = part.partition(":")
        if not colon:
            raise RowError("bad_row", f"attribute '{part[:80]}' is not written key:value")
        found.setdefault(key.strip(), []).extend(texts(values.split("!!!")))
    return _attributes(found)


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, dict) and {"key", "values"} <= item.keys():
        return item["key"], item["values"]
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    raise RowError("bad_row", f"attribute {item!r:.80} is neither a pair nor an object with key and values")


def _attributes(found: dict[Any, Any]) -> dict[str, list[str]]:
    """Attributes with a name and at least one value."""
    lists = {text_of(key): list_of(value, "") for key, value in found.items()}
    return {key: values for key, values in lists.items() if key and values}


def split_of(value: Any) -> str:
    """A split in our names where it is a common other name for one, else as it is."""
    name = text_of(value).lower()
    return _SPLIT_NAMES.get(name, name)


def time_of(value: Any) -> datetime.datetime | None:
    """A UTC time from ISO 8601, seconds or milliseconds since 1970, or a date; without a zone it is UTC.

    Raises:
        RowError: anything else.
    """
    text = text_of(value)
    if not text:
        return None
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text) and not _COMPACT_DATE.fullmatch(text):
            seconds = float(text) / (1000 if float(text) >= _MILLISECONDS_FROM else 1)
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        time = datetime.datetime.fromisoformat(text)
        return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise RowError("bad_row", f"timestamp '{text[:40]}' is neither ISO 8601 nor seconds since 1970") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
