"""What a run of ``moon-train`` measured: as data for ``summary.json``, and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from moon.steps import outcome
from pipelines.local import TaskRun


def collect(folders: Mapping[str, Path]) -> dict[str, Any]:
    """The results that the steps left in their folders; a step that did not run is left out."""
    results = {name: outcome.read(folder) for name, folder in folders.items() if (folder / outcome.METRICS).is_file()}
    evaluation, deployment, drift = (results.get(name, {}) for name in ("evaluate", "deploy", "drift"))
    return {
        "gate": results.get("gate"),
        "validation": results.get("validate"),
        "regions": results.get("regions"),
        "training": results.get("train"),
        "retrieval": evaluation.get("retrieval"),
        "labels": evaluation.get("labels"),
        "endpoint": deployment.get("answers"),
        "canary": results.get("canary"),
        "replay": results.get("replay"),
        "drift": drift.get("decisions"),
    }


def steps(tasks: Iterable[TaskRun]) -> dict[str, dict[str, Any]]:
    """What every task took."""
    taken: dict[str, dict[str, Any]] = {}
    for task in tasks:  # one that runs for each share has several
        known = taken.setdefault(task.name, {"seconds": 0.0, "cached": True})
        known["seconds"] = round(known["seconds"] + task.seconds, 2)
        known["cached"] &= task.cached
    return taken


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Prints the tables that a run ends with."""
    if summary.get("retrieval"):
        console.print(_retrieval(summary["retrieval"]))
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(summary):
        facts.add_row(name, text)
    console.print(facts)


def _retrieval(retrieval: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="Retrieval, with confidence intervals", title_justify="left", box=box.SIMPLE, padding=0)
    for heading in ("direction", "queries", "R@1", "R@10", "untrained R@10", "MRR", "chance R@1"):
        table.add_column(heading, justify="left" if heading == "direction" else "right", no_wrap=True)
    for direction, trained in retrieval["trained"].items():
        if trained is None:
            continue
        untrained = retrieval["untrained"][direction]
        intervals = map(_interval, (trained.get("R@1"), trained.get("R@10"), untrained.get("R@10")))
        mrr, chance = trained["MRR"]["value"], trained["chance_r1"]
        table.add_row(direction, str(trained["queries"]), *intervals, f"{mrr:.3f}", f"{chance:.3f}")
    return table


def _interval(measure: Mapping[str, float] | None) -> str:
    return "" if measure is None else f"{measure['value']:.3f} [{measure['low']:.2f}, {measure['high']:.2f}]"


def _facts(summary: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The other results, one line each."""
    if regions := summary.get("regions"):
        scored = f"; mean IoU {regions['mean_iou']:.3f}, CorLoc {regions['corloc']:.3f}" if regions["scored"] else ""
        yield "core regions", f"{regions['images']} pictures, {regions['fallback_share']:.0%} without one{scored}"
    if gate := summary.get("gate"):
        yield "gate", "passed" if gate["passed"] else "not passed"
    if canary := summary.get("canary"):
        beside = f"beside {canary['stable']}" if canary["stable"] not in ("", canary["canary"]) else "alone"
        yield "canary", f"{canary['canary']}, tried {beside}: {canary['verdict']}"
    for kind, answer in (summary.get("endpoint") or {}).items():
        best = answer["top5"][0]
        place = "in" if answer["bought_in_top5"] else "not in"
        latency = answer["latency_ms"]["search"]
        yield f"search by {kind}", f"'{best['title']}' first, the bought one {place} the top 5, {latency:.0f} ms"
    for window, decision in (summary.get("drift") or {}).items():
        yield f"traffic '{window}'", "; ".join([decision["decision"], *decision["reasons"][:1]])
