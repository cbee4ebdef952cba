"""Step regions: the core region of every picture, and how well the regions match the known boxes."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from moon.catalog.schema import REGIONS
from moon.catalog.store import Catalog, TableWriter, reading
from moon.config import RegionsParams
from moon.progress import track
from moon.steps import outcome
from moon.steps.regions_data import titles_of, true_boxes
from moon.steps.shares import share
from moon.steps.workers import mapper
from moon.vision import resize
from moon.vision.boxes import Box, score_regions
from moon.vision.detectors import FULL, TITLED, Detection, core_regions, load

_CHUNK = 16
"""Pictures that go through the detectors together."""
_WORTH_A_WORKER = 100
"""Pictures below which starting a process takes longer than it saves."""

Picture = tuple[str, bytes, str | None]
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
    shard: str = ""
    """Which share of the pictures this is; empty: all of them."""


class Tally:
    """Counts and scores regions as they come."""

    def __init__(self, truths: dict[str, list[Box]]) -> None:
        self._truths = truths
        self._detectors: Counter[str] = Counter()
        self._pairs: list[tuple[Box, list[Box]]] = []

    def add(self, image_id: str, box: Box, detector: str) -> None:
        """One picture's region."""
        self._detectors[detector] += 1
        if image_id in self._truths:
            self._pairs.append((box, self._truths[image_id]))

    def result(self, ms: float, shard: str = "") -> RegionsResult:
        """What was counted; ``ms`` is the time of all pictures together."""
        scores, total = score_regions(self._pairs), self._detectors.total()
        return RegionsResult(
            images=total,
            fallback_share=self._detectors[FULL] / max(total, 1),
            detectors=dict(sorted(self._detectors.items())),
            scored=scores.images,
            mean_iou=scores.mean_iou,
            corloc=scores.corloc,
            accuracy_75=scores.accuracy_75,
            ms_per_image=ms / max(total, 1),
            shard=shard,
        )


def run(*, catalog: Path, params: RegionsParams, out: Path, workers: int = 2, shard: str = "") -> RegionsResult:
    """Detects in ``workers`` processes and writes the table ``out/regions`` in the order of the pictures.

    The table does not depend on ``workers``; few pictures are done in this process, and so are those of a detector
    with a large model.

    Args:
        catalog: catalogue folder.
        params: the detector.
        out: gets the table and ``metrics.json``.
        workers: processes.
        shard: ``i/n``, from ``1/n`` to ``n/n``, does that share of the catalogue's picture shards; `regions_merge`
            joins the outputs of all n. Empty does all.

    Raises:
        ValueError: ``catalog`` is not a catalogue folder, the detector cannot be loaded, or ``shard`` is malformed.
    """
    opened = Catalog.open(catalog)
    files = share(sorted((catalog / "images").glob("part-*.parquet")), shard)
    load(params)  # a wrong parameter shows before a process starts
    tally = Tally(true_boxes(opened))
    titles = titles_of(opened) if params.detector in TITLED else {}
    total = sum(pq.read_metadata(file).num_rows for file in files)
    start = time.perf_counter()
    processes = 1 if params.detector in TITLED else min(workers, total // _WORTH_A_WORKER)
    with TableWriter(out / "regions", REGIONS) as writer, mapper(processes, 1) as mapped:
        chunks = mapped(partial(_detect, params=params), _chunks(files, titles))
        for image_id, region in track(itertools.chain.from_iterable(chunks), "regions", total=total):
            row = {**region.box._asdict(), "score": region.score, "detector": region.detector}
            writer.add({"image_id": image_id, **row})
            tally.add(image_id, region.box, region.detector)
    return outcome.save(out, tally.result((time.perf_counter() - start) * 1000, shard))


def _chunks(files: Sequence[Path], titles: dict[str, str]) -> Iterator[list[Picture]]:
    """The pictures of some shards, a few at a time."""
    for file in files:
        with reading(file):
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_CHUNK, columns=["image_id", "image"]):
                yield [
                    (row["image_id"], (row["image"] or {}).get("bytes") or b"", titles.get(row["image_id"]))
                    for row in batch.to_pylist()
                ]


def _detect(pictures: list[Picture], params: RegionsParams) -> list[Found]:
    encoded = [resize.Picture(data, f"picture {image_id} of the catalogue") for image_id, data, _ in pictures]
    found = core_regions(encoded, params, [title for _, _, title in pictures])
    return [(image_id, region) for (image_id, _, _), region in zip(pictures, found, strict=True)]
