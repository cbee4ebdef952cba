"""Step: gathers what the other steps left behind into one self-contained HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from moon.catalog.store import Catalog, read_table
from moon.evaluation.report.html import Html, el, page
from moon.evaluation.report.operation import drift_section, endpoint_section, gate_section
from moon.evaluation.report.pictures import Pictures
from moon.evaluation.report.process import box_of, data_section, regions_section, spread_by_overlap, training_section
from moon.evaluation.report.quality import examples_section, labels_section, retrieval_section
from moon.evaluation.report.summary import summary_section
from moon.steps import outcome
from moon.vision.boxes import Box

REPORT: Final = "index.html"
_REGION_PICTURES: Final = 12


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """Where the page is and what it holds."""

    report: str
    """Path of the page."""
    sections: list[str]
    left_out: list[str]
    """Sections whose step has not run."""
    bytes: int


def run(*, steps: Mapping[str, Path], out: Path) -> ReportResult:
    """Writes ``out/index.html``.

    Args:
        steps: step name -> its output folder, and ``catalog`` -> the catalogue folder. A step that is missing, or has
            not finished in its folder, leaves its section out, and the page says so.
        out: where to write. Links to other pages are made where both lie in the same run folder.
    """
    run_ = _Run(steps, out)
    sections = {name: _section(run_, name) for name in _SECTIONS}
    left_out = [name for name, markup in sections.items() if markup is None]
    parts = [("summary", "", summary_section(run_.results))]
    parts += [(name, _SECTIONS[name].title, sections[name] or _absent(name)) for name in _SECTIONS]
    names = [("", "", markup) if name in left_out else (name, title, markup) for name, title, markup in parts]
    text = page("moon run report", _subtitle(run_.results), names)
    out.mkdir(parents=True, exist_ok=True)
    target = out / REPORT
    target.write_text(text, encoding="utf-8")
    shown = [name for name in sections if name not in left_out]
    size = len(text.encode())
    return outcome.save(out, ReportResult(report=str(target), sections=shown, left_out=left_out, bytes=size))


class _Run:
    """The outputs of the steps that have run."""

    def __init__(self, steps: Mapping[str, Path], out: Path) -> None:
        self._steps, self._out = steps, out
        self.results = {name: outcome.read(folder) for name, folder in steps.items() if _finished(folder)}

    def folder(self, step: str) -> Path:
        return self._steps[step]

    def link(self, step: str, file: str) -> str | None:
        """A relative link from the page to a file of a step, where both lie in one run folder."""
        path = self._steps[step] / file if step in self._steps else None
        if path is None or not path.is_file() or self._steps[step].resolve().parent != self._out.resolve().parent:
            return None
        return Path(os.path.relpath(path.resolve(), self._out.resolve())).as_posix()

    @cached_property
    def catalog(self) -> Catalog | None:
        return Catalog.open(self._steps["catalog"]) if "catalog" in self._steps else None

    @cached_property
    def pictures(self) -> Pictures:
        if self.catalog is None:
            return Pictures(lambda _: None, {})
        store = self.catalog.image_store()
        rows = self.catalog.rows("products", ["product_id", "title", "image_ids"])
        return Pictures(
            lambda image_id: store[image_id] if image_id in store else None, {row["product_id"]: row for row in rows}
        )


@dataclass(frozen=True)
class _Section:
    title: str
    steps: tuple[str, ...]
    """What must have run."""
    build: Callable[[_Run], Html]


def _section(run_: _Run, name: str) -> Html | None:
    section = _SECTIONS[name]
    return section.build(run_) if all(step in run_.results for step in section.steps) else None


def _absent(name: str) -> Html:
    section = _SECTIONS[name]
    needed = " and ".join(section.steps)
    return el("section", el("p", f"{section.title}: left out, because the {needed} step has not run."), class_="absent")


def _data(run_: _Run) -> Html:
    return data_section(run_.results["catalog"], run_.results.get("validate"), run_.link("validate", "docs/index.html"))


def _regions(run_: _Run) -> Html:
    truths: dict[str, list[Box]] = {}
    for row in run_.catalog.rows("boxes") if run_.catalog else ():
        truths.setdefault(row["image_id"], []).append(box_of(row))
    rows = read_table(run_.folder("regions") / "regions").to_pylist()
    shown = spread_by_overlap(rows, truths, _REGION_PICTURES)
    return regions_section(run_.results["regions"], shown, truths, run_.pictures)


def _training(run_: _Run) -> Html:
    path = run_.folder("train") / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return training_section(run_.results["train"], [json.loads(line) for line in lines if line.strip()])


def _examples(run_: _Run) -> Html:
    text = (run_.folder("evaluate") / "examples.json").read_text(encoding="utf-8")
    return examples_section(json.loads(text), run_.pictures)


def _endpoint(run_: _Run) -> Html:
    return endpoint_section(run_.results["deploy"], run_.results.get("replay"), run_.pictures)


def _drift(run_: _Run) -> Html:
    shift = run_.results.get("replay", {}).get("shift")
    return drift_section(run_.results["drift"], shift, run_.link("drift", "evidently.html"))


_SECTIONS: Final = {
    "retrieval": _Section("Retrieval", ("evaluate",), lambda run_: retrieval_section(run_.results["evaluate"])),
    "examples": _Section("Queries", ("evaluate",), _examples),
    "regions": _Section("Regions", ("regions", "catalog"), _regions),
    "training": _Section("Training", ("train",), _training),
    "labels": _Section("Labels", ("evaluate",), lambda run_: labels_section(run_.results["evaluate"])),
    "gate": _Section("Gate", ("gate",), lambda run_: gate_section(run_.results["gate"], run_.results.get("register"))),
    "endpoint": _Section("Endpoint", ("deploy",), _endpoint),
    "drift": _Section("Drift", ("drift",), _drift),
    "data": _Section("Data", ("catalog",), _data),
}
"""Sections in the order of the page."""


def _finished(folder: Path) -> bool:
    return (folder / outcome.METRICS).is_file()


def _subtitle(results: Mapping[str, Mapping[str, Any]]) -> str:
    words = []
    if "catalog" in results:
        words.append(f"{results['catalog'].get('products', '?')} products")
    if "evaluate" in results:
        words.append(f"model {results['evaluate']['model_revision']}")
    return " · ".join(words) or "nothing has run yet"
