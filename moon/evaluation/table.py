"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_FIRST: Final = ("R@", "MRR")
"""Measures of the first table; the others have tables of their own."""

_KINDS: Final = {"category": "", "attributes": "attribute ", "photos": "query photos, "}

Results = Mapping[str, Any]


def markdown(
    split: str,
    gallery: str,
    retrieval: Mapping[str, Results],
    labels: Mapping[str, Results],
    health: Mapping[str, Results],
    modality: Mapping[str, Results],
) -> str:
    """Retrieval, every measure of it, label prediction, target kinds and the health of the embeddings as tables."""
    tables = [
        _retrieval(split, gallery, retrieval),
        _ranking(retrieval["trained"]),
        _labels(labels),
        _targets(modality["trained"]["targets"]),
        _health(health),
    ]
    return "\n".join(table for table in tables if table)


def _retrieval(split: str, gallery: str, measured: Mapping[str, Results]) -> str:
    trained, untrained = measured["trained"], measured.get("untrained")
    names = [name for name in _measures(trained) if name.startswith(_FIRST)]
    intro = (
        f"Split {split}, gallery {gallery}. "
        f"Each cell: {'untrained → ' if untrained else ''}trained, with the trained model's interval. "
        "R@k is the share of queries with a right product among the first k."
    )
    rows = []
    for direction, found in trained.items():
        if found is None:
            rows.append([direction, "none", *[""] * (len(names) + 2)])
            continue
        cells = [
            (f"{untrained[direction][name]['value']:.3f} → " if untrained else "") + f"**{found[name]['value']:.3f}** "
            f"[{found[name]['low']:.3f}, {found[name]['high']:.3f}]"
            for name in names
        ]
        rows.append([direction, str(found["queries"]), str(found["gallery"]), *cells, f"{found['chance_r1']:.4f}"])
    return _table(intro, ["direction", "queries", "gallery", *names, "chance R@1"], rows)


def _ranking(trained: Results) -> str:
    """The measures that look beyond the first positive; nothing where every direction is empty."""
    names = [name for name in _measures(trained) if not name.startswith(_FIRST)]
    several = any(found["positives"] > 1 for found in trained.values() if found)
    depths = next((list(found["product1m"]) for found in trained.values() if found and several), [])
    intro = "recall@k is the share of a query's positives among the first k" + (
        "; Product1M's mAP, mAR and Prec at N come last." if several else "; here every query has one."
    )
    rows = [
        [
            direction,
            f"{found['positives']:.2f}",
            *(f"{found[name]['value']:.3f}" for name in names),
            *(f"{found['product1m'][name]:.3f}" for name in depths),
            f"{found['tie_rate']:.1%}",
        ]
        for direction, found in trained.items()
        if found
    ]
    return _table(intro, ["direction", "positives", *names, *depths, "tied"], rows) if rows else ""


def _labels(labels: Mapping[str, Results]) -> str:
    rows = []
    for kind, tasks in labels.items():
        for name, task in tasks.items():
            found = task["trained"]
            probe = found["probe"]
            rows.append(
                [
                    f"{_KINDS[kind]}{name}",
                    str(task["products"]),
                    str(task["labels"]),
                    f"**{found['accuracy']['value']:.3f}** "
                    f"[{found['accuracy']['low']:.3f}, {found['accuracy']['high']:.3f}]",
                    *(f"{found[f'macro_{one}']:.3f}" for one in ("precision", "recall", "f1")),
                    f"{found['micro_f1']:.3f}",
                    f"{task['majority']:.3f}",
                    f"{task['chance']:.3f}",
                    f"{probe['accuracy']['value']:.3f} ({probe['products']})" if probe else "",
                ]
            )
    intro = "Labels from pictures only. Zero-shot: the nearest label text; probe: logistic regression on train."
    head = ["task", "products", "labels", "accuracy", "macro P", "macro R", "macro F1", "micro F1"]
    return _table(intro, [*head, "majority", "chance", "probe accuracy (asked)"], rows) if rows else ""


def _targets(targets: Results) -> str:
    intro = "Mixed gallery of texts, pictures and products: how often the top hit is of the kind asked for."
    rows = [
        [
            direction,
            found["view"],
            f"{found['hit_rate']['value']:.3f}",
            f"{found['chance']:.3f}",
            f"{found['R@1']['value']:.3f}",
            f"{found['any_kind_R@1']['value']:.3f}",
        ]
        for direction, found in targets.items()
    ]
    return _table(intro, ["direction", "asks for", "hit rate", "chance", "R@1", "R@1, any kind"], rows) if rows else ""


def _health(health: Mapping[str, Results]) -> str:
    rows = [
        [
            model,
            name,
            str(found["vectors"]),
            f"{found['mean_cosine']:.4f}",
            f"{found['effective_rank']:.1f} of {found['dim']}",
            f"{found['uniformity']:.2f}",
            "; ".join(found["reasons"]) or "no",
        ]
        for model, sets in health.items()
        for name, found in sets.items()
    ]
    head = ["model", "embeddings", "vectors", "mean cosine", "effective rank", "uniformity", "collapsed"]
    return _table("Embeddings.", head, rows) if rows else ""


def _measures(directions: Results) -> list[str]:
    """Names of the measures that have an interval, in their own order."""
    found: Results = next(filter(None, directions.values()), {})
    return [name for name, entry in found.items() if isinstance(entry, Mapping) and "low" in entry]


def _table(intro: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|---|" + "---:|" * (len(head) - 1)
    lines = [intro, "", f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"
