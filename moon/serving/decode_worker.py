"""The process that decodes one picture after another: hostile bytes in, pixels at the model's size out.

It imports neither torch nor the model, so that it starts in a fraction of a second and is small. It talks over a socket
that it inherits, in frames of JSON and of raw pixels, so that nothing a picture does to it is unpickled by the server:

    server: bytes of the picture
    worker: {"size", "box", "detector", "score", "image", "crop"}, then the pixels of the picture and of its core crop
            at the sizes that the model reads, of the shapes "image" and "crop"
        or: {"error", "message"}

    python -m moon.serving.decode_worker FILE_DESCRIPTOR CONFIGURATION
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from moon.config import RegionsParams, from_json
from moon.vision.boxes import Box
from moon.vision.decode import ImageError
from moon.vision.detectors import core_region, crop_pixels, load
from moon.vision.resize import Picture, Pixels, Resize, fitted, render

if TYPE_CHECKING:
    from moon.model import MoonProcessor

ERROR: Final = b"!"
"""First byte of a frame that says why a picture cannot be used; that of every other frame is `FINE`."""
FINE: Final = b"="
HEAD: Final = struct.Struct("<I")
"""After `FINE`: bytes of the JSON before the pixels."""


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


def main() -> None:
    """Serves until the socket closes, which it does when the server ends, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server stops its workers itself, after the last request
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    configuration = from_json(Configuration, sys.argv[2])
    try:
        load(configuration.regions)
        connection.send_bytes(FINE)
    except Exception as error:
        connection.send_bytes(_refusal("detector", str(error)))
        return
    while True:
        try:
            data = connection.recv_bytes()
            _serve(connection, configuration, data)
        except (EOFError, ConnectionError):
            return


def _serve(connection: Connection, configuration: Configuration, data: bytes) -> None:
    """Answers one picture; only the loss of the connection is raised."""
    try:
        photo = Picture(data, max_pixels=configuration.max_pixels)
        found = core_region(photo, configuration.regions)
        box = Box(*np.asarray(found.box, np.float32).tolist())  # as the catalogue's regions are stored
        # The crop first: it needs the finest decoding, which the whole picture then shares.
        crop = _rendered(photo.crop(crop_pixels(photo.size, box)), configuration.crop_pixels, configuration)
        image = _rendered(photo, configuration.image_pixels, configuration)
    except ImageError as error:
        connection.send_bytes(_refusal(error.reason, str(error)))
    except Exception as error:  # a detector or a library that this picture is too much for
        connection.send_bytes(_refusal("cannot_encode", f"{type(error).__name__}: {error}"))
    else:
        head = {
            "size": photo.size,
            "box": box,
            "detector": found.detector,
            "score": float(found.score),
            "image": image.shape,
            "crop": crop.shape,
        }
        said = json.dumps(head).encode()
        connection.send_bytes(b"".join([FINE, HEAD.pack(len(said)), said, image.tobytes(), crop.tobytes()]))


def _rendered(picture: Picture, pixels: int, configuration: Configuration) -> Pixels:
    """The picture as the model reads it; nothing where it has no budget."""
    if not pixels:
        return np.empty((0, 0, 3), np.uint8)
    return render(picture, fitted(picture.size, pixels, configuration.side), cast(Resize, configuration.resize))


def _refusal(reason: str, message: str) -> bytes:
    return ERROR + json.dumps({"error": reason, "message": message[:500]}).encode()


if __name__ == "__main__":
    sys.stdin = open(os.devnull)
    main()
