from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.product1m import product1m
from moon.evaluation.ranking import rank_scores
from moon.evaluation.summary import rank_direction, summarise
from moon.evaluation.tasks import DIRECTIONS, build_benchmark

PRODUCTS = [
    {"product_id": "a", "image_ids": ["a1"], "split": "train"},
    {"product_id": "b", "image_ids": ["b1"], "split": "test"},
    {"product_id": "c", "image_ids": ["c1"], "split": "test"},
    {"product_id": "d", "image_ids": [], "split": "test"},
]
PICTURES = ["a1", "b1", "c1", "q1", "q2"]


def log(*rows):
    """Interactions from (text, photo, product, split)."""
    return [
        {"query_id": f"q{number}", "query_text": text, "query_image_id": photo, "product_id": product, "split": split}
        for number, (text, photo, product, split) in enumerate(rows)
    ]


def same(row):
    return (row["query_text"] or "").lower(), row["query_image_id"]


def benchmark(interactions, **options):
    return build_benchmark(PRODUCTS, interactions, PICTURES, same, EvaluationParams(**options))


def test_queries_are_sorted_by_what_they_ask_with():
    found = benchmark(log(("mug", None, "b", "test"), ("mug", "q1", "b", "test"), (None, "q1", "c", "test")))
    assert {name: [query.row["query_id"] for query in group] for name, group in found.queries.items()} == {
        "text": ["q0"],
        "image": ["q2"],
        "both": ["q1"],
    }
    assert {query.modality for query in found.queries["both"]} == {"both"}


def test_same_query_is_asked_once_and_all_its_purchases_are_right():
    found = benchmark(log(("Mug", None, "c", "test"), ("mug", None, "b", "test"), ("mug", None, "b", "test")))
    (query,) = found.queries["text"]
    assert query.positives == ("b", "c") and query.text == "Mug"


def test_purchases_of_the_same_query_in_another_split_are_no_candidates():
    found = benchmark(log(("mug", None, "a", "train"), ("mug", None, "b", "test")), gallery="all")
    (query,) = found.queries["text"]
    assert query.positives == ("b",) and query.known == ("a",)
    vectors = np.eye(4)
    ranks = rank_direction([query], vectors[:1], found.gallery["multimodal"], vectors)
    assert ranks.first.tolist() == [3], "b ties with c and d, whose ids are greater; a is nearer but left out"


def test_split_auto_prefers_test_then_val_and_an_unknown_one_is_refused():
    both = log(("x", None, "b", "val"), ("y", None, "b", "test"))
    assert benchmark(both).split == "test"
    assert benchmark(both[:1]).split == "val"
    with pytest.raises(ValueError, match="'tset'.*splits with interactions: test, val"):
        benchmark(both, split="tset")
    with pytest.raises(ValueError, match="none"):
        benchmark([])


def test_gallery_rules():
    inside, outside = log(("x", None, "b", "test")), log(("x", None, "a", "test"))
    assert benchmark(inside).gallery["multimodal"] == ["b", "c", "d"]
    assert benchmark(inside).gallery_rule == "held_out"
    assert benchmark(outside).gallery["multimodal"] == ["a", "b", "c", "d"]
    assert benchmark(inside, gallery="all").gallery_rule == "all"
    with pytest.raises(ValueError, match="instance 'a'"):
        benchmark(outside, gallery="held_out")
    with pytest.raises(ValueError, match="got 'some'"):
        benchmark(inside, gallery="some")


def test_a_product_without_pictures_leaves_the_image_gallery_only():
    found = benchmark(log(("x", None, "d", "test"), ("y", None, "b", "test")))
    assert found.gallery["image"] == ["b", "c"] and "d" in found.gallery["multimodal"]
    asked = {direction.name: found.answerable(direction) for direction in DIRECTIONS}
    assert asked["text->product"] == [0, 1] and asked["text->image"] == [1] and asked["image->product"] == []


def test_what_cannot_be_asked_is_counted():
    rows = log(
        ("x", None, "b", "test"), ("x", None, "gone", "test"), (None, "lost", "b", "test"), ("  ", None, "b", "test")
    )
    assert benchmark(rows).skipped == {
        "bought product is not in the catalogue": 1,
        "query photo is not in the catalogue": 1,
        "query has neither text nor photo": 1,
    }
    assert benchmark(log(*[(str(n), None, "b", "test") for n in range(9)]), max_queries=4).skipped == {
        "queries above max_queries": 5
    }


def test_photos_that_are_a_picture_of_the_product_are_counted():
    assert benchmark(log((None, "b1", "b", "test"), (None, "q1", "b", "test"))).own_pictures == 1


def test_sample_depends_on_the_seed_only():
    rows = log(*[(str(number), None, "b", "test") for number in range(50)])

    def texts(seed):
        return [query.text for query in benchmark(rows, max_queries=10, seed=seed).queries["text"]]

    assert texts(1) == texts(1) != texts(2)
    assert texts(1) == sorted(texts(1), key=int) and len(set(texts(1))) == 10


def test_chance_is_what_random_scores_reach():
    rng = np.random.default_rng(3)
    rows = log(("x", None, "b", "test"), ("x", None, "c", "test"), ("y", None, "d", "test"), ("y", None, "a", "train"))
    found = benchmark(rows, gallery="all", ks=(1, 2, 50))
    queries, gallery = found.queries["text"], found.gallery["multimodal"]
    rounds = 4000
    ranks = rank_scores(
        rng.random((2 * rounds, 4)),
        gallery,
        [query.positives for query in queries] * rounds,
        [query.known for query in queries] * rounds,
    )
    summary = summarise(ranks, list(queries) * rounds, gallery, EvaluationParams(ks=(1, 2, 50), bootstrap_samples=2))
    assert summary["chance_r1"] == pytest.approx((2 / 4 + 1 / 3) / 2)
    for k in (1, 2, 50):
        assert summary["chance"][f"R@{k}"] == pytest.approx(ranks.hits(k).mean(), abs=0.02)
    assert summary["queries"] == 2 * rounds and summary["products"] == 2


def test_products_that_are_the_same_are_one_instance_for_product1m():
    log_ = log(("mug", None, "b", "test"), ("mug", None, "c", "test"), ("mug", None, "d", "test"))
    options = EvaluationParams(bootstrap_samples=2)
    found = build_benchmark(PRODUCTS, log_, PICTURES, same, options, same=[("c", "d"), ("x", "b"), ("y", "x")])
    assert found.instances == {"b": "b", "x": "b", "y": "b", "c": "c", "d": "c"}
    gallery = found.gallery["multimodal"]
    ranks = rank_scores(np.array([[1.0, 3.0, 2.0]]), gallery, [("b", "c", "d")])
    alone = product1m(ranks, gallery, (2,))
    together = product1m(ranks, [found.instances[one] for one in gallery], (2,))
    assert alone["mAR@2"] == pytest.approx(2 / 3) and together["mAR@2"] == 1 / 2
    assert summarise(ranks, found.queries["text"], gallery, options, found.instances)["product1m"]["mAP@10"] == 1
