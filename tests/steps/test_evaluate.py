from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moon.catalog.store import Catalog, read_table
from moon.config import EvaluationParams
from moon.evaluation.tasks import DIRECTIONS
from moon.items import ItemSource
from moon.model import Embedder
from moon.steps import evaluate

PARAMS = EvaluationParams(bootstrap_samples=50, max_queries=12, examples=6)


@pytest.fixture(scope="module")
def evaluated(tiny_catalog, tiny_regions, tiny_model, tmp_path_factory) -> tuple[evaluate.EvaluationResult, Path]:
    """The same model as trained and as untrained."""
    out = tmp_path_factory.mktemp("evaluate")
    result = evaluate.run(
        catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, baseline=tiny_model, params=PARAMS, out=out
    )
    return result, out


def test_the_same_model_twice_measures_the_same(evaluated):
    result, _ = evaluated
    assert result.retrieval["trained"] == result.retrieval["untrained"]
    for task in [*result.labels["category"].values(), *result.labels["attributes"].values()]:
        assert task["trained"] == task["untrained"]


def test_every_direction_is_measured_within_its_bounds(evaluated):
    result, _ = evaluated
    assert list(result.retrieval["trained"]) == [direction.name for direction in DIRECTIONS]
    for measured in filter(None, result.retrieval["trained"].values()):
        recalls = [measured[f"R@{k}"] for k in PARAMS.ks]
        assert [r["value"] for r in recalls] == sorted(r["value"] for r in recalls)
        assert all(0 <= r["low"] <= r["value"] <= r["high"] <= 1 for r in [*recalls, measured["MRR"]])
        assert recalls[0]["value"] <= measured["MRR"]["value"] and measured["queries"] <= PARAMS.max_queries


def test_metrics_and_table_are_written(evaluated):
    result, out = evaluated
    stored = json.loads((out / "metrics.json").read_text())
    assert stored["retrieval"]["trained"] == result.retrieval["trained"] and stored["split"] == "test"
    table = (out / "table.md").read_text()
    assert all(direction.name in table for direction in DIRECTIONS)
    for part in table.split("\n\n"):
        columns = {line.count("|") for line in part.splitlines() if line.startswith("|")}
        assert len(columns) <= 1, "every row of a table has the same cells"


def test_examples_agree_with_the_log_and_the_ranks(evaluated, tiny_catalog):
    _, out = evaluated
    examples = json.loads((out / "examples.json").read_text())
    rows = [row for row in Catalog.open(tiny_catalog).rows("interactions") if row["split"] == "test"]
    assert len(examples) == PARAMS.examples
    for example in examples:
        scores = [product["score"] for product in example["top"]]
        assert scores == sorted(scores, reverse=True)
        correct = [place for place, product in enumerate(example["top"], start=1) if product["correct"]]
        assert correct[:1] == [example["rank"]] if example["rank"] <= len(scores) else not correct
        bought = {
            row["product_id"]
            for row in rows
            if row["query_image_id"] == example["query_image_id"]
            and (row["query_text"] or "").lower() == (example["query_text"] or "").lower()
        }
        assert set(example["bought"]) == bought


def test_the_whole_catalogue_is_embedded(evaluated, tiny_catalog, tiny_regions, tiny_model):
    result, out = evaluated
    table = read_table(out / "embeddings")
    products = Catalog.open(tiny_catalog).table("products", ["product_id"])
    assert table.column("id").to_pylist() == products.column("product_id").to_pylist()
    assert set(table.column("model_revision").to_pylist()) == {result.model_revision}
    source = ItemSource(tiny_catalog, tiny_regions)
    rows = table.to_pylist()
    vectors = Embedder.load(tiny_model).embed([source.product(row["id"]) for row in rows[:3] + rows[-3:]])
    np.testing.assert_allclose([row["vector"] for row in rows[:3] + rows[-3:]], vectors, atol=1e-4)


def test_an_unknown_split_names_those_there_are(tiny_catalog, tiny_regions, tiny_model, tmp_path):
    with pytest.raises(ValueError, match="'dev'.*test, train, val"):
        evaluate.run(
            catalog=tiny_catalog,
            regions=tiny_regions,
            model=tiny_model,
            baseline=tiny_model,
            params=EvaluationParams(split="dev"),
            out=tmp_path,
        )


def test_a_model_alone_measures_the_same(evaluated, tiny_catalog, tiny_regions, tiny_model, tmp_path):
    result, out = evaluated
    alone = evaluate.run(
        catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, params=PARAMS, out=tmp_path, embeddings=False
    )
    assert alone.retrieval == {"trained": result.retrieval["trained"]}
    assert "→" not in (tmp_path / "table.md").read_text() and not (tmp_path / "embeddings").exists()
    assert (tmp_path / "ranks.json").read_text() == (out / "ranks.json").read_text()


def test_ranks_by_query_agree_with_the_measures(evaluated):
    result, out = evaluated
    ranks = json.loads((out / "ranks.json").read_text())
    for direction, measured in result.retrieval["trained"].items():
        first = np.array(ranks[direction]["ranks"])
        assert len(set(ranks[direction]["query_ids"])) == len(first) == measured["queries"]
        for k in PARAMS.ks:
            assert np.mean(first <= k) == pytest.approx(measured[f"R@{k}"]["value"])


def test_what_the_report_draws_agrees_with_the_measures(evaluated):
    result, out = evaluated
    read = {name: json.loads((out / f"{name}.json").read_text()) for name in ("curves", "slices", "confusions", "map")}
    for direction, measured in result.retrieval["trained"].items():
        curve = read["curves"]["trained"][direction]["hit"]
        for k in PARAMS.ks:
            if k <= len(curve):
                assert curve[k - 1] == pytest.approx(measured[f"R@{k}"]["value"])
        top = [one for one in read["slices"][direction] if one["level"] == 1]
        assert sum(one["queries"] for one in top) == measured["queries"]
        total = sum(one["queries"] * one["trained"]["R@1"]["value"] for one in top)
        assert total / measured["queries"] == pytest.approx(measured["R@1"]["value"])
        wrong = read["confusions"][direction]
        assert wrong["wrong"] == pytest.approx(measured["queries"] * (1 - measured["R@1"]["value"]))
    shown = [point["id"] for point in read["map"]["points"] if point["kind"] == "product"]
    assert len(shown) == result.products and len(read["map"]["points"]) == result.products + result.queries


def test_expert_load_is_a_share_of_each_token_type(evaluated):
    _, out = evaluated
    for layers in json.loads((out / "experts.json").read_text()).values():
        for kinds in layers.values():
            assert set(kinds) == {"image", "crop", "title", "category", "attribute"}
            assert all(sum(shares) == pytest.approx(1) for shares in kinds.values())


def test_the_probe_answers_for_held_out_products_and_the_model_is_alive(evaluated, tiny_catalog):
    result, _ = evaluated
    rows = Catalog.open(tiny_catalog).rows("products", ["split"])
    probe = result.labels["attributes"]["colour"]["trained"]["probe"]
    assert probe["train_products"] <= sum(row["split"] == "train" for row in rows)
    assert 0 < probe["products"] <= sum(row["split"] == "test" for row in rows)
    assert result.collapsed == {"trained": False, "untrained": False}
