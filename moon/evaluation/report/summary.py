"""The head of the report: the run's main numbers at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moon.evaluation.report.html import Html, el, tile
from moon.evaluation.report.operation import TONES, in_order
from moon.evaluation.report.quality import arrow, by_model, recalls

Results = Mapping[str, Any]


def summary_section(results: Mapping[str, Results]) -> Html:
    """One tile for each thing that was measured; ``results`` maps a step's name to its metrics."""
    tiles: list[Html] = []
    if "evaluate" in results:
        tiles += _retrieval_tiles(results["evaluate"])
    if "gate" in results:
        passed = results["gate"]["passed"]
        failed = sum(reason.startswith("Failed") for reason in results["gate"]["reasons"])
        detail = "every judged condition met" if passed else f"{failed} condition{'s' if failed != 1 else ''} failed"
        tiles.append(tile("gate", "passed" if passed else "not passed", detail, "good" if passed else "bad"))
    regions = results.get("regions", {})
    if regions.get("mean_iou") is not None:
        tiles.append(
            tile("core regions", f"{regions['mean_iou']:.2f}", f"mean IoU over {regions['scored']:,} pictures")
        )
    if "replay" in results:
        replay = results["replay"]
        tiles.append(tile("endpoint", f"{replay['p50_ms']:.0f} ms", f"median latency, {replay['errors']} errors"))
    for name, found in in_order(results.get("drift", {}).get("decisions", {})).items():
        tiles.append(
            tile(f"window “{name}”", found["decision"], f"{found['window_rows']} requests", TONES[found["decision"]])
        )
    return el("section", el("div", tiles, class_="tiles"), id="summary", class_="summary", aria_label="Summary")


def _retrieval_tiles(evaluation: Results) -> list[Html]:
    tiles = []
    measured = by_model(evaluation["retrieval"])
    for direction in ("text->product", "image->product", "both->product"):
        trained = measured["trained"].get(direction)
        untrained = measured.get("untrained", {}).get(direction)
        if trained:
            name = recalls(trained)[0]
            times = trained[name]["value"] / trained["chance"][name]
            beside = f"; untrained {untrained[name]['value']:.2f}" if untrained else ""
            detail = f"{name}, {times:.0f} × chance{beside}"
            tiles.append(tile(arrow(direction), f"{trained[name]['value']:.2f}", detail, "accent"))
    return tiles
