"""Step regions: the core region of every picture, and how well the regions match the known boxes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from moon.catalog.schema import REGIONS
from moon.catalog.store import Catalog, TableWriter
from moon.config import RegionsParams
from moon.progress import track
from moon.steps import outcome
from moon.steps.workers import mapper
from moon.vision.boxes import Box, score_regions
from moon.vision.decode import ImageError, decode
from moon.vision.detectors import FULL, Detection, core_region

_CHUNK = 16
"""Pictures sent to a worker at once."""
_WORTH_A_WORKER = 100
"""Pictures below which starting a process takes longer than it saves."""

Picture = tuple[str, bytes]
Found = tuple[str, Detection]


@dataclass(frozen=True, kw_only=True)
class RegionsResult:
    """Regions found and their quality; None where no picture has a known box."""

    images: int
    fallback_share: float
    """Share of pictures whose region is the whole picture because nothing better was found."""
    detectors: dict[str, int]
    """Pictures by the detector that found their region."""
    scored: int
    """Pictures with known boxes."""
    mean_iou: float | None
    corloc: float | None
    accuracy_75: float | None
    ms_per_image: float


def run(*, catalog: Path, params: RegionsParams, out: Path, workers: int = 2) -> RegionsResult:
    """Detects in ``workers`` processes and writes the table ``out/regions`` in the order of the pictures.

    The table does not depend on ``workers``; few pictures are done in this process.

    Raises:
        ValueError: ``catalog`` is not a catalogue folder or the detector is unknown.
    """
    opened = Catalog.open(catalog)
    truths = _true_boxes(opened)
    total = opened.table("images", ["image_id"]).num_rows
    detectors: Counter[str] = Counter()
    pairs: list[tuple[Box, list[Box]]] = []
    start = time.perf_counter()
    processes = min(workers, total // _WORTH_A_WORKER)
    with TableWriter(out / "regions", REGIONS) as writer, mapper(processes, _CHUNK) as mapped:
        found = mapped(partial(_detect, params=params), opened.images())
        for image_id, region in track(found, "regions", total=total):
            detectors[region.detector] += 1
            row = {**region.box._asdict(), "score": region.score, "detector": region.detector}
            writer.add({"image_id": image_id, **row})
            if image_id in truths:
                pairs.append((region.box, truths[image_id]))
    scores = score_regions(pairs)
    result = RegionsResult(
        images=total,
        fallback_share=detectors[FULL] / max(total, 1),
        detectors=dict(sorted(detectors.items())),
        scored=scores.images,
        mean_iou=scores.mean_iou,
        corloc=scores.corloc,
        accuracy_75=scores.accuracy_75,
        ms_per_image=(time.perf_counter() - start) * 1000 / max(total, 1),
    )
    return outcome.save(out, result)


def _detect(picture: Picture, params: RegionsParams) -> Found:
    image_id, data = picture
    try:
        return image_id, core_region(decode(data), params)
    except ImageError as error:
        raise ValueError(f"picture {image_id} of the catalogue cannot be decoded: {error}") from None


def _true_boxes(catalog: Catalog) -> dict[str, list[Box]]:
    truths: dict[str, list[Box]] = {}
    for row in catalog.rows("boxes"):
        truths.setdefault(row["image_id"], []).append(Box(row["x0"], row["y0"], row["x1"], row["y1"]))
    return truths
