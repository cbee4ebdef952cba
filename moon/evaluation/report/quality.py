"""Sections on how good the model is: retrieval, example queries, label prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moon.evaluation.report.charts import Span, SpanRow, interval_chart, legend
from moon.evaluation.report.html import Html, chip, el, note, section, table
from moon.evaluation.report.pictures import Pictures
from moon.evaluation.tasks import DIRECTIONS

Results = Mapping[str, Any]
_MODELS = ("trained", "untrained")


def retrieval_section(evaluation: Results) -> Html:
    """Recall@1 and the deepest Recall@k with intervals for both models, and every number in a table."""
    trained, untrained = (_in_order(evaluation["retrieval"][model]) for model in _MODELS)
    recalls = _measures(trained, "R@")
    shown = list(dict.fromkeys([*recalls[:1], *recalls[-1:]]))
    charts = [interval_chart(f"{name}, by direction", _rows(trained, untrained, name)) for name in shown]
    count = evaluation["products"]
    where = f"{count} held-out products" if evaluation["gallery"] == "held_out" else f"all {count} products"
    asked = f"{evaluation['queries']} distinct queries of the {evaluation['split']} split"
    return section(
        "retrieval",
        "Retrieval",
        el("p", f"{asked}, each answered from {where}. ", _definitions()),
        legend({"trained": "trained", "untrained": "untrained", "chance": "chance"}),
        el("div", charts, class_="charts"),
        el("details", el("summary", "All numbers"), _numbers(trained, untrained)),
        _remarks(evaluation),
    )


def examples_section(examples: Sequence[Results], pictures: Pictures) -> Html:
    """Each query beside its first five products; what was bought is framed."""
    return section(
        "examples",
        "Queries and their first five products",
        note(
            "Drawn by seed, not by eye: where a direction has both, one query answered at rank 1 follows one that was "
            "not. A green frame marks a product that was bought for this very query; a dashed one shows it where the "
            "first five lack it."
        ),
        [_example(example, pictures) for example in examples],
    )


def labels_section(evaluation: Results) -> Html:
    """Accuracy of the nearest label text, for each level of the category path and each attribute."""
    kinds = {"category, by level of the path": evaluation["labels"]["category"]}
    kinds["attributes, by key"] = evaluation["labels"]["attributes"]
    tasks = [(name, task) for found in kinds.values() for name, task in found.items()]
    charts = [interval_chart(f"Accuracy: {title}", _task_rows(found)) for title, found in kinds.items() if found]
    figures = [
        [
            name,
            task["products"],
            task["labels"],
            *(f"{task[model]['accuracy']['value']:.3f}" for model in _MODELS),
            *(f"{task[model]['macro_f1']:.3f}" for model in _MODELS),
            f"{task['majority']:.3f} ({task['majority_label']})",
            f"{task['chance']:.3f}",
        ]
        for name, task in tasks
    ]
    head = ["task", "products", "labels", "accuracy", "untrained", "macro F1", "untrained", "majority", "chance"]
    return section(
        "labels",
        "Category and attribute prediction, zero-shot",
        el(
            "p",
            "The predicted label is the one whose text, such as “category: Mugs” or “colour: red”, lies nearest to the "
            "product’s pictures. Only pictures are used: a product’s title and fields hold the answer in words. "
            "The model was never trained on this task.",
        ),
        legend({"trained": "trained", "untrained": "untrained", "chance": "always the commonest label"}),
        el("div", charts, class_="charts") if charts else note("The catalogue has no labels to predict."),
        el("details", el("summary", "All numbers"), table(head, figures)),
    )


def _in_order(models: Results) -> Results:
    """Directions in their own order; a JSON file has them by name."""
    return {direction.name: models[direction.name] for direction in DIRECTIONS if direction.name in models}


def arrow(direction: str) -> str:
    """A direction's name as people read it."""
    return direction.replace("->", " → ")


def _rows(trained: Results, untrained: Results, measure: str) -> list[SpanRow]:
    return [
        SpanRow(
            label=arrow(direction),
            spans=[_span(found[measure], "trained"), _span(untrained[direction][measure], "untrained")],
            mark=found["chance"][measure],
        )
        if found
        else SpanRow(label=arrow(direction), spans=[])
        for direction, found in trained.items()
    ]


def _task_rows(tasks: Results) -> list[SpanRow]:
    return [
        SpanRow(label=name, spans=[_span(task[model]["accuracy"], model) for model in _MODELS], mark=task["majority"])
        for name, task in tasks.items()
    ]


def _span(measured: Results, style: str) -> Span:
    return Span(value=measured["value"], low=measured["low"], high=measured["high"], style=style)


def _measures(models: Results, prefix: str = "") -> list[str]:
    """Names of the measures that have an interval; R@k in order of k."""
    found: Results = next(filter(None, models.values()), {})
    names = [name for name, entry in found.items() if isinstance(entry, Mapping) and "low" in entry]
    names.sort(key=lambda name: int(name[2:]) if name.startswith("R@") else 10**9)
    return [name for name in names if name.startswith(prefix)]


def _definitions() -> str:
    return (
        "Recall@k is the share of queries with a bought product among the first k; MRR is the mean reciprocal rank "
        "of the first one. Equal scores are ordered as trec_eval does, so a collapsed model stays at chance. Intervals "
        "are bootstrap percentiles over products."
    )


def _numbers(trained: Results, untrained: Results) -> Html:
    measures = _measures(trained)
    rows = []
    for direction, found in trained.items():
        for model, numbers in (("trained", found), ("untrained", untrained[direction])):
            if numbers:
                cells = [
                    f"{numbers[name]['value']:.3f} [{numbers[name]['low']:.3f}, {numbers[name]['high']:.3f}]"
                    for name in measures
                ]
                rows.append(
                    [arrow(direction), model, numbers["queries"], numbers["gallery"], *cells, *_context(numbers)]
                )
    head = ["direction", "model", "queries", "gallery", *measures, "chance R@1", "tied"]
    return table(head, rows, text_columns=2)


def _context(numbers: Results) -> list[str]:
    return [f"{numbers['chance_r1']:.4f}", f"{numbers['tie_rate']:.1%}"]


def _remarks(evaluation: Results) -> Html | None:
    remarks = [f"{count} × {reason}" for reason, count in evaluation["skipped"].items()]
    if evaluation["own_pictures"]:
        remarks.append(f"{evaluation['own_pictures']} photo queries are themselves a picture of a gallery product")
    return note("Not asked, or to be read with care: ", "; ".join(remarks), ".") if remarks else None


def _example(example: Results, pictures: Pictures) -> Html:
    rank = chip(f"rank {example['rank']}", "good" if example["rank"] == 1 else "warn")
    query = query_card(example, pictures, [chip(arrow(example["direction"])), rank])
    return el("div", query, results(example["top"], example["bought"], pictures), class_="example")


def results(found: Sequence[Results], bought: Sequence[str], pictures: Pictures) -> Html:
    """The found products, the bought ones framed; where none was found, one that was bought comes last."""
    cards = [_product(product, product["product_id"] in bought, pictures) for product in found]
    if not any(product["product_id"] in bought for product in found):
        name = el("p", pictures.title(bought[0]), class_="name")
        cards.append(
            el("div", pictures.product(bought[0]), name, el("p", "bought", class_="score"), class_="product missed")
        )
    return el("div", cards, class_="results")


def query_card(query: Results, pictures: Pictures, chips: Sequence[Html]) -> Html:
    """What was asked: photo, text or both."""
    text, image_id = query["query_text"], query["query_image_id"]
    return el(
        "div",
        pictures.image(image_id, "query photo") if image_id else None,
        el("p", f"“{text}”", class_="words", title=text) if text else None,
        el("div", chips),
        class_="query",
    )


def _product(product: Results, right: bool, pictures: Pictures) -> Html:
    return el(
        "div",
        pictures.product(product["product_id"]),
        el("p", product["title"] or product["product_id"], class_="name"),
        el("p", f"{product['score']:.3f}", " · bought" if right else None, class_="score"),
        class_="product right" if right else "product",
    )
