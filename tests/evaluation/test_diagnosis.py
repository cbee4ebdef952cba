"""A collapsed model, seen through everything that the evaluate step makes of its embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.diagnosis import health_of, modality_of
from moon.evaluation.labels import baselines, label_tasks
from moon.evaluation.measure import Embedded, label_prediction, rank_all, retrieval
from moon.evaluation.table import markdown
from moon.evaluation.tasks import build_benchmark

COUNT = 24
PARAMS = EvaluationParams(bootstrap_samples=20)
PRODUCTS = [
    {
        "product_id": f"p{number:02d}",
        "image_ids": [f"i{number:02d}"],
        "split": "test",
        "category_path": ["Home", "Mugs" if number % 2 else "Lamps"],
        "attributes": {"colour": ["red", "blue", "green"][number % 3 : number % 3 + 1]},
    }
    for number in range(COUNT)
]
LOG = [
    {
        "query_id": f"q{kind}{number:02d}",
        "query_text": f"text {number}" if kind in "tb" else None,
        "query_image_id": f"s{number:02d}" if kind in "ib" else None,
        "product_id": f"p{number:02d}",
        "split": "test",
    }
    for kind in "tib"
    for number in range(COUNT)
]


@pytest.fixture(scope="module")
def benchmark():
    pictures = [f"{kind}{number:02d}" for kind in "is" for number in range(COUNT)]
    return build_benchmark(PRODUCTS, LOG, pictures, lambda row: (row["query_text"], row["query_image_id"]), PARAMS)


def embedded(make):
    texts = {text for task in label_tasks(PRODUCTS, [row["product_id"] for row in PRODUCTS]) for text in task.texts}
    return Embedded(
        queries={modality: make(COUNT) for modality in ("text", "image", "both")},
        gallery={view: make(COUNT) for view in ("text", "image", "multimodal")},
        labels={text: make(1)[0] for text in sorted(texts)},
    )


def constant(count):
    return np.full((count, 16), 0.25, np.float32)


def identity(count):
    return np.eye(COUNT, dtype=np.float32)[:count]


def test_a_collapsed_model_scores_chance_everywhere_and_is_flagged(benchmark):
    dead = embedded(constant)
    for measured in retrieval(rank_all(dead, benchmark), benchmark, PARAMS).values():
        assert measured["tie_rate"] == 1
        for name, chance in measured["chance"].items():
            assert measured["expected"][name] == pytest.approx(chance, abs=1e-12)
            assert measured[name]["value"] == pytest.approx(chance, abs=1e-12), "one query a product: exact here too"
    sets = health_of(dead, 0)
    assert len(sets) == 6 and all(found["collapsed"] and found["reasons"] for found in sets.values())
    found = modality_of(dead, benchmark, PARAMS)
    for target in found["targets"].values():
        assert target["hit_rate"]["value"] == pytest.approx(target["chance"]) == pytest.approx(1 / 3)
        assert target["R@1"]["value"] == pytest.approx(1 / COUNT / 3)
    assert found["cross_view"]["text->image"]["value"] == pytest.approx(1 / COUNT)
    tasks = label_tasks(PRODUCTS, benchmark.gallery["image"])
    for kind, tested in label_prediction({"trained": dead}, benchmark, tasks, PARAMS).items():
        for name, scores in tested.items():
            task = next(one for one in tasks if (one.kind, one.name) == (kind, name))
            assert scores["trained"]["accuracy"]["value"] <= baselines(task)["majority"]


def test_a_perfect_model_is_healthy(benchmark):
    alive = embedded(identity)
    measured = retrieval(rank_all(alive, benchmark), benchmark, PARAMS)
    assert all(found["R@1"]["value"] == found["mAP"]["value"] == 1 for found in measured.values())
    assert not any(found["collapsed"] for found in health_of(alive, 0).values())
    found = modality_of(alive, benchmark, PARAMS)
    assert found["gap"]["distance"] == pytest.approx(0) and found["cross_view"]["asymmetry"]["value"] == 0
    assert found["targets"]["text->image"]["any_kind_R@1"]["value"] == 1


def test_tables_have_whole_rows_with_and_without_labels(benchmark):
    alive = embedded(identity)
    tasks = label_tasks(PRODUCTS, benchmark.gallery["image"])
    for labels in (label_prediction({"trained": alive}, benchmark, tasks, PARAMS), {"category": {}, "attributes": {}}):
        text = markdown(
            "test",
            "held_out",
            {"trained": retrieval(rank_all(alive, benchmark), benchmark, PARAMS)},
            labels,
            {"trained": health_of(alive, 0)},
            {"trained": modality_of(alive, benchmark, PARAMS)},
        )
        for part in text.split("\n\n"):
            assert len({line.count("|") for line in part.splitlines() if line.startswith("|")}) <= 1
        assert ("| attribute colour |" in text) == bool(labels["attributes"])
