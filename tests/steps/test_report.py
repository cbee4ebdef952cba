from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from moon.catalog.store import Catalog
from moon.config import EvaluationParams, GateParams
from moon.evaluation.report.pictures import MAX_SIDE, thumbnail
from moon.steps import evaluate, gate, report

NASTY = '<script>alert("moon")</script><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Tags with their attributes, the text, and whether every element was closed."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(tiny_catalog, tiny_regions, tiny_model, tmp_path_factory) -> dict[str, Path]:
    """A run folder: evaluation and gate are real, the later steps are as those steps write them."""
    root = tmp_path_factory.mktemp("run")
    steps = {"catalog": tiny_catalog, "regions": tiny_regions}
    steps |= {name: root / name for name in ("evaluate", "gate", "train", "deploy", "replay", "drift", "validate")}
    params = EvaluationParams(bootstrap_samples=20, max_queries=8, examples=6)
    evaluate.run(
        catalog=tiny_catalog,
        regions=tiny_regions,
        model=tiny_model,
        baseline=tiny_model,
        params=params,
        out=steps["evaluate"],
    )
    gate.run(evaluation=steps["evaluate"], params=GateParams(), out=steps["gate"])
    product = Catalog.open(tiny_catalog).rows("products")[0]
    answer = {
        "query_text": NASTY,
        "query_image_id": None,
        "bought_product_id": product["product_id"],
        "top5": [{"product_id": "not in the catalogue", "title": NASTY, "score": 0.5}],
        "latency_ms": {"search": 3.2},
    }
    test = {"name": NASTY, "adjusted": 0.002, "drifted": True}
    decision = {"decision": "retrain", "reasons": [NASTY], "p_value": 0.002, "auc": 0.93, "window_rows": 300}
    written = {
        "train": {"steps": 2, "interactions": 9, "seconds": 1.5, "pairs_per_second": 3.0},
        "deploy": {"model_revision": "abc", "ready_seconds": 2.0, "answers": {"text": answer}},
        "replay": {"windows": {"reference": 300}, "errors": 0, "p50_ms": 8.0, "p95_ms": 20.0, "shift": "dark-photos"},
        "drift": {"decisions": {"shifted": {**decision, "alpha": 0.05, "tests": [test]}}},
        "validate": {"passed": True, "failures": [], "warnings": [NASTY]},
    }
    for name, metrics in written.items():
        steps[name].mkdir()
        (steps[name] / "metrics.json").write_text(json.dumps(metrics))
    log = [{"step": step, "loss": 3.0 / step, "accuracy": 0.1 * step} for step in (1, 2)]
    (steps["train"] / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (steps["drift"] / "evidently.html").write_text("<html></html>")
    examples = json.loads((steps["evaluate"] / "examples.json").read_text())
    examples[0]["query_text"] = examples[0]["top"][0]["title"] = NASTY
    (steps["evaluate"] / "examples.json").write_text(json.dumps(examples))
    return steps


def read(result) -> Reader:
    reader = Reader(Path(result.report).read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def test_everything_that_ran_has_its_section(finished):
    result = report.run(steps=finished, out=finished["drift"].parent / "report")
    ids = {attributes.get("id") for tag, attributes in read(result).tags if tag == "section"}
    assert result.left_out == [] and set(result.sections) <= ids
    assert result.bytes == Path(result.report).stat().st_size < 6_000_000


def test_page_loads_nothing_and_runs_nothing(finished):
    reader = read(report.run(steps=finished, out=finished["drift"].parent / "report"))
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:image/jpeg;base64,") or "src" not in attributes
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert {link for link in links if not link.startswith("#")} == {"../drift/evidently.html"}
    assert reader.text.count(NASTY) >= 5


def test_pictures_are_small_and_the_right_answer_is_framed(finished):
    reader = read(report.run(steps=finished, out=finished["drift"].parent / "report"))
    assert any(tag == "img" for tag, _ in reader.tags)
    frames = [a["class"] for tag, a in reader.tags if tag == "div" and "product" in a.get("class", "").split()]
    examples = json.loads((finished["evaluate"] / "examples.json").read_text())
    right = sum(product["product_id"] in example["bought"] for example in examples for product in example["top"])
    assert frames.count("product right") == right
    catalog = Catalog.open(finished["catalog"])
    image_id, data = next(catalog.images())
    uri, size = thumbnail(data)
    row = next(row for row in catalog.rows("images", ["image_id", "width", "height"]) if row["image_id"] == image_id)
    assert size == (row["width"], row["height"]) and len(uri) < 4 / 3 * 3 * MAX_SIDE**2


def test_boxes_are_drawn_where_the_tables_have_them(finished):
    text = Path(report.run(steps=finished, out=finished["drift"].parent / "report").report).read_text()
    drawn = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="box true"', text)
    true = {
        (f"{round(row['x0'], 1):g}", f"{round(row['y0'], 1):g}")
        for row in Catalog.open(finished["catalog"]).rows("boxes")
    }
    assert drawn and set(drawn) <= true


def test_steps_that_have_not_run_are_named(finished, tmp_path):
    some = {name: finished[name] for name in ("catalog", "evaluate")} | {"drift": tmp_path / "never"}
    result = report.run(steps=some, out=tmp_path / "report")
    text = read(result).text
    assert set(result.left_out) == {"regions", "training", "gate", "endpoint", "drift"}
    assert "Drift: left out, because the drift step has not run." in text
    nothing = report.run(steps={}, out=tmp_path / "empty")
    assert nothing.sections == [] and "nothing has run yet" in read(nothing).text


def test_without_the_catalogue_results_are_still_shown(finished, tmp_path):
    some = {name: folder for name, folder in finished.items() if name != "catalog"}
    result = report.run(steps=some, out=tmp_path / "report")
    assert "examples" in result.sections and result.left_out == ["regions", "data"]
    assert "no picture" in read(result).text


def test_no_link_leaves_the_run_folder(finished, tmp_path):
    links = [a["href"] for tag, a in read(report.run(steps=finished, out=tmp_path / "else")).tags if tag == "a"]
    assert all(link.startswith("#") for link in links)
