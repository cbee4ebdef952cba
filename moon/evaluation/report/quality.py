"""Sections on how good the model is: retrieval in all directions, and label prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moon.evaluation.report.charts import Curve, Span, SpanRow, interval_chart, legend, line_chart
from moon.evaluation.report.html import Child, Html, cut, el, more, note, section, table
from moon.evaluation.tasks import DIRECTIONS

Results = Mapping[str, Any]
MODELS = ("trained", "untrained")
_TASKS: Final = 20
"""Tasks of one kind in a chart; the table has up to five times as many."""


def retrieval_section(evaluation: Results, curves: Results | None) -> Html:
    """The headline table with intervals, recall curves, and every other number.

    Args:
        evaluation: metrics of the evaluate step.
        curves: its curves.json, None where an older version did not write it.
    """
    measured = by_model(evaluation["retrieval"])
    count = evaluation["products"]
    where = f"{count} held-out products" if evaluation["gallery"] == "held_out" else f"all {count} products"
    asked = f"{evaluation['queries']} distinct queries of the {evaluation['split']} split"
    return section(
        "retrieval",
        "Retrieval",
        el("p", f"{asked}, each answered from {where}. ", _definitions()),
        _headline(measured),
        legend(_swatches(measured) | {"chance": "chance"}),
        _curves(curves, measured)
        if curves
        else note("Recall curves: left out, because there is no curves.json; run ", el("code", "moon evaluate"), "."),
        more(
            "All numbers",
            note("recall@k is the share of a query’s bought products among the first k, R@k whether any is there."),
            [_numbers(name, measured) for name in measured],
        ),
        _remarks(evaluation),
    )


def labels_section(evaluation: Results) -> Html:
    """Accuracy of the nearest label text, for each level of the category path and each attribute."""
    kinds = {"category, by level of the path": evaluation["labels"]["category"]}
    kinds["attributes, by key"] = evaluation["labels"]["attributes"]
    models = [name for name in MODELS if name in evaluation["retrieval"]]
    charts = [
        interval_chart(f"Accuracy: {title}", _task_rows(found, models)[:_TASKS])
        for title, found in kinds.items()
        if found
    ]
    tasks = [entry for found in kinds.values() for entry in list(found.items())[: 5 * _TASKS]]
    return section(
        "labels",
        "Category and attribute prediction",
        el(
            "p",
            "Zero-shot: the predicted label is the one whose text, such as “category: Mugs” or “colour: red”, lies "
            "nearest to the product’s pictures. Only pictures are used: a product’s title and fields hold the answer "
            "in words. The model was never trained on this task. The probe, where there is one, is a linear "
            "classifier on the pictures of the train products.",
        ),
        legend(_swatches(models) | {"chance": "always the commonest label"}),
        el("div", charts, class_="charts") if charts else note("The catalogue has no labels to predict."),
        more("All numbers", _label_tables(tasks, models)) if charts else None,
    )


def by_model(found: Results) -> dict[str, Results]:
    """Model -> direction -> measures; directions in their own order, a JSON file has them by name."""
    return {
        model: {one.name: found[model][one.name] for one in DIRECTIONS if one.name in found[model]}
        for model in MODELS
        if model in found
    }


def in_order(by_direction: Results) -> dict[str, Any]:
    """Directions in their own order, those without a result left out."""
    return {d.name: by_direction[d.name] for d in DIRECTIONS if by_direction.get(d.name)}


def arrow(direction: str) -> str:
    """A direction's name as people read it."""
    return direction.replace("->", " → ")


def span(measured: Results, style: str) -> Span:
    """A measure with its interval."""
    return Span(value=measured["value"], low=measured["low"], high=measured["high"], style=style)


def recalls(measured: Results) -> list[str]:
    """Names of the hit rates, R@k, in order of k."""
    return sorted((name for name in measured if name.startswith("R@")), key=lambda name: int(name[2:]))


def _swatches(models: Mapping[str, Any] | list[str]) -> dict[str, str]:
    return {name: name for name in models}


def _headline(measured: Mapping[str, Results]) -> Html:
    """The first and the deepest recall and the MRR of every model, a row a direction."""
    first: Results = next(filter(None, measured["trained"].values()), {})
    names = list(dict.fromkeys([*recalls(first)[:1], *recalls(first)[-1:], "MRR"]))
    rows: list[list[Child]] = []
    for direction, found in measured["trained"].items():
        models = {model: by[direction] for model, by in measured.items() if by.get(direction)}
        cells: list[Child] = [_cell(name, models) if found else "no such queries" for name in names]
        rows.append([arrow(direction), found["queries"] if found else 0, *cells])
    beside = " and the untrained one it started from" if "untrained" in measured else ""
    caption = f"The trained model{beside}, each with its interval, and chance"
    return table(["direction", "queries", *names], rows, caption=caption, class_="headline")


def _cell(name: str, models: Mapping[str, Results]) -> Child:
    """A measure of the trained model over that of the untrained one and of chance."""
    lines: list[Child] = [
        [el("b", f"{found[name]['value']:.3f}") if model == "trained" else f"{model} {found[name]['value']:.3f}", " "]
        + [_interval(found[name])]
        for model, found in models.items()
    ]
    chance = models["trained"]["chance"].get(name)
    lines += [f"chance {chance:.3f}"] if chance is not None else []
    return [el("span", line, class_="pair" if place == 0 else "pair quiet") for place, line in enumerate(lines)]


def _interval(measured: Results) -> Html:
    return el("span", f"[{measured['low']:.3f}, {measured['high']:.3f}]", class_="interval")


def _curves(curves: Results, measured: Mapping[str, Results]) -> Html:
    """Recall at every depth, a small chart a direction, all on one scale."""
    charts = []
    for direction in measured["trained"]:
        ys = {name: curves.get(name, {}).get(direction, {}).get("hit", []) for name in MODELS}
        ys["chance"] = curves.get("chance", {}).get(direction, [])
        if not ys["trained"]:
            continue
        lines = [Curve(xs=curves["k"], ys=values, style=name) for name, values in reversed(ys.items())]
        described = f"R@k for k from {curves['k'][0]} to {curves['k'][-1]}: " + "; ".join(
            f"{name} from {values[0]:.2f} to {values[-1]:.2f}" for name, values in ys.items() if values
        )
        title = f"{arrow(direction)}: recall at k"
        charts.append(line_chart(title, lines, "k, the products looked at", top=1.0, log=True, described=described))
    return el("div", charts, class_="charts")


def _task_rows(tasks: Results, models: list[str]) -> list[SpanRow]:
    return [
        SpanRow(label=name, spans=[span(task[model]["accuracy"], model) for model in models], mark=task["majority"])
        for name, task in tasks.items()
    ]


def _label_tables(tasks: Sequence[tuple[str, Results]], models: Sequence[str]) -> list[Html]:
    """What is asked in each task, and how each model does."""
    asked: list[list[Child]] = [
        [
            name,
            task["products"],
            task["labels"],
            cut(task["majority_label"]),
            f"{task['majority']:.3f}",
            f"{task['chance']:.3f}",
        ]
        for name, task in tasks
    ]
    scores: list[list[Child]] = [
        [name, model, _interval_cell(task[model]["accuracy"]), f"{task[model]['macro_f1']:.3f}", _probe(task[model])]
        for name, task in tasks
        for model in models
    ]
    return [
        table(["task", "products", "labels", "commonest label", "its share", "chance"], asked),
        table(["task", "model", "accuracy", "macro F1", "accuracy of the probe"], scores, text_columns=2),
    ]


def _probe(scores: Results) -> Child:
    return _interval_cell(scores["probe"]["accuracy"]) if scores.get("probe") else "–"


def _interval_cell(measured: Results) -> Child:
    return [f"{measured['value']:.3f} ", _interval(measured)]


def _definitions() -> str:
    return (
        "Recall@k (R@k) is the share of queries with a bought product among the first k; MRR is the mean reciprocal "
        "rank of the first one. Equal scores are ordered as trec_eval does, so a collapsed model stays at chance. "
        "Intervals are bootstrap percentiles over products."
    )


def _numbers(model: str, measured: Mapping[str, Results]) -> Html:
    """Every measure with an interval, a row each and a column a direction."""
    found = {direction: numbers for direction, numbers in measured[model].items() if numbers}
    names = list(dict.fromkeys(name for numbers in found.values() for name in _measures(numbers)))
    rows: list[list[Child]] = [
        [name, *(_interval_cell(numbers[name]) if name in numbers else "–" for numbers in found.values())]
        for name in names
    ]
    for name in next((numbers["product1m"] for numbers in found.values() if "product1m" in numbers), {}):
        rows.append(
            [f"Product1M {name}", *(_plain(numbers.get("product1m", {}).get(name)) for numbers in found.values())]
        )
    rows.append(["queries", *(numbers["queries"] for numbers in found.values())])
    rows.append(["products to choose from", *(numbers["gallery"] for numbers in found.values())])
    rows.append(["queries whose answer ties", *(f"{numbers['tie_rate']:.1%}" for numbers in found.values())])
    return table(["measure", *map(arrow, found)], rows, caption=f"The {model} model")


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _measures(numbers: Results) -> list[str]:
    """Measures with an interval: by family, then by depth."""

    def place(name: str) -> tuple[str, int]:
        family, _, depth = name.partition("@")
        return family, int(depth or 0)

    return sorted((name for name, entry in numbers.items() if isinstance(entry, Mapping) and "low" in entry), key=place)


def _remarks(evaluation: Results) -> Html | None:
    remarks = [f"{count} × {reason}" for reason, count in evaluation["skipped"].items()]
    if evaluation["own_pictures"]:
        remarks.append(f"{evaluation['own_pictures']} photo queries are themselves a picture of a gallery product")
    return note("Not asked, or to be read with care: ", "; ".join(remarks), ".") if remarks else None
