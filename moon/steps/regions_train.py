"""Step regions train: fits the learned detector on the pictures whose boxes are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from moon.catalog.store import Catalog
from moon.progress import track
from moon.steps import outcome
from moon.steps.regions_data import Boxed, boxed_pictures, decoded, groups_of
from moon.vision.boxes import Box
from moon.vision.detectors.features import Vector, describe
from moon.vision.detectors.learning import fit

WEIGHTS: Final = "learned.npz"
MAX_PICTURES: Final = 8_000
"""More pictures are thinned out evenly: a linear map gains nothing from them, and they are held in memory."""


@dataclass(frozen=True, kw_only=True)
class RegionsTrainResult:
    """What the learned detector was fitted on."""

    pictures: int
    boxes: int
    groups: int
    """Groups of pictures that resemble each other and were held out together."""
    ridge: float
    """Strength of the ridge penalty, chosen on held-out groups."""
    held_out_iou: float
    """Mean IoU on the held-out groups with that strength; `moon regions evaluate --folds 5` measures it in full."""
    weights: str
    """The file for ``regions.weights``."""
    weights_bytes: int


def run(*, catalog: Path, out: Path, split: str = "train") -> RegionsTrainResult:
    """Fits on every picture of ``split`` with a known box, all of them where it is empty; writes ``out/learned.npz``.

    Raises:
        ValueError: ``catalog`` is no catalogue, or has too few such pictures.
    """
    opened = Catalog.open(catalog)
    pictures, descriptions, truths = describe_all(opened, thinned(boxed_pictures(opened, split)))
    groups = groups_of(pictures, descriptions[:, 0])
    fitted = fit(descriptions, truths, groups)
    path = out / WEIGHTS
    fitted.weights.save(path)
    result = RegionsTrainResult(
        pictures=len(pictures),
        boxes=sum(len(truth) for truth in truths),
        groups=len(set(groups)),
        ridge=fitted.ridge,
        held_out_iou=fitted.held_out_iou,
        weights=str(path),
        weights_bytes=path.stat().st_size,
    )
    return outcome.save(out, result)


def thinned(boxed: Mapping[str, Boxed]) -> dict[str, Boxed]:
    """At most `MAX_PICTURES` of the pictures, evenly taken."""
    step = -(-len(boxed) // MAX_PICTURES)
    return dict(list(boxed.items())[::step])


def describe_all(catalog: Catalog, wanted: Mapping[str, Boxed]) -> tuple[list[Boxed], Vector, list[Vector]]:
    """Describes pictures and their mirror images.

    Returns:
        The N pictures in the order of the catalogue, their descriptions [N, 2, D], and the true boxes of each,
        [T, 4] as shares of its sides.
    """
    pictures, descriptions, truths = [], [], []
    for boxed, image in track(decoded(catalog, wanted), "describing", total=len(wanted)):
        pictures.append(boxed)
        descriptions.append(np.stack([describe(image), describe(ImageOps.mirror(image))]))
        truths.append(relative(boxed.boxes, image))
    return pictures, np.stack(descriptions), truths


def relative(boxes: tuple[Box, ...], image: Image.Image) -> Vector:
    """Boxes inside a picture as shares of its sides: [T, 4]."""
    inside = [box.clamp(*image.size).scaled(1 / image.width, 1 / image.height) for box in boxes]
    return np.array(inside, dtype=np.float32)
