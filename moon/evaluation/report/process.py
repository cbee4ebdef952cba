"""Sections on how the model came about: the data and its validation, core regions, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moon.evaluation.report.charts import line_chart
from moon.evaluation.report.html import Html, chip, el, facts, note, section
from moon.evaluation.report.pictures import Pictures
from moon.vision.boxes import Box, iou

Results = Mapping[str, Any]


def data_section(catalog: Results, validation: Results | None, docs: str | None) -> Html:
    """Size and version of the catalogue, and what its validation found."""
    counts = {name: catalog[name] for name in ("products", "images", "interactions", "rejected") if name in catalog}
    return section(
        "data",
        "Data and validation",
        facts({name: f"{count:,}" for name, count in counts.items()}),
        note("Version (SHA-256 of the tables): ", el("code", catalog["digest"])) if "digest" in catalog else None,
        _validation(validation, docs) if validation else note("Left out: the validate step has not run."),
    )


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
    figures = [_region(image_id, found[image_id], true_boxes.get(image_id, ()), pictures) for image_id in found]
    spread = "from the worst to the best overlap" if true_boxes else "from the least to the most confident"
    return section(
        "regions",
        "Core regions",
        el("p", "The box of the thing being sold; its crop is fed to the model beside the whole picture."),
        facts(scores),
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


def training_section(training: Results | None, log: Sequence[Results]) -> Html:
    """Loss and in-batch accuracy over the steps."""
    known = {}
    if training:
        names = {"steps": "{:,}", "interactions": "{:,}", "seconds": "{:.0f} s", "pairs_per_second": "{:.0f}"}
        known = {
            name.replace("_", " "): form.format(training[name]) for name, form in names.items() if name in training
        }
    steps = [row["step"] for row in log]
    curves = [
        line_chart(title, steps, [row[key] for row in log], "step")
        for key, title in (("loss", "Loss (InfoNCE and load balance)"), ("accuracy", "In-batch accuracy"))
        if log and key in log[0]
    ]
    return section(
        "training",
        "Training",
        facts(known),
        el("div", curves, class_="charts"),
        note(
            "Faint: as logged. Strong: moving average. In-batch accuracy counts a query as right when its product "
            "scores above every other candidate of the batch."
        ),
    )


def box_of(row: Results) -> Box:
    """The box of a row of the boxes or regions table."""
    return Box(row["x0"], row["y0"], row["x1"], row["y1"])


def _validation(validation: Results, docs: str | None) -> Html:
    passed = validation["passed"]
    findings = [(chip("failure", "bad"), text) for text in validation["failures"]]
    findings += [(chip("warning", "warn"), text) for text in validation["warnings"]]
    return el(
        "div",
        el(
            "p",
            chip("passed" if passed else "failed", "good" if passed else "bad"),
            " Great Expectations suites over products, images and interactions. ",
            el("a", "Data Docs", href=docs) if docs else None,
        ),
        el("ul", [el("li", kind, " ", text) for kind, text in findings]) if findings else None,
    )


def _region(image_id: str, row: Results, truths: Sequence[Box], pictures: Pictures) -> Html:
    box = box_of(row)
    drawing = pictures.boxed(image_id, [*((truth, "true") for truth in truths), (box, "found")])
    quality = f"IoU {max(iou(box, truth) for truth in truths):.2f}" if truths else f"score {row['score']:.2f}"
    caption = el("figcaption", f"{quality} · {row['detector']}")
    return el("figure", drawing or el("div", "no picture", class_="blank"), caption)
