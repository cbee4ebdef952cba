"""One row of a request: checked, decoded, its core region found, and turned into the model's sequence.

A photo goes the way of a catalogue picture: decode, core region, crop beside the original.
"""

from __future__ import annotations

import base64
import binascii
import copy
import threading
from dataclasses import dataclass

import numpy as np

from moon.config import RegionsParams, ServingParams
from moon.model import Item, MoonProcessor, View
from moon.model.processing import Encoded
from moon.serving.errors import RequestError
from moon.vision.boxes import Box
from moon.vision.decode import ImageError
from moon.vision.detectors import core_region, crop_pixels
from moon.vision.resize import Picture


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


@dataclass(frozen=True)
class Prepared:
    """A query ready for the model."""

    encoded: Encoded
    region: Region | None


class QueryReader:
    """Turns queries into sequences; may be called from several threads.

    Args:
        processor: the model's processor, copied for each thread because its tokenizer is not thread-safe.
        params: the limits.
        regions: the detector's parameters, the same as for the catalogue.
    """

    def __init__(self, processor: MoonProcessor, params: ServingParams, regions: RegionsParams) -> None:
        self._template, self._params, self._regions = processor, params, regions
        self._local = threading.local()

    def read(self, query: Query) -> Prepared:
        """Decodes and encodes one query.

        Raises:
            RequestError: it is empty, over a limit, or holds no readable picture; the message does not name the row.
        """
        text = query.text
        if not text.strip() and not query.image:
            raise RequestError("needs a text or an image, got neither", code="empty")
        if len(text) > self._params.max_text_chars:
            reason = f"text has {len(text)} characters, the limit is {self._params.max_text_chars}"
            raise RequestError(reason, code="text_too_long")
        item, region = Item(title=text if text.strip() else None), None
        if query.image:
            item, region = self._with_photo(item.title, image_bytes(query.image))
        try:
            encoded = self._processor().encode(item)
        except ValueError as error:  # neither a text nor a picture
            raise RequestError(str(error), code="cannot_encode") from error
        if not len(encoded):
            raise RequestError("text holds nothing that the model reads", code="empty")
        return Prepared(encoded, region)

    def _with_photo(self, text: str | None, data: bytes) -> tuple[Item, Region]:
        if len(data) > self._params.max_image_bytes:
            reason = f"image has {len(data)} bytes, the limit is {self._params.max_image_bytes}"
            raise RequestError(reason, code="too_many_bytes")
        try:
            photo = Picture(data, max_pixels=self._params.max_image_pixels)
            found = core_region(photo.image(), self._regions)
        except ImageError as error:
            raise RequestError(f"image: {error}", code=error.reason) from error
        box = Box(*np.asarray(found.box, np.float32).tolist())  # as the catalogue's regions are stored
        item = Item(title=text, images=(photo,), crops=(photo.crop(crop_pixels(photo.size, box)),))
        width, height = photo.size
        return item, Region(box=box, detector=found.detector, score=found.score, width=width, height=height)

    def _processor(self) -> MoonProcessor:
        if not hasattr(self._local, "processor"):
            self._local.processor = copy.deepcopy(self._template)
        processor: MoonProcessor = self._local.processor
        return processor


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
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"image is not valid base64: {error}", code="bad_base64") from error
    if not data:
        raise RequestError("image: the picture has no bytes", code="empty")
    return data
