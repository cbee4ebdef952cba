"""Sections on how the model came about: core regions and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moon.evaluation.report.charts import Curve, line_chart, smoothed
from moon.evaluation.report.html import Html, el, facts, note, section
from moon.evaluation.report.pictures import Pictures
from moon.vision.boxes import Box, iou

Results = Mapping[str, Any]


def regions_section(
    regions: Results, found: Mapping[str, Results], true_boxes: Mapping[str, Sequence[Box]], pictures: Pictures
) -> Html:
    """Scores of the detector, and pictures spread from its worst to its best.

    Args:
        regions: results of the regions step.
        found: picture id -> its row of the regions table, for the pictures to choose from.
        true_boxes: picture id -> true boxes, for those that have any.
        pictures: the catalogue's pictures.
    """
    scores = {"pictures": f"{regions['images']:,}", "whole picture kept": f"{regions['fallback_share']:.1%}"}
    for name, label in (("mean_iou", "mean IoU"), ("corloc", "IoU ≥ 0.5"), ("accuracy_75", "IoU ≥ 0.75")):
        if regions.get(name) is not None:
            scores[label] = f"{regions[name]:.3f}"
    for name, count in sorted(regions.get("detectors", {}).items()):
        scores[f"by {name}"] = f"{count:,}"
    figures = [_region(image_id, found[image_id], true_boxes.get(image_id, ()), pictures) for image_id in found]
    spread = "from the worst to the best overlap" if true_boxes else "from the least to the most confident"
    return section(
        "regions",
        "Core regions",
        el("p", "The box of the thing being sold; its crop is fed to the model beside the whole picture."),
        facts(scores),
        None if true_boxes else note("The catalogue has no true boxes, so the detector cannot be scored here."),
        el(
            "p",
            f"Pictures at even steps {spread}: ",
            el("span", el("i", class_="swatch found"), "detected"),
            el("span", el("i", class_="swatch true"), "true box") if true_boxes else None,
            class_="legend",
        ),
        el("div", figures, class_="gallery"),
    )


def spread_by_overlap(
    regions: Sequence[Results], true_boxes: Mapping[str, Sequence[Box]], count: int
) -> dict[str, Results]:
    """At most ``count`` rows at even steps of their overlap with the truth, or of their score where none is known."""
    if true_boxes:
        regions = [row for row in regions if row["image_id"] in true_boxes]

    def quality(row: Results) -> tuple[float, str]:
        truths = true_boxes.get(row["image_id"])
        return (max(iou(box_of(row), truth) for truth in truths) if truths else row["score"]), row["image_id"]

    ordered = sorted(regions, key=quality)
    last = max(len(ordered) - 1, 0)
    places = sorted({round(last * step / max(count - 1, 1)) for step in range(count)}) if ordered else []
    return {ordered[place]["image_id"]: ordered[place] for place in places}


def training_section(training: Results | None, log: Sequence[Results], mining: Results | None) -> Html:
    """Loss and in-batch accuracy over the steps, and the negatives that were trained against."""
    known = {}
    if training:
        names = {"steps": "{:,}", "interactions": "{:,}", "seconds": "{:.0f} s", "pairs_per_second": "{:.0f}"}
        known = {
            name.replace("_", " "): form.format(training[name]) for name, form in names.items() if name in training
        }
    if mining:
        known |= {"mined negatives": f"{mining['negatives']:,}"} if "negatives" in mining else {}
        known |= {"queries without enough": f"{mining['starved']:,}"} if "starved" in mining else {}
    titles = {"loss": "Loss", "accuracy": "In-batch accuracy"}
    curves = [_logged(title, [row for row in log if key in row], key) for key, title in titles.items()]
    return section(
        "training",
        "Training",
        facts(known),
        el("div", [curve for curve in curves if curve], class_="charts"),
        note(
            "Faint: as logged. Strong: moving average. In-batch accuracy counts a query as right when its product "
            "scores above every other candidate of the batch."
        ),
    )


def _logged(title: str, rows: Sequence[Results], key: str) -> Html | None:
    if not rows:
        return None
    steps, values = [row["step"] for row in rows], [row[key] for row in rows]
    curves = [Curve(xs=steps, ys=values, style="raw"), Curve(xs=steps, ys=smoothed(values), style="trained")]
    described = f"From {values[0]:.3g} at step {steps[0]:g} to {values[-1]:.3g} at step {steps[-1]:g}"
    return line_chart(title, curves, "step", described=described)


def box_of(row: Results) -> Box:
    """The box of a row of the boxes or regions table."""
    return Box(row["x0"], row["y0"], row["x1"], row["y1"])


def _region(image_id: str, row: Results, truths: Sequence[Box], pictures: Pictures) -> Html:
    box = box_of(row)
    quality = f"IoU {max(iou(box, truth) for truth in truths):.2f}" if truths else f"score {row['score']:.2f}"
    frames = [*((truth, "true") for truth in truths), (box, "found")]
    text = f"Picture {image_id} with the detected box{' and the true box' if truths else ''}, {quality}"
    return el("figure", pictures.boxed(image_id, frames, text), el("figcaption", f"{quality} · {row['detector']}"))
