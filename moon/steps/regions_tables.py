"""The measures of detectors as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moon.evaluation.bootstrap import Interval
    from moon.steps.regions_evaluate import RegionMeasures, RegionsEvaluation

_HEAD: Final = (
    "| box | mean IoU | CorLoc | IoU >= .75 | pointing game | whole picture kept | minus whole | minus centred | "
    "ms p50 | ms p95 |\n| --- |" + " ---: |" * 9
)


def markdown(result: RegionsEvaluation) -> str:
    """A page with one table over all pictures and one over those with exactly one known box."""
    trained = f", the learned detector cross-validated in {result.folds} folds" if result.folds else ""
    parts = [
        "# Core regions",
        f"{result.pictures:,} pictures with {result.boxes:,} known boxes, split: {result.split}; the best matching box "
        f"counts. {result.groups:,} groups (by {result.grouping}) are resampled for the 95 % intervals{trained}.",
        "## All pictures",
        _table(result.all_pictures),
    ]
    if result.single_box:
        parts += ["## Pictures with one known box", _table(result.single_box)]
    return "\n\n".join(parts) + "\n"


def _table(measures: Mapping[str, RegionMeasures]) -> str:
    return "\n".join([_HEAD, *(_row(name, one) for name, one in measures.items())])


def _row(name: str, one: RegionMeasures) -> str:
    shares = [_interval(value) for value in (one.mean_iou, one.corloc, one.accuracy_75, one.pointing)]
    differences = [_interval(value, "+") for value in (one.over_whole, one.over_centred)]
    cells = [name, *shares, f"{one.fallback_share:.1%}", *differences, f"{one.ms_p50:.1f}", f"{one.ms_p95:.1f}"]
    return f"| {' | '.join(cells)} |"


def _interval(one: Interval, sign: str = "") -> str:
    return f"{one.value:{sign}.3f} [{one.low:{sign}.3f}, {one.high:{sign}.3f}]"
