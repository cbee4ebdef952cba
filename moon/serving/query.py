"""One row of a request: checked, and turned into the model's sequence.

A photo goes the way of a catalogue picture: decode, core region, crop beside the original.
"""

from __future__ import annotations

import copy
import hashlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pybase64

from moon.config import ServingParams
from moon.model import Item, MoonProcessor, View
from moon.model.processing import Encoded
from moon.serving.errors import RequestError
from moon.vision.boxes import Box
from moon.vision.decode import ImageError
from moon.vision.resize import Picture, Pixels, Size, jpeg_size


@dataclass(frozen=True)
class Query:
    """Text, photo or both as they came in; an empty side is absent."""

    text: str = ""
    image: bytes | str = b""
    """Encoded picture: its bytes, or their base64 text, or a ``data:`` URL."""

    @property
    def view(self) -> View:
        """Which sides are there."""
        if not self.image:
            return "text"
        return "multimodal" if self.text.strip() else "image"


@dataclass(frozen=True, kw_only=True)
class Region:
    """Core region of a photo, in pixels of the upright photo."""

    box: Box
    detector: str
    score: float
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A query whose limits are checked and whose length is known, before any pixel is decoded."""

    query: Query
    text: str | None
    photo: bytes
    """The encoded photo; empty where there is none."""
    key: bytes
    """Name of its content."""
    tokens: int
    """Tokens that the model will read: those of the text, and about those of the photo, from its header."""
    encoded: Encoded | None
    """The sequence, where there is no photo to wait for."""


class TakesLong(Exception):
    """A header that has to be read by Pillow, which a picture made for it can keep busy for a third of a second."""


class QueryReader:
    """Turns queries into sequences; may be called from several threads.

    Args:
        processor: the model's processor, copied for each thread because its tokenizer is not thread-safe.
        params: the limits.
        revision: of the model.
    """

    def __init__(self, processor: MoonProcessor, params: ServingParams, revision: str) -> None:
        self._template, self._params, self._revision = processor, params, revision
        self._local = threading.local()

    def open(self, query: Query, quick: bool = False) -> Opened:
        """Checks one query against the limits.

        Args:
            query: what was asked.
            quick: not to take longer than its length asks for.

        Raises:
            RequestError: it is empty, over a limit, or holds no readable picture; the message does not name the row.
            TakesLong: it cannot be quick.
        """
        text: str | None = query.text if query.text.strip() else None
        if text is None and not query.image:
            raise RequestError("needs a text or an image, got neither", code="empty")
        if len(query.text) > self._params.max_text_chars:
            reason = f"text has {len(query.text)} characters, the limit is {self._params.max_text_chars}"
            raise RequestError(reason, code="text_too_long")
        photo = image_bytes(query.image) if query.image else b""
        key = content_key(self._revision, text or "", photo)
        if query.image:
            sizes = [self._photo_size(photo, quick)]
            tokens = self._processor().length(Item(title=text), sizes, sizes)
            return Opened(query=query, text=text, photo=photo, key=key, tokens=tokens, encoded=None)
        try:
            encoded = self._processor().encode(Item(title=text))
        except ValueError:
            raise RequestError("text holds nothing that the model reads", code="empty") from None
        return Opened(query=query, text=text, photo=b"", key=key, tokens=len(encoded), encoded=encoded)

    def encode(self, opened: Opened, pictures: Sequence[Pixels]) -> Encoded:
        """The sequence of a query with a photo.

        Args:
            opened: the query.
            pictures: the photo and, where the model reads it, its core crop, at the sizes that it asks for.
        """
        return self._processor().encode_rendered(Item(title=opened.text), pictures[:1], pictures[1:])

    def _photo_size(self, data: bytes, quick: bool) -> Size:
        if len(data) > self._params.max_image_bytes:
            reason = f"image has {len(data)} bytes, the limit is {self._params.max_image_bytes}"
            raise RequestError(reason, code="too_many_bytes")
        size = jpeg_size(data)
        if size and math.prod(size) <= self._params.max_image_pixels:
            return size
        if quick:
            raise TakesLong
        try:
            return Picture(data, max_pixels=self._params.max_image_pixels).size
        except ImageError as error:
            raise RequestError(f"image: {error}", code=error.reason) from error

    def _processor(self) -> MoonProcessor:
        if not hasattr(self._local, "processor"):
            self._local.processor = copy.deepcopy(self._template)
        processor: MoonProcessor = self._local.processor
        return processor


def content_key(revision: str, text: str, image: bytes) -> bytes:
    """A name of an item: the same content and model give the same, anything else another."""
    parts = hashlib.sha256(f"{revision} {len(text)} {len(image)} ".encode())
    parts.update(text.encode())
    parts.update(image)
    return parts.digest()


def image_bytes(value: bytes | str) -> bytes:
    """The encoded picture behind a field of a request.

    Raises:
        RequestError: a URL to fetch (the server fetches nothing, or it could be pointed at its own network), or text
            that is not base64.
    """
    if isinstance(value, bytes):
        return value
    text = value.strip()
    scheme = text[:8].lower()
    if scheme.startswith(("http:", "https:", "ftp:", "file:")):
        reason = "image URLs are not fetched by this server; send a data: URL or the picture itself in base64"
        raise RequestError(reason, code="url_not_allowed")
    if scheme.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise RequestError("image is a data: URL without ';base64,'", code="bad_base64")
    try:
        data = _base64(text)
    except ValueError as error:
        raise RequestError(f"image is not valid base64: {error}", code="bad_base64") from error
    if not data:
        raise RequestError("image: the picture has no bytes", code="empty")
    return data


def _base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:  # perhaps for white space alone, which takes ten times as long to look for as all this
        return pybase64.b64decode("".join(text.split()), validate=True)
