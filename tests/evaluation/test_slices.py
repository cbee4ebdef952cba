from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.confusions import confusions
from moon.evaluation.projection import embedding_map
from moon.evaluation.ranking import rank_scores
from moon.evaluation.slices import curve, slices
from moon.evaluation.tasks import Benchmark, Query

PARAMS = EvaluationParams(bootstrap_samples=50, ks=(1, 2))
IDS = [f"p{number}" for number in range(6)]
PATHS = {
    "p0": ["Fruit", "Apples"], "p1": ["Fruit", "Apples"], "p2": ["Fruit", "Pears"],
    "p3": ["Dairy"], "p4": ["Dairy"], "p5": [],
}  # fmt: skip


def query(number, *positives):
    return Query(query_id=f"q{number}", text=f"text {number}", image_id=None, positives=positives)


QUERIES = [query(0, "p0"), query(1, "p0"), query(2, "p2"), query(3, "p3", "p4"), query(4, "p5")]
SCORES = np.array(
    [
        [6, 5, 4, 3, 2, 1],
        [5, 4, 6, 3, 2, 1],
        [6, 5, 4, 3, 2, 1],
        [6, 1, 2, 3, 5, 4],
        [1, 2, 3, 4, 5, 6],
    ],
    dtype=np.float64,
)
RANKS = rank_scores(SCORES, IDS, [one.positives for one in QUERIES])


def test_slices_add_up_to_the_whole():
    clusters = [one.positives[0] for one in QUERIES]
    found = slices({"trained": RANKS}, clusters, [PATHS[one] for one in clusters], PARAMS)
    assert [(one["level"], one["category"], one["queries"], one["products"]) for one in found] == [
        (1, "Fruit", 3, 2), (1, "Dairy", 1, 1), (2, "Apples", 2, 1), (2, "Pears", 1, 1),
    ]  # fmt: skip
    apples, pears = found[2], found[3]
    assert apples["path"] == ["Fruit", "Apples"]
    for name in ("R@1", "R@2", "MRR"):
        fruit = (2 * apples["trained"][name]["value"] + pears["trained"][name]["value"]) / 3
        assert found[0]["trained"][name]["value"] == pytest.approx(fruit)
    assert found[1]["chance"]["R@1"] == pytest.approx(2 / 6)


def test_a_curve_rises_to_one_and_passes_through_the_measures():
    found = curve(RANKS, 6)
    assert found["hit"] == sorted(found["hit"]) and found["hit"][-1] == found["recall"][-1] == 1
    assert found["hit"][1] == pytest.approx(RANKS.hits(2).mean())
    assert all(recall <= hit for recall, hit in zip(found["recall"], found["hit"], strict=True))
    assert found["chance"] == sorted(found["chance"]) and found["chance"][-1] == pytest.approx(1)


def test_confusions_count_what_stands_first_in_place_of_a_right_product():
    found = confusions(RANKS, QUERIES, IDS, PATHS)
    assert found["queries"] == 5 and found["wrong"] == 3
    pairs = {(pair["bought"], pair["found"]): pair for pair in found["pairs"]}
    assert {names: pair["count"] for names, pair in pairs.items()} == {
        ("Apples", "Pears"): 1, ("Pears", "Apples"): 1, ("Dairy", "Apples"): 1,
    }  # fmt: skip
    case = pairs["Dairy", "Apples"]["examples"][0]
    assert (case["query_id"], case["bought"], case["found"], case["rank"]) == ("q3", "p4", "p0", 2)
    assert sum(pair["share"] for pair in found["pairs"]) == pytest.approx(1)
    assert confusions(RANKS, QUERIES, IDS, PATHS, pairs=1)["pairs"] == found["pairs"][:1]


def benchmark():
    queries = {"text": QUERIES, "image": [], "both": []}
    return Benchmark(
        split="test", gallery_rule="all", gallery={"multimodal": IDS}, queries=queries, skipped={}, own_pictures=0
    )


def test_the_map_shows_products_and_queries_on_the_main_axes():
    rng = np.random.default_rng(0)
    products = np.zeros((6, 4), np.float32)
    products[:, 2], products[:, 0] = [-3, -2, -1, 1, 2, 3], [1, -1, 0, 0, 1, -1]
    queries = {"text": rng.normal(size=(5, 4)).astype(np.float32), "image": np.zeros((0, 4)), "both": np.zeros((0, 4))}
    drawn = embedding_map(benchmark(), products, queries, PATHS, seed=0)
    shown = [one for one in drawn["points"] if one["kind"] == "product"]
    assert [one["id"] for one in shown] == IDS and len(drawn["points"]) == 11
    assert np.corrcoef([one["x"] for one in shown], products[:, 2])[0, 1] == pytest.approx(1, abs=1e-3)
    assert drawn["explained"][0] > drawn["explained"][1] > 0 and sum(drawn["explained"]) == pytest.approx(1)
    assert shown[5]["category"] == shown[5]["fine"] == "(no category)" and shown[0]["fine"] == "Apples"
    few = embedding_map(benchmark(), products, queries, PATHS, seed=0, points=4)["points"]
    assert [one["kind"] for one in few] == ["product"] * 2 + ["query"] * 2
