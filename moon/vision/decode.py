"""Decoding pictures nobody has vouched for.

Every failure is an `ImageError` with a fixed reason, the size is checked from the header before any pixel is decoded,
and what comes back is always plain 8-bit RGB, the right way up.
"""

from __future__ import annotations

import io
from typing import Final, Literal, get_args

import numpy as np
from PIL import Image

Reason = Literal["empty", "not_an_image", "truncated", "too_many_pixels", "too_small"]
REASONS: Final[tuple[str, ...]] = get_args(Reason)

MAX_PIXELS: Final = 40_000_000
MIN_SIDE: Final = 2
# Photo formats only: Pillow's others include interpreters (EPS) and decoders that few people test.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_ORIENTATION_TAG: Final = 0x0112
UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the turn that undoes it."""
SIDEWAYS: Final = 5
"""From this EXIF orientation on, width and height change places."""


class ImageError(ValueError):
    """A picture that cannot be used; ``reason`` is one of `REASONS`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        """Lets the error cross a process boundary."""
        return ImageError, (self.reason, str(self))


def probe(data: bytes) -> tuple[int, int]:
    """Width and height in pixels after EXIF orientation, from the header alone.

    Raises:
        ImageError: empty data or not a picture.
    """
    image = _open(data)
    width, height = image.size
    return (height, width) if orientation(image) >= SIDEWAYS else (width, height)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes a picture to 8-bit RGB, upright, transparency over white, the first frame of an animation.

    Raises:
        ImageError: nothing usable is in ``data``, or its header says more than ``max_pixels`` pixels.
    """
    image = read_header(data, max_pixels)
    turn = UPRIGHT.get(orientation(image))
    rgb = to_rgb(image, max_pixels)
    return rgb.transpose(turn) if turn is not None else rgb


def decode_stored(image_id: str, data: bytes) -> Image.Image:
    """`decode` of a picture of a catalogue.

    Raises:
        ValueError: it cannot be decoded; the message names it.
    """
    try:
        return decode(data)
    except ImageError as error:
        raise ValueError(f"picture {image_id} of the catalogue cannot be decoded: {error}") from None


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture of an allowed size of which no pixel is decoded yet.

    Raises:
        ImageError: empty data, not a picture, or a header that says too few or too many pixels.
    """
    image = _open(data)
    _check_size(image, max_pixels)
    return image


def to_rgb(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes the pixels of an opened picture to 8-bit RGB, as they are stored: not turned upright.

    Raises:
        ImageError: damaged or unfit pixels, or more of them than the header said.
    """
    try:
        image.load()
    except Exception as error:  # Pillow's plugins raise a dozen types on damaged data
        raise ImageError("truncated", f"the picture's data ends early or is damaged: {error}") from error
    _check_size(image, max_pixels)  # a GIF frame may be larger than its header says
    try:
        rgb = _to_rgb(image)
    except Exception as error:
        raise ImageError("not_an_image", f"cannot turn {image.mode} pixels into RGB: {error}") from error
    rgb.info = {}  # or a later reader of the EXIF would turn the picture again
    return rgb


def encode_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Encodes an RGB picture as JPEG without metadata; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    """Reads the header."""
    if not data:
        raise ImageError("empty", "the picture has no bytes")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_many_pixels", str(error)) from error
    except Exception as error:
        known = ", ".join(_FORMATS)
        raise ImageError("not_an_image", f"{len(data)} bytes that are no picture; known formats: {known}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"{width} x {height} pixels, the limit is {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{width} x {height} pixels, the smallest side allowed is {MIN_SIDE}")


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8 of a picture that is not loaded yet; 1 where there is none or it cannot be read."""
    if image.format == "TIFF" or "exif" not in image.info:
        return 1  # Pillow turns TIFF by itself; asking a PNG without EXIF would decode it
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits, or of floats in [0, 1] or [0, 255], as 8 bits."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode.startswith("I"):
        values = values / 257.0
    elif values.max() <= 1.0:
        values = values * 255.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
