"""Step regions evaluate: how well detectors find the known boxes, beside two boxes that need no detector."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from moon.catalog.store import Catalog
from moon.config import RegionsParams
from moon.evaluation.bootstrap import Interval, bootstrap_means
from moon.progress import track
from moon.steps import outcome
from moon.steps.regions_data import GROUPINGS, Boxed, Grouping, boxed_pictures, decoded, groups_of
from moon.steps.regions_tables import markdown
from moon.steps.regions_train import WEIGHTS, describe_all, thinned
from moon.vision.augment.sheet import contact_sheet
from moon.vision.boxes import Box, iou
from moon.vision.decode import encode_jpeg
from moon.vision.detectors import FULL, Detection, core_region
from moon.vision.detectors.learning import fit, fold_of

TRIVIAL: Final = ("whole", "centred")
"""The whole picture, and the middle three quarters of each side."""
SHEET: Final = "boxes.jpg"
REPORT: Final = "regions.md"
_CENTRED: Final = 0.75
_TILES: Final = 6
_TRUE: Final = "#20a040"
_SAMPLES: Final = 2000
_LEARNS: Final = ("auto", "learned", "grabcut")
"""Detectors that the weights of a fold are given to."""


@dataclass(frozen=True, kw_only=True)
class RegionMeasures:
    """One detector's quality; the intervals resample groups of pictures."""

    mean_iou: Interval
    corloc: Interval
    """Share of pictures with an IoU of at least 0.5."""
    accuracy_75: Interval
    pointing: Interval
    """Share of pictures where the middle of the box lies in a true box (pointing game)."""
    fallback_share: float
    """Share of pictures where it found nothing and the whole picture was taken."""
    over_whole: Interval
    """Mean IoU minus that of the whole picture, picture by picture."""
    over_centred: Interval
    """Mean IoU minus that of the centred box, picture by picture."""
    ms_p50: float
    ms_p95: float


@dataclass(frozen=True, kw_only=True)
class RegionsEvaluation:
    """What was measured, on all pictures and on those with exactly one known box."""

    split: str
    pictures: int
    boxes: int
    groups: int
    grouping: str
    folds: int
    """Folds of the cross-validation of the learned detector; 0: its weights were given."""
    all_pictures: dict[str, RegionMeasures]
    """Detector or trivial box -> its measures."""
    single_box: dict[str, RegionMeasures]
    beats_trivial: dict[str, bool]
    """Detector -> its interval of mean IoU over all pictures lies above those of both trivial boxes."""


def run(
    *,
    catalog: Path,
    params: RegionsParams,
    out: Path,
    detectors: Sequence[str] = (),
    split: str = "",
    folds: int = 0,
    grouping: str = "picture",
) -> RegionsEvaluation:
    """Measures detectors on the pictures with known boxes, and writes a table and a sheet of pictures.

    Boxes are scored without the padding of ``params``, which is a margin for the model and no part of the answer.

    Args:
        catalog: catalogue folder.
        params: of every detector; only the detector's name is changed.
        out: gets ``metrics.json``, ``regions.md`` and ``boxes.jpg``, the best, median and worst of the first detector.
        detectors: names; none measures the one in ``params``.
        split: of the pictures; empty takes all.
        folds: with 2 or more, the learned detector is trained on the other folds for each fold.
        grouping: what stays on one side of a fold, see `groups_of`.

    Raises:
        ValueError: no known boxes, an unknown detector, or folds that cannot be made.
    """
    if grouping not in GROUPINGS or folds < 0 or folds == 1:
        raise ValueError(
            f"got folds={folds}, grouping='{grouping}'; expected 0 or 2 and more, {' or '.join(GROUPINGS)}"
        )
    opened = Catalog.open(catalog)
    names = tuple(dict.fromkeys(detectors)) or (params.detector,)
    wanted = thinned(boxed_pictures(opened, split))
    pictures, descriptions, truths = describe_all(opened, wanted)
    groups = groups_of(pictures, descriptions[:, 0], cast(Grouping, grouping))
    weights = _weights_by_fold(descriptions, truths, groups, folds, out) if folds else None
    runs = _detect(opened, wanted, _asked(names, params), weights)
    single = np.array([len(picture.boxes) == 1 for picture in pictures])
    every = {name: _measures(found, runs, groups, np.ones(len(pictures), dtype=bool)) for name, found in runs.items()}
    result = RegionsEvaluation(
        split=split or "all",
        pictures=len(pictures),
        boxes=sum(len(picture.boxes) for picture in pictures),
        groups=len(set(groups)),
        grouping=grouping,
        folds=folds,
        all_pictures=every,
        single_box={name: _measures(found, runs, groups, single) for name, found in runs.items()}
        if single.any()
        else {},
        beats_trivial={name: all(every[name].mean_iou.above(every[box].mean_iou) for box in TRIVIAL) for name in names},
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / REPORT).write_text(markdown(result), encoding="utf-8")
    (out / SHEET).write_bytes(_sheet(opened, pictures, runs[names[0]]))
    return outcome.save(out, result)


@dataclass(frozen=True)
class _Found:
    """What one detector answered on each picture."""

    regions: list[Detection]
    iou: npt.NDArray[np.float64]
    pointed: npt.NDArray[np.float64]
    ms: npt.NDArray[np.float64]


_Ask = Callable[[Image.Image, str | None, str], Detection]


def _asked(names: Sequence[str], params: RegionsParams) -> dict[str, _Ask]:
    """Name -> what answers for it, given a picture, its title and the weights of its fold."""

    def ask(name: str) -> _Ask:
        bare = dataclasses.replace(params, detector=name, pad=0.0)

        def answer(image: Image.Image, title: str | None, weights: str) -> Detection:
            given = dataclasses.replace(bare, weights=weights) if weights and name in _LEARNS else bare
            return core_region(image, given, title)

        return answer

    return {name: ask(name) for name in names} | {"whole": _whole, "centred": _centred}


def _whole(image: Image.Image, title: str | None, weights: str) -> Detection:
    return Detection(Box(0.0, 0.0, *map(float, image.size)), 1.0, "whole")


def _centred(image: Image.Image, title: str | None, weights: str) -> Detection:
    low, high = (1 - _CENTRED) / 2, (1 + _CENTRED) / 2
    return Detection(Box(low, low, high, high).scaled(*image.size), 1.0, "centred")


def _weights_by_fold(
    descriptions: npt.NDArray[np.float32],
    truths: Sequence[npt.NDArray[np.float32]],
    groups: Sequence[str],
    folds: int,
    out: Path,
) -> list[str]:
    """For each picture the weights that were fitted without its fold."""
    if len(set(groups)) < folds:
        raise ValueError(f"{len(set(groups))} groups of pictures cannot make {folds} folds")
    fold = fold_of(groups, folds)
    paths = [out / "folds" / str(number) / WEIGHTS for number in range(folds)]
    for number, path in enumerate(track(paths, "training", total=folds)):
        kept = np.flatnonzero(fold != number).tolist()
        fitted = fit(descriptions[kept], [truths[place] for place in kept], [groups[place] for place in kept])
        fitted.weights.save(path)
    return [str(paths[number]) for number in fold.tolist()]


def _detect(
    catalog: Catalog, wanted: Mapping[str, Boxed], asked: Mapping[str, _Ask], weights: Sequence[str] | None
) -> dict[str, _Found]:
    """Asks every detector about every picture, one picture in memory at a time."""
    regions: dict[str, list[Detection]] = {name: [] for name in asked}
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in asked}
    pictures = track(decoded(catalog, wanted), "detecting", total=len(wanted))
    for place, (boxed, image) in enumerate(pictures):
        for name, ask in asked.items():
            if not place:
                ask(image, boxed.title, weights[0] if weights else "")  # loads the weights, so that none is timed
            start = time.perf_counter()
            found = ask(image, boxed.title, weights[place] if weights else "")
            took = (time.perf_counter() - start) * 1000
            regions[name].append(found)
            overlap = max(iou(found.box, truth) for truth in boxed.boxes)
            rows[name].append((overlap, float(any(_inside(found.box, truth) for truth in boxed.boxes)), took))
    return {name: _Found(regions[name], *np.array(rows[name]).T) for name in asked}


def _inside(box: Box, truth: Box) -> bool:
    """Whether the middle of a box lies in another."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return truth.x0 <= x < truth.x1 and truth.y0 <= y < truth.y1


def _measures(
    found: _Found, runs: Mapping[str, _Found], groups: Sequence[str], chosen: npt.NDArray[np.bool_]
) -> RegionMeasures:
    """The measures of one detector on the chosen pictures."""
    overlap = found.iou[chosen]
    means = bootstrap_means(
        {
            "mean_iou": overlap,
            "corloc": (overlap >= 0.5).astype(np.float64),
            "accuracy_75": (overlap >= 0.75).astype(np.float64),
            "pointing": found.pointed[chosen],
            "over_whole": overlap - runs["whole"].iou[chosen],
            "over_centred": overlap - runs["centred"].iou[chosen],
        },
        [group for group, one in zip(groups, chosen, strict=True) if one],
        samples=_SAMPLES,
    )
    picked = [region for region, one in zip(found.regions, chosen, strict=True) if one]
    p50, p95 = np.percentile(found.ms[chosen], [50, 95])
    return RegionMeasures(
        **means,
        fallback_share=sum(region.detector == FULL for region in picked) / len(picked),
        ms_p50=float(p50),
        ms_p95=float(p95),
    )


def _sheet(catalog: Catalog, pictures: Sequence[Boxed], found: _Found) -> bytes:
    """The pictures with the best, the median and the worst boxes."""
    order = np.argsort(-found.iou, kind="stable").tolist()
    count = min(_TILES, len(order))
    middle = (len(order) - count) // 2
    rows = {"best": order[:count], "median": order[middle : middle + count], "worst": order[-count:]}
    wanted = {pictures[place].image_id: pictures[place] for places in rows.values() for place in places}
    drawn = {boxed.image_id: _with_truths(boxed, image) for boxed, image in decoded(catalog, wanted)}
    labels = {place: f"{found.iou[place]:.2f} {found.regions[place].detector}" for place in order}
    tiles = [
        [(drawn[pictures[place].image_id], found.regions[place].box, f"{name}: {labels[place]}") for place in places]
        for name, places in rows.items()
    ]
    return encode_jpeg(contact_sheet(tiles), quality=75)


def _with_truths(boxed: Boxed, image: Image.Image) -> Image.Image:
    """A picture with its true boxes drawn."""
    for box in boxed.boxes:
        inside = box.clamp(image.width - 1, image.height - 1)
        ImageDraw.Draw(image).rectangle(tuple(inside), outline=_TRUE, width=max(1, min(image.size) // 60))
    return image
