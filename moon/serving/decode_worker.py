"""The process that decodes one picture after another: hostile bytes in, pixels at the model's size out.

It imports neither torch nor the model, so that it starts in a fraction of a second and is small. It talks over a socket
that it inherits, in frames of JSON and of raw pixels, so that nothing a picture does to it is unpickled by the server:

    server: bytes of the picture
    worker: {"size", "box", "detector", "score", "crop"}  or  {"error", "message"}
    server: {"image", "crop"}, the (width, height) that the model wants of the picture and of its core crop
    worker: pixels of the picture, then of the crop                                or  {"error", "message"}

    python -m moon.serving.decode_worker FILE_DESCRIPTOR CONFIGURATION
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, cast

import numpy as np

from moon.config import RegionsParams, from_json
from moon.vision.boxes import Box
from moon.vision.decode import ImageError
from moon.vision.detectors import core_region, crop_pixels, load
from moon.vision.resize import Picture, Resize, render

ERROR: Final = b"!"
"""First byte of a frame that says why a picture cannot be used; that of every other frame is `FINE`."""
FINE: Final = b"="


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a worker needs to know, the same for all its life."""

    regions: RegionsParams
    max_pixels: int
    """Largest picture decoded, pixels."""
    resize: str
    """How the model's processor resizes."""


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
        crop = photo.crop(crop_pixels(photo.size, box))
        answer: dict[str, Any] = {
            "size": photo.size,
            "box": box,
            "detector": found.detector,
            "score": float(found.score),
        }
        connection.send_bytes(FINE + json.dumps({**answer, "crop": crop.size}).encode())
        wanted = json.loads(connection.recv_bytes())
        # The crop first: it needs the finest decoding, which the whole picture then shares.
        pixels = [
            render(part, tuple(wanted[name]), cast(Resize, configuration.resize)).tobytes()
            for name, part in (("crop", crop), ("image", photo))
            if wanted[name]
        ]
    except (EOFError, ConnectionError):
        raise
    except ImageError as error:
        connection.send_bytes(_refusal(error.reason, str(error)))
    except Exception as error:  # a detector or a library that this picture is too much for
        connection.send_bytes(_refusal("cannot_encode", f"{type(error).__name__}: {error}"))
    else:
        connection.send_bytes(FINE + b"".join(reversed(pixels)))


def _refusal(reason: str, message: str) -> bytes:
    return ERROR + json.dumps({"error": reason, "message": message[:500]}).encode()


if __name__ == "__main__":
    sys.stdin = open(os.devnull)
    main()
