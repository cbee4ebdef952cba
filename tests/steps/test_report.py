from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from moon.catalog.schema import DUPLICATES, LEAKS, PRODUCTS, REJECTED
from moon.catalog.store import Catalog, read_table, write_table
from moon.config import EvaluationParams, GateParams
from moon.steps import evaluate, gate, report

NASTY = '<script>alert("moon")</script><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Tags with their attributes, the text, and whether every element was closed."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.source = [], "", [], text
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += "" if self.open[-1:] == ["style"] else data

    def ids(self, tag=None):
        return [attributes["id"] for name, attributes in self.tags if "id" in attributes and name == (tag or name)]


@pytest.fixture(scope="module")
def finished(tiny_catalog, tiny_regions, tiny_model, tmp_path_factory) -> dict[str, Path]:
    """A run folder: evaluation and gate are real, the other steps are as those steps write them."""
    root = tmp_path_factory.mktemp("run")
    names = ("evaluate", "gate", "train", "deploy", "replay", "drift", "validate", "duplicates", "mine")
    steps = {"catalog": root / "catalog", "regions": tiny_regions} | {name: root / name for name in names}
    shutil.copytree(tiny_catalog, steps["catalog"])
    spoil(steps["catalog"])
    params = EvaluationParams(bootstrap_samples=20, max_queries=8, examples=6)
    evaluate.run(
        catalog=steps["catalog"],
        regions=tiny_regions,
        model=tiny_model,
        baseline=tiny_model,
        params=params,
        out=steps["evaluate"],
    )
    gate.run(evaluation=steps["evaluate"], params=GateParams(), out=steps["gate"])
    product = Catalog.open(steps["catalog"]).rows("products")[0]
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
        "duplicates": {"groups": 1},
        "mine": {"negatives": 41, "starved": 3},
    }
    for name, metrics in written.items():
        steps[name].mkdir()
        (steps[name] / "metrics.json").write_text(json.dumps(metrics))
    log = [{"step": step, "loss": 3.0 / step, "accuracy": 0.1 * step} for step in (1, 2)]
    (steps["train"] / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (steps["drift"] / "evidently.html").write_text("<html></html>")
    shutil.copytree(tiny_model, steps["train"] / "model")
    twins = [{"product_id": product["product_id"], "group_id": NASTY}, {"product_id": NASTY, "group_id": NASTY}]
    write_table(steps["duplicates"] / "duplicates", DUPLICATES, twins)
    leak = {"kind": "query_product", "id": "a", "split": "train", "other_id": "b", "other_split": NASTY}
    write_table(steps["duplicates"] / "leaks", LEAKS, [leak])
    examples = json.loads((steps["evaluate"] / "examples.json").read_text())
    examples[0]["query_text"] = examples[0]["top"][0]["title"] = NASTY
    (steps["evaluate"] / "examples.json").write_text(json.dumps(examples))
    return steps


def spoil(catalog: Path) -> None:
    """Makes a title, a category and a rejected row hostile."""
    rows = read_table(catalog / "products").to_pylist()
    rows[0]["title"], rows[0]["category_path"] = NASTY, [NASTY, *rows[0]["category_path"][1:]]
    write_table(catalog / "products", PRODUCTS, rows)
    write_table(catalog / "rejected", REJECTED, [dict.fromkeys(("table", "row_id", "reason", "detail"), NASTY)])


def read(result) -> Reader:
    reader = Reader(Path(result.report).read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def made(finished):
    result = report.run(steps=finished, out=finished["drift"].parent / "report")
    return result, read(result)


def test_everything_that_ran_has_its_section_and_its_place_in_the_contents(made):
    result, reader = made
    sections = set(reader.ids("section"))
    assert result.left_out == [] and set(result.sections) <= sections
    assert set(result.sections) == {
        *("retrieval", "categories", "examples", "confusions", "attention", "embeddings", "experts", "labels"),
        *("regions", "training", "gate", "endpoint", "drift", "data"),
    }
    links = {attributes.get("href", "") for tag, attributes in reader.tags if tag == "a"}
    assert {f"#{name}" for name in result.sections} <= links
    assert {link[1:] for link in links if link.startswith("#")} <= set(reader.ids()), "every link leads somewhere"
    assert len(reader.ids()) == len(set(reader.ids()))


def test_the_page_is_one_small_file(made):
    result, reader = made
    assert result.bytes == Path(result.report).stat().st_size < 5_000_000
    shown = [tag for tag, attributes in reader.tags if tag == "img" or attributes.get("class") == "photo"]
    assert 0 < len(shown) == result.pictures <= 400 and result.pictures_left_out == 0


def test_words_of_any_length_and_number_leave_the_page_small(finished, tmp_path):
    larger = tmp_path / "evaluate"
    shutil.copytree(finished["evaluate"], larger)
    slices, examples = (json.loads((larger / f"{name}.json").read_text()) for name in ("slices", "examples"))
    long = "x" * 5_000
    for example in examples:
        example["query_text"], example["top"] = long, [product | {"title": long} for product in example["top"]]
    for name, rows in slices.items():
        slices[name] = [row | {"category": f"{long}{n}", "path": [long, str(n)]} for row in rows for n in range(30)]
    (larger / "examples.json").write_text(json.dumps(examples * 10))
    (larger / "slices.json").write_text(json.dumps(slices))
    some = {name: folder for name, folder in finished.items() if name != "train"}
    result = report.run(steps=some | {"evaluate": larger}, out=tmp_path / "report")
    assert result.bytes < 2_500_000 and "xxxx…" in read(result).text


def test_page_loads_nothing_and_runs_nothing(made):
    _, reader = made
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "use"}
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") or name in ("srcset", "background") for name in attributes)
        loaded = attributes.get("src") or (attributes.get("href") if tag == "image" else None)
        assert loaded is None or loaded.startswith("data:image/webp;base64,")
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert {link for link in links if not link.startswith("#")} == {"../drift/evidently.html"}
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:[^\"]*", "", reader.source))


def test_hostile_words_are_shown_as_words(made):
    _, reader = made
    assert reader.text.count(NASTY) >= 12
    assert "<script" not in reader.source and "onerror=alert(1)>" not in reader.source


def test_every_picture_and_chart_says_what_it_shows(made):
    _, reader = made
    assert all(attributes.get("alt") for tag, attributes in reader.tags if tag == "img")
    charts = [place for place, (_, a) in enumerate(reader.tags) if a.get("role") == "img"]
    assert charts and all(reader.tags[place + 1][0] == "title" for place in charts)


def test_headings_go_down_one_level_at_a_time(made):
    levels = [int(tag[1]) for tag, _ in made[1].tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_numbers_are_those_of_the_files(finished, made):
    _, reader = made
    metrics = json.loads((finished["evaluate"] / "metrics.json").read_text())
    for model in ("trained", "untrained"):
        for found in filter(None, metrics["retrieval"][model].values()):
            for name in ("R@1", "R@10", "MRR"):
                one = found[name]
                assert f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" in reader.text
    assert "41" in reader.text and f"{metrics['queries']} distinct queries" in reader.text


def test_the_right_answer_is_framed(finished, made):
    _, reader = made
    frames = [a["class"] for tag, a in reader.tags if tag == "li" and "product" in a.get("class", "").split()]
    examples = json.loads((finished["evaluate"] / "examples.json").read_text())
    right = sum(product["product_id"] in example["bought"] for example in examples for product in example["top"])
    assert frames.count("product right") == right
    missed = sum(all(p["product_id"] not in e["bought"] for p in e["top"]) for e in examples)
    assert frames.count("product missed") == missed + 1, "and the endpoint's answer"


def test_boxes_are_drawn_where_the_tables_have_them(finished, made):
    drawn = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="box true"', made[1].source)
    true = {
        (f"{round(row['x0'], 1):g}", f"{round(row['y0'], 1):g}")
        for row in Catalog.open(finished["catalog"]).rows("boxes")
    }
    assert drawn and set(drawn) <= true


def test_steps_that_have_not_run_are_named_with_their_command(finished, tmp_path):
    some = {name: finished[name] for name in ("catalog", "evaluate")} | {"drift": tmp_path / "never"}
    result = report.run(steps=some, out=tmp_path / "report")
    text = read(result).text
    assert set(result.left_out) == {"attention", "regions", "training", "gate", "endpoint", "drift"}
    assert "Drift: left out, because the drift step has not run; run moon drift." in text
    assert "because the duplicates step has not run; run moon duplicates." in text
    nothing = report.run(steps={}, out=tmp_path / "empty")
    assert nothing.sections == [] and "nothing has run yet" in read(nothing).text


def test_files_that_a_step_did_not_write_are_named(finished, tmp_path):
    older = tmp_path / "evaluate"
    shutil.copytree(finished["evaluate"], older)
    for name in ("curves", "slices", "confusions", "map", "experts"):
        (older / f"{name}.json").unlink()
    metrics = json.loads((older / "metrics.json").read_text())
    for name in ("health", "collapsed", "modality"):
        del metrics[name]
    (older / "metrics.json").write_text(json.dumps(metrics))
    result = report.run(steps=finished | {"evaluate": older}, out=tmp_path / "report")
    text = read(result).text
    assert result.left_out == ["categories", "confusions", "embeddings", "experts"]
    assert (
        "By category: left out, because the evaluate step did not leave slices.json behind; run moon evaluate" in text
    )
    assert "no curves.json" in text


def test_one_model_alone_has_a_report(finished, tiny_model, tmp_path):
    evaluate.run(
        catalog=finished["catalog"],
        regions=finished["regions"],
        model=tiny_model,
        params=EvaluationParams(bootstrap_samples=10, max_queries=4, examples=2),
        out=tmp_path / "evaluate",
    )
    result = report.run(steps={"catalog": finished["catalog"], "evaluate": tmp_path / "evaluate"}, out=tmp_path / "out")
    assert "untrained" not in read(result).text and "categories" in result.sections


def test_without_the_catalogue_results_are_still_shown(finished, tmp_path):
    some = {name: folder for name, folder in finished.items() if name != "catalog"}
    result = report.run(steps=some, out=tmp_path / "report")
    assert "examples" in result.sections and result.left_out == ["attention", "regions", "data"]
    assert "no picture" in read(result).text


def test_no_link_leaves_the_run_folder(finished, tmp_path):
    links = [a["href"] for tag, a in read(report.run(steps=finished, out=tmp_path / "else")).tags if tag == "a"]
    assert all(link.startswith("#") for link in links)
