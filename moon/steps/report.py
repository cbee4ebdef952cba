"""Step: gathers what the other steps left behind into one self-contained HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from moon.catalog.store import Catalog, read_table
from moon.evaluation.report.attention import attend, attention_section
from moon.evaluation.report.data import DataTables, data_section
from moon.evaluation.report.gallery import confusions_section, examples_section
from moon.evaluation.report.html import Html, Part, el, page, section
from moon.evaluation.report.inside import embeddings_section, experts_section
from moon.evaluation.report.operation import drift_section, endpoint_section, gate_section
from moon.evaluation.report.pictures import Pictures
from moon.evaluation.report.process import box_of, regions_section, spread_by_overlap, training_section
from moon.evaluation.report.quality import labels_section, retrieval_section
from moon.evaluation.report.slices import categories_section
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
    """Sections whose step has not run, or did not leave behind what they show."""
    bytes: int
    pictures: int
    """Pictures in the page."""
    pictures_left_out: int
    """Pictures that would have made the page too large."""


def run(*, steps: Mapping[str, Path], out: Path) -> ReportResult:
    """Writes ``out/index.html``.

    Args:
        steps: step name -> its output folder, and ``catalog`` -> the catalogue folder. A step that is missing, or has
            not finished in its folder, leaves its sections out, and the page says so.
        out: where to write. Links to other pages are made where both lie in the same run folder.
    """
    run_ = _Run(steps, out)
    built = {name: None if found.lacks(run_) else found.build(run_) for name, found in _SECTIONS.items()}
    parts = [Part("summary", "", summary_section(run_.results))]
    parts += [Part(name, _SECTIONS[name].title, markup) for name, markup in built.items() if markup is not None]
    left_out = {name: _SECTIONS[name] for name, markup in built.items() if markup is None}
    if left_out:
        parts.append(Part("left-out", "Left out", _left_out(run_, left_out.values())))
    text = page("moon run report", _subtitle(run_.results), parts)
    out.mkdir(parents=True, exist_ok=True)
    target = out / REPORT
    target.write_text(text, encoding="utf-8")
    return outcome.save(
        out,
        ReportResult(
            report=str(target),
            sections=[name for name in built if name not in left_out],
            left_out=list(left_out),
            bytes=len(text.encode()),
            pictures=run_.pictures.shown,
            pictures_left_out=run_.pictures.left_out,
        ),
    )


class _Run:
    """The outputs of the steps that have run."""

    def __init__(self, steps: Mapping[str, Path], out: Path) -> None:
        self._steps, self._out = steps, out
        self.results = {name: outcome.read(folder) for name, folder in steps.items() if _finished(folder)}

    def has(self, needed: str) -> bool:
        """Whether a step has finished and left a file or folder behind; ``needed`` is STEP or STEP/NAME."""
        step, _, name = needed.partition("/")
        return step in self.results and (not name or (self.folder(step) / name).exists())

    def folder(self, step: str) -> Path:
        return self._steps[step]

    def json(self, step: str, name: str) -> Any:
        return json.loads((self.folder(step) / name).read_text(encoding="utf-8"))

    def rows(self, step: str, table: str) -> list[dict[str, Any]]:
        """A table of a step; nothing where it has not written it."""
        folder = self._steps[step] / table if step in self._steps else None
        if folder is None or not any(folder.glob("part-*.parquet")):
            return []
        rows: list[dict[str, Any]] = read_table(folder).to_pylist()
        return rows

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
    needs: tuple[str, ...]
    """What must be there, as for `_Run.has`."""
    build: Callable[[_Run], Html]

    def lacks(self, run_: _Run) -> str:
        """The first thing that is missing."""
        return next((needed for needed in self.needs if not run_.has(needed)), "")


def _left_out(run_: _Run, sections: Iterable[_Section]) -> Html:
    """One line for each section that is not there, with the command that would bring it."""
    lines = []
    for one in sections:
        lacking = one.lacks(run_)
        step, _, name = lacking.partition("/")
        why = f"the {step} step has not run"
        if step in run_.results:
            why = f"the {step} step did not leave {name} behind"
        command = el("code", f"moon {_COMMANDS.get(step, step)}")
        lines.append(el("li", el("b", one.title), f": left out, because {why}; run ", command, "."))
    return section("left-out", "Left out", el("ul", lines, class_="plain"))


def _retrieval(run_: _Run) -> Html:
    curves = run_.json("evaluate", "curves.json") if run_.has("evaluate/curves.json") else None
    return retrieval_section(run_.results["evaluate"], curves)


def _attention(run_: _Run) -> Html:
    from moon.items import ItemSource
    from moon.model import Embedder

    embedder = Embedder.load(run_.folder("train") / "model")
    source = ItemSource(run_.folder("catalog"), run_.folder("regions"), embedder.processor.max_images)
    boxes = {row["image_id"]: box_of(row) for row in run_.rows("regions", "regions")}
    attended = attend(embedder, source, run_.json("evaluate", "examples.json"), boxes, run_.pictures)
    return attention_section(attended, run_.pictures)


def _regions(run_: _Run) -> Html:
    truths: dict[str, list[Box]] = {}
    for row in run_.rows("catalog", "boxes"):
        truths.setdefault(row["image_id"], []).append(box_of(row))
    shown = spread_by_overlap(run_.rows("regions", "regions"), truths, _REGION_PICTURES)
    return regions_section(run_.results["regions"], shown, truths, run_.pictures)


def _training(run_: _Run) -> Html:
    path = run_.folder("train") / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    log = [json.loads(line) for line in lines if line.strip()]
    return training_section(run_.results["train"], log, run_.results.get("mine"))


def _drift(run_: _Run) -> Html:
    shift = run_.results.get("replay", {}).get("shift")
    return drift_section(run_.results["drift"], shift, run_.link("drift", "evidently.html"))


def _data(run_: _Run) -> Html:
    assert run_.catalog is not None
    tables = DataTables(
        products=run_.catalog.rows("products", ["split"]),
        interactions=run_.catalog.rows("interactions", ["split", "query_text", "query_image_id"]),
        rejected=run_.catalog.rows("rejected"),
        duplicates=run_.rows("duplicates", "duplicates"),
        leaks=run_.rows("duplicates", "leaks"),
        metrics=run_.results.get("duplicates", {}),
    )
    docs = run_.link("validate", "docs/index.html")
    return data_section(run_.results["catalog"], run_.results.get("validate"), docs, tables, run_.pictures)


_SECTIONS: Final = {
    "retrieval": _Section("Retrieval", ("evaluate",), _retrieval),
    "categories": _Section(
        "By category",
        ("evaluate", "evaluate/slices.json"),
        lambda run_: categories_section(run_.json("evaluate", "slices.json")),
    ),
    "examples": _Section(
        "Queries",
        ("evaluate", "evaluate/examples.json"),
        lambda run_: examples_section(run_.json("evaluate", "examples.json"), run_.pictures),
    ),
    "confusions": _Section(
        "Confusions",
        ("evaluate", "evaluate/confusions.json"),
        lambda run_: confusions_section(run_.json("evaluate", "confusions.json"), run_.pictures),
    ),
    "attention": _Section(
        "Attention", ("evaluate", "evaluate/examples.json", "train", "train/model", "regions", "catalog"), _attention
    ),
    "embeddings": _Section(
        "Embedding map",
        ("evaluate", "evaluate/map.json"),
        lambda run_: embeddings_section(run_.json("evaluate", "map.json"), run_.results["evaluate"]),
    ),
    "experts": _Section(
        "Experts",
        ("evaluate", "evaluate/experts.json"),
        lambda run_: experts_section(run_.json("evaluate", "experts.json")),
    ),
    "labels": _Section("Labels", ("evaluate",), lambda run_: labels_section(run_.results["evaluate"])),
    "regions": _Section("Core regions", ("regions", "catalog"), _regions),
    "training": _Section("Training", ("train",), _training),
    "gate": _Section("Gate", ("gate",), lambda run_: gate_section(run_.results["gate"], run_.results.get("register"))),
    "endpoint": _Section(
        "Endpoint",
        ("deploy",),
        lambda run_: endpoint_section(run_.results["deploy"], run_.results.get("replay"), run_.pictures),
    ),
    "drift": _Section("Drift", ("drift",), _drift),
    "data": _Section("Data health", ("catalog",), _data),
}
"""Sections in the order of the page."""
_COMMANDS: Final = {"catalog": "render or moon import"}
"""Commands that are not named after their step."""


def _finished(folder: Path) -> bool:
    return (folder / outcome.METRICS).is_file()


def _subtitle(results: Mapping[str, Mapping[str, Any]]) -> str:
    words = []
    if "catalog" in results:
        words.append(f"{results['catalog'].get('products', '?')} products")
    if "evaluate" in results:
        words.append(f"model {results['evaluate']['model_revision']}")
    return " · ".join(words) or "nothing has run yet"
