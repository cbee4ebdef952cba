"""Sections on what the model has learned: the map of its embeddings, and where its experts' tokens come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moon.evaluation.report.charts import SpanRow, interval_chart, legend
from moon.evaluation.report.html import Child, Html, chip, cut, el, more, note, section, signed, table
from moon.evaluation.report.maps import COLOURS, Point, heat_chart, key, scatter_chart
from moon.evaluation.report.quality import MODELS, arrow, in_order, span

Results = Mapping[str, Any]
_TYPES: Final = ("image", "crop", "title", "category", "attribute")


def embeddings_section(drawn: Results, evaluation: Results) -> Html:
    """A map of products and queries in two dimensions, and whether the space is used."""
    points: Sequence[Results] = drawn["points"]
    counts = Counter(point["category"] for point in points)
    names = [name for name, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))]
    group = {name: min(place, COLOURS) for place, name in enumerate(names)}
    explained = drawn.get("explained")
    share = f" The two axes hold {sum(explained):.0%} of the variance." if explained else ""
    charts = [
        _map(f"{title}, by category", [point for point in points if point["kind"] in kinds], group)
        for title, kinds in (("Products", {"product"}), ("Queries among the products", {"product", "query"}))
    ]
    return section(
        "embeddings",
        "Embedding map",
        el(
            "p",
            "Each mark is the embedding of a product, or of a query in the second map, in the plane of "
            f"{drawn['method']}.{share} Near here means near in these two dimensions only; point at a mark for its "
            "name.",
        ),
        key([cut(name, 60) for name in names[:COLOURS]], "other categories" if len(names) > COLOURS else None),
        el("div", charts, class_="charts"),
        _health(evaluation),
        _modality(evaluation),
    )


def experts_section(experts: Results) -> Html:
    """The share of each expert among the tokens of a type, a heat map for each layer."""
    layers = experts["trained"]
    charts = []
    for layer in sorted(layers, key=int):
        rows = {kind: layers[layer][kind] for kind in _TYPES if kind in layers[layer]}
        count = max(map(len, rows.values()), default=0)
        names = [str(number) for number in range(count)]
        charts.append(heat_chart(f"Layer {layer}: share of tokens in %", rows, names, "expert"))
    return section(
        "experts",
        "Experts by token type",
        el(
            "p",
            "Where the tokens of each part of the sequence are computed in a mixture-of-experts layer of the trained "
            "model. Each row adds up to 100 %. With guided routing the last two experts belong to category and "
            "attribute tokens; equal shares elsewhere mean an even load.",
        ),
        el("div", charts, class_="charts"),
    )


def _map(title: str, points: Sequence[Results], group: Mapping[str, int]) -> Html:
    queries = any(point["kind"] == "query" for point in points)
    shown = [
        Point(
            x=point["x"],
            y=point["y"],
            group=group[point["category"]],
            faint=queries and point["kind"] == "product",
            title=" · ".join(cut(part, 60) for part in (point.get("fine"), point["kind"], point["id"]) if part),
        )
        for point in points
    ]
    counts = Counter(point["kind"] for point in points)
    described = ", ".join(f"{count} {kind} marks" for kind, count in sorted(counts.items()))
    return scatter_chart(title, shown, f"{described}, coloured by category")


def _health(evaluation: Results) -> Html | None:
    """Whether vectors have collapsed, set by set."""
    health = evaluation.get("health")
    if not health:
        return None
    collapsed = evaluation.get("collapsed", {})
    verdicts = [
        chip(f"{name}: collapsed", "bad") if collapsed.get(name) else chip(f"{name}: not collapsed", "good")
        for name in MODELS
        if name in health
    ]
    reasons = [
        el("li", f"{name}, {set_}: {reason}")
        for name in MODELS
        for set_, found in health.get(name, {}).items()
        for reason in found.get("reasons", ())
    ]
    rows: list[list[Child]] = [
        [
            set_,
            name,
            found["vectors"],
            f"{found['distinct']:.1%}",
            signed(found["mean_cosine"], 3),
            f"{found['effective_rank']:.1f} of {found['dim']}",
        ]
        for name in MODELS
        for set_, found in health.get(name, {}).items()
    ]
    head = ["vectors of", "model", "count", "distinct", "mean cosine", "effective rank"]
    return el(
        "div",
        el("h3", "Is the space used?"),
        el("p", verdicts),
        el("ul", reasons) if reasons else None,
        more("Numbers", table(head, rows, text_columns=2)),
    )


def _modality(evaluation: Results) -> Html | None:
    """Whether the kind that was asked for comes first where all kinds compete."""
    modality = evaluation.get("modality", {})
    targets = {name: in_order(modality[name]["targets"]) for name in MODELS if modality.get(name, {}).get("targets")}
    if "trained" not in targets:
        return None
    rows = [
        SpanRow(
            label=arrow(direction),
            spans=[span(targets[name][direction]["hit_rate"], name) for name in targets if direction in targets[name]],
            mark=found["chance"],
        )
        for direction, found in targets["trained"].items()
    ]
    gap = modality["trained"].get("gap")
    return el(
        "div",
        el("h3", "Does the right kind come first?"),
        el(
            "p",
            "Texts, pictures and whole products of the gallery compete in one list: the share of queries whose first "
            "answer is of the kind that the direction asks for.",
        ),
        legend({name: name for name in targets} | {"chance": "chance"}),
        el("div", interval_chart("Target kind at rank 1", rows), class_="charts"),
        note(
            f"Between the texts and the pictures of the products lies a gap of {gap['distance']:.2f} between their "
            f"means; mean cosine {signed(gap['matched_cosine'])} for a product’s own two, "
            f"{signed(gap['mismatched_cosine'])} for those of two products."
        )
        if gap
        else None,
    )
