"""The process that decodes one picture after another: hostile bytes in, pixels at the model's size out.

It imports neither torch nor the model, so that it starts in a fraction of a second and is small.

    server: first a `Configuration` as JSON, then the bytes of one picture after another
    worker: {"size", "box", "detector", "score", "shapes"}, then the pixels of the picture and of its core crop at the
            sizes that the model reads

    python -m moon.serving.decode_worker FILE_DESCRIPTOR
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from moon.config import RegionsParams, from_json
from moon.serving.worker import pack, refusal, serve
from moon.vision import detectors
from moon.vision.boxes import Box
from moon.vision.decode import ImageError
from moon.vision.resize import Picture, Pixels, Resize, fitted, render

if TYPE_CHECKING:
    from moon.model import MoonProcessor


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a worker needs to know, the same for all its life."""

    regions: RegionsParams
    max_pixels: int
    """Largest picture decoded, pixels."""
    resize: str
    """How the model's processor resizes."""
    image_pixels: int
    crop_pixels: int
    side: int
    """The processor's budgets for a picture and for its core crop, 0 for none, and the side of its merged patches."""

    @classmethod
    def of(cls, processor: MoonProcessor, regions: RegionsParams, max_pixels: int) -> Configuration:
        """For the model of this processor."""
        return cls(
            regions=regions,
            max_pixels=max_pixels,
            resize=processor.resize,
            image_pixels=processor.image_pixels,
            crop_pixels=processor.crop_pixels,
            side=processor.side,
        )


def load(frame: bytearray) -> tuple[Mapping[str, Any], Callable[[bytearray], bytes]]:
    """The detector of a `Configuration`, and what answers a picture."""
    configuration = from_json(Configuration, frame.decode())
    detectors.load(configuration.regions)
    return {}, partial(_answer, configuration)


def _answer(configuration: Configuration, data: bytearray) -> bytes:
    try:
        photo = Picture(bytes(data), max_pixels=configuration.max_pixels)
        found = detectors.core_region(photo, configuration.regions)
        box = Box(*np.asarray(found.box, np.float32).tolist())  # as the catalogue's regions are stored
        # The crop first: it needs the finest decoding, which the whole picture then shares.
        crop = _rendered(photo.crop(detectors.crop_pixels(photo.size, box)), configuration.crop_pixels, configuration)
        image = _rendered(photo, configuration.image_pixels, configuration)
    except ImageError as error:
        return refusal(error.reason, str(error))
    except Exception as error:  # a detector or a library that this picture is too much for
        return refusal("cannot_encode", f"{type(error).__name__}: {error}")
    head = {
        "size": photo.size,
        "box": list(box),
        "detector": found.detector,
        "score": float(found.score),
        "shapes": [image.shape, crop.shape],
    }
    return pack(head, [image, crop])


def _rendered(picture: Picture, pixels: int, configuration: Configuration) -> Pixels:
    """The picture as the model reads it; nothing where it has no budget."""
    if not pixels:
        return np.empty((0, 0, 3), np.uint8)
    return render(picture, fitted(picture.size, pixels, configuration.side), cast(Resize, configuration.resize))


if __name__ == "__main__":
    serve(load)
