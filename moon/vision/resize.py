"""Pictures at the size a model reads, by two paths.

``parity`` decodes the whole picture and resizes it bicubically: bit by bit what Qwen-VL's own processor on Pillow
makes. ``fast`` lets libjpeg-turbo decode a JPEG at the smallest of its scales (eighths) that is not below the size
asked for, and takes means over areas for what is left to shrink; both are C code that releases the GIL. Both paths
read the same pictures and refuse the same ones, by the rules of `moon.vision.decode`.

    Picture(data).crop(box).render((84, 84), "fast")

Arrays are (H, W, 3) uint8, RGB; sizes are (width, height) in pixels.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from moon.vision.decode import (
    MAX_PIXELS,
    MIN_SIDE,
    SIDEWAYS,
    UPRIGHT,
    ImageError,
    decode,
    orientation,
    read_header,
    to_rgb,
)

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Resize = Literal["fast", "parity"]
PATHS: Final[tuple[str, ...]] = get_args(Resize)

_MAX_ASPECT: Final = 200
"""Longer over shorter side that Qwen-VL resizes; a thinner picture is widened to it, or to what the budget holds."""
_AREA_FROM: Final = 1.25
"""Shrinking by more than this takes means over areas; below it, two samples a side see every pixel all the same."""
_TURNS: Final = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda pixels: pixels[:, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda pixels: pixels[::-1],
    Image.Transpose.ROTATE_180: lambda pixels: pixels[::-1, ::-1],
    Image.Transpose.TRANSPOSE: lambda pixels: pixels.transpose(1, 0, 2),
    Image.Transpose.TRANSVERSE: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    Image.Transpose.ROTATE_90: lambda pixels: np.rot90(pixels, 1),
    Image.Transpose.ROTATE_270: lambda pixels: np.rot90(pixels, 3),
}

# One picture is one thread's work: whoever has many reads them from threads or processes of their own.
cv2.setNumThreads(1)


class Picture:
    """An encoded picture, or a part of one, that is decoded when its pixels are asked for.

    Parts of one picture share what is decoded. A picture belongs to one thread at a time.

    Args:
        data: the encoded picture; its header is read at once.
        name: what messages call it.
        max_pixels: limit on what the header says.

    Raises:
        ImageError: ``data`` is no picture, or its header says a size that is not allowed.
    """

    def __init__(self, data: bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> None:
        self._source = _Source(data, name, max_pixels)
        self._box = (0, 0, *self._source.size)

    @property
    def size(self) -> Size:
        """Width and height of the upright picture, or part, in pixels; from the header alone."""
        x0, y0, x1, y1 = self._box
        return x1 - x0, y1 - y0

    def crop(self, box: tuple[int, int, int, int]) -> Picture:
        """The part inside ``x0, y0, x1, y1``, in pixels of this picture, exclusive at the far edge."""
        part = object.__new__(Picture)
        left, top = self._box[:2]
        part._source, part._box = self._source, (left + box[0], top + box[1], left + box[2], top + box[3])
        return part

    def image(self) -> Image.Image:
        """All its pixels.

        Raises:
            ImageError: the pixels are damaged.
        """
        whole = self._source.whole()
        return whole if self.size == self._source.size else whole.crop(self._box)

    def near(self, size: Size) -> Pixels:
        """Its pixels, where that is quicker already shrunk, but to no less than ``size`` or what there is.

        Raises:
            ImageError: the pixels are damaged.
        """
        width, height = self._source.size
        part = self.size
        pixels = self._source.near((math.ceil(size[0] * width / part[0]), math.ceil(size[1] * height / part[1])))
        x, y = pixels.shape[1] / width, pixels.shape[0] / height
        x0, y0 = round(self._box[0] * x), round(self._box[1] * y)
        x1, y1 = max(round(self._box[2] * x), x0 + 1), max(round(self._box[3] * y), y0 + 1)
        return pixels[y0:y1, x0:x1]


AnyPicture = Image.Image | Picture
"""A decoded or an encoded picture."""


class _Source:
    """The bytes of a picture and what is decoded of them so far."""

    def __init__(self, data: bytes, name: str, max_pixels: int) -> None:
        self._data, self._name, self._max_pixels = data, name, max_pixels
        self._whole: Image.Image | None = None
        self._near: Pixels | None = None
        try:
            header = read_header(data, max_pixels)
        except ImageError as error:
            raise self._named(error) from None
        self._turned = orientation(header)
        self._jpeg = header.format in ("JPEG", "MPO") and header.mode in ("RGB", "L")
        self.size = self._turn(header.size)

    def whole(self) -> Image.Image:
        if self._whole is None:
            try:
                self._whole = decode(self._data, self._max_pixels)
            except ImageError as error:
                raise self._named(error) from None
        return self._whole

    def near(self, size: Size) -> Pixels:
        least = (min(size[0], self.size[0]), min(size[1], self.size[1]))
        if self._near is None or self._near.shape[1] < least[0] or self._near.shape[0] < least[1]:
            try:
                self._near = self._decode_near(least)
            except ImageError as error:
                raise self._named(error) from None
        return self._near

    def _decode_near(self, least: Size) -> Pixels:
        """The pixels that `whole` gives, or fewer where that is quicker, but no side below ``least``.

        A JPEG that libjpeg-turbo does not turn into RGB without complaint (CMYK, damaged) is read by Pillow, whose
        word is the last.
        """
        stored = self._turn(least)
        pixels = _from_jpeg(self._data, stored) if self._jpeg else None
        if pixels is None:
            header = read_header(self._data, self._max_pixels)
            header.draft("", stored)  # of the formats read here only JPEG can
            pixels = np.asarray(to_rgb(header, self._max_pixels))
        turn = UPRIGHT.get(self._turned)
        return pixels if turn is None else np.ascontiguousarray(_TURNS[turn](pixels))

    def _turn(self, size: Size) -> Size:
        """From a size as stored to that upright, and back."""
        return size[::-1] if self._turned >= SIDEWAYS else size

    def _named(self, error: ImageError) -> ImageError:
        return ImageError(error.reason, f"{self._name} cannot be decoded: {error}") if self._name else error


def fitted(size: Size, pixels: int, side: int) -> Size:
    """The (width, height) that a model reads of a picture: that of ``smart_resize`` of Qwen-VL's processors.

    Args:
        size: width and height of the picture.
        pixels: the most that it may have.
        side: of a merged patch, in pixels; both sides are multiples of it.
    """
    thinnest = -(-max(size) // min(_MAX_ASPECT, pixels // side**2))
    width, height = (max(one, thinnest) for one in size)
    columns, rows = round(width / side), round(height / side)
    if columns * rows * side**2 > pixels:
        much = math.sqrt(width * height / pixels)
        columns, rows = (max(math.floor(one / much / side), 1) for one in (width, height))
    elif not columns * rows:
        little = math.sqrt(side**2 / (width * height))
        columns, rows = (math.ceil(one * little / side) for one in (width, height))
    return columns * side, rows * side


def render(picture: AnyPicture, size: Size, path: Resize) -> Pixels:
    """The pixels of a picture at ``size``.

    Args:
        picture: decoded or encoded.
        size: width and height wanted; the picture is stretched to it.
        path: ``fast`` or ``parity``.

    Raises:
        ImageError: the pixels of an encoded picture are damaged.
    """
    if path == "fast":
        pixels = picture.near(size) if isinstance(picture, Picture) else np.asarray(picture.convert("RGB"))
        return shrink(pixels, size)
    image = picture.image() if isinstance(picture, Picture) else picture
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"))


def shrink(pixels: Pixels, size: Size) -> Pixels:
    """Pixels at (width, height): means over areas along a side that shrinks, bicubic along one that grows."""
    height, width = pixels.shape[:2]
    smaller = (min(size[0], width), min(size[1], height))
    if smaller != (width, height):
        much = max(width / smaller[0], height / smaller[1]) > _AREA_FROM
        pixels = _resized(pixels, smaller, cv2.INTER_AREA if much else cv2.INTER_LINEAR)
    return pixels if smaller == size else _resized(pixels, size, cv2.INTER_CUBIC)


def _resized(pixels: Pixels, size: Size, how: int) -> Pixels:
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how), np.uint8)


def jpeg_size(data: bytes) -> Size | None:
    """Width and height of a JPEG, as it is stored: not turned upright.

    Takes ten microseconds, and ten milliseconds on half a megabyte of nothing but headers.

    Returns:
        None for anything that libjpeg-turbo does not take for a JPEG of the sides allowed.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if min(width, height) >= MIN_SIDE else None


def _from_jpeg(data: bytes, least: Size) -> Pixels | None:
    """The smallest scale not below ``least``; None where libjpeg-turbo objects."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", min_width=least[0], min_height=least[1]))
    except ValueError:
        return None
