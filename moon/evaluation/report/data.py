"""Section on the health of the data: what is in it, what its validation found, what was rejected or repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from moon.evaluation.report.html import Child, Html, chip, cut, el, facts, more, note, section, table
from moon.evaluation.report.pictures import Pictures

Results = Mapping[str, Any]
_REJECTED: Final = 15
"""Rejected rows shown."""
_GROUPS: Final = 4
"""Groups of near-duplicates shown."""
_MEMBERS: Final = 4


@dataclass(frozen=True, kw_only=True)
class DataTables:
    """Rows of the tables that the section reads."""

    products: Sequence[Results] = ()
    """With split and category_path."""
    interactions: Sequence[Results] = ()
    """With split, query_text and query_image_id."""
    rejected: Sequence[Results] = ()
    duplicates: Sequence[Results] = ()
    """With product_id and group_id."""
    leaks: Sequence[Results] = ()
    """With kind, split and other_split."""
    metrics: Results = field(default_factory=dict)
    """Metrics of the duplicates step."""


def data_section(
    catalog: Results, validation: Results | None, docs: str | None, tables: DataTables, pictures: Pictures
) -> Html:
    """Size and version of the catalogue, its splits, its validation, rejected rows and near-duplicates.

    Args:
        catalog: what made the catalogue noted of it.
        validation: metrics of the validate step, None where it has not run.
        docs: link to its Data Docs.
        tables: rows of the catalogue and of the duplicates step.
        pictures: the catalogue's pictures.
    """
    counts = {name: catalog[name] for name in ("products", "images", "interactions", "rejected") if name in catalog}
    return section(
        "data",
        "Data health",
        facts({name: f"{count:,}" for name, count in counts.items()}),
        note("Version (SHA-256 of the tables): ", el("code", catalog["digest"])) if "digest" in catalog else None,
        _splits(tables),
        el("h3", "Validation"),
        _validation(validation, docs) if validation else _left_out("the validate step has not run", "moon validate"),
        el("h3", "Rejected rows"),
        _rejected(tables.rejected),
        el("h3", "Near-duplicates and leakage"),
        _duplicates(tables, pictures)
        if tables.metrics
        else _left_out("the duplicates step has not run", "moon duplicates"),
    )


def _left_out(reason: str, command: str) -> Html:
    return note(f"Left out, because {reason}; run ", el("code", command), ".")


def _splits(tables: DataTables) -> Html:
    """Products and purchases of each split, by what was asked with."""
    products = Counter(row["split"] for row in tables.products)
    asked = Counter((row["split"], _modality(row)) for row in tables.interactions)
    names = sorted({*products, *(split for split, _ in asked)}, key=lambda name: (name != "train", name))
    kinds = ["text", "photo", "photo and text"]
    rows: list[list[Child]] = [
        [name, f"{products[name]:,}", *(f"{asked[name, kind]:,}" for kind in kinds)] for name in names
    ]
    return table(["split", "products", *(f"purchases by {kind}" for kind in kinds)], rows)


def _modality(row: Results) -> str:
    if not row["query_image_id"]:
        return "text"
    return "photo and text" if (row["query_text"] or "").strip() else "photo"


def _validation(validation: Results, docs: str | None) -> Html:
    passed = validation["passed"]
    findings = [(chip("failure", "bad"), text) for text in validation["failures"]]
    findings += [(chip("warning", "warn"), text) for text in validation["warnings"]]
    rows = ", ".join(f"{count:,} {name}" for name, count in validation.get("rows", {}).items())
    return el(
        "div",
        el(
            "p",
            chip("passed" if passed else "failed", "good" if passed else "bad"),
            f" Great Expectations suites over {rows or 'the catalogue'}. ",
            el("a", "Data Docs", href=docs) if docs else None,
        ),
        el("ul", [el("li", kind, " ", text) for kind, text in findings], class_="plain") if findings else None,
    )


def _rejected(rejected: Sequence[Results]) -> Html:
    """How many rows for each reason, and some of them."""
    if not rejected:
        return note("No row was rejected.")
    counts = Counter((row["table"], row["reason"]) for row in rejected)
    reasons = [[name, reason, f"{count:,}"] for (name, reason), count in counts.most_common()]
    shown = [[cut(str(row[name])) for name in ("row_id", "table", "reason", "detail")] for row in rejected[:_REJECTED]]
    title = f"The first {len(shown)} of {len(rejected):,}" if len(shown) < len(rejected) else f"All {len(shown)}"
    return el(
        "div",
        table(["table", "reason", "rows"], reasons, text_columns=2),
        more(title, table(["row", "table", "reason", "what was found"], shown, text_columns=4)),
    )


def _duplicates(tables: DataTables, pictures: Pictures) -> Html:
    groups: dict[str, list[str]] = {}
    for row in tables.duplicates:
        groups.setdefault(row["group_id"], []).append(row["product_id"])
    largest = sorted(groups.values(), key=lambda members: (-len(members), members))
    leaks = Counter((row["kind"], row["split"], row["other_split"]) for row in tables.leaks)
    rows = [[kind.replace("_", " and "), *splits, f"{count:,}"] for (kind, *splits), count in leaks.most_common()]
    counts = {
        "products with a near-duplicate": len(tables.duplicates),
        "groups": len(groups),
        "pairs across splits": len(tables.leaks),
    }
    if "picture_pairs" in tables.metrics:
        counts["pairs of near-duplicate pictures"] = tables.metrics["picture_pairs"]
    return el(
        "div",
        facts({name: f"{count:,}" for name, count in counts.items()}),
        table(["near-duplicates", "split", "other split", "pairs"], rows, text_columns=3) if rows else None,
        [_group(members, pictures) for members in largest[:_GROUPS]],
    )


def _group(members: Sequence[str], pictures: Pictures) -> Html:
    cards = [
        el("li", pictures.product(member), el("p", pictures.title(member), class_="name"), class_="product")
        for member in members[:_MEMBERS]
    ]
    rest = note(f"and {len(members) - _MEMBERS} more") if len(members) > _MEMBERS else None
    return el("div", el("ol", cards, class_="results"), rest, class_="group")
