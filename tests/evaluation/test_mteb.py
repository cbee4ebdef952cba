"""A MOON checkpoint in mteb, and a catalogue's directions as its tasks; offline, with the tiny model."""

from __future__ import annotations

import numpy as np
import pytest

mteb = pytest.importorskip("mteb")

from moon.config import EvaluationParams  # noqa: E402
from moon.evaluation.mteb_encoder import MoonEncoder  # noqa: E402
from moon.evaluation.mteb_tasks import catalogue_tasks  # noqa: E402
from moon.steps import evaluate  # noqa: E402

PARAMS = EvaluationParams(bootstrap_samples=10, max_queries=25, ks=(1, 5, 10), examples=0)


@pytest.fixture(scope="module")
def measured(tiny_catalog, tiny_regions, tiny_model, tmp_path_factory):
    """Ours and mteb's results on the same run, by direction."""
    ours = evaluate.run(
        catalog=tiny_catalog,
        regions=tiny_regions,
        model=tiny_model,
        params=PARAMS,
        out=tmp_path_factory.mktemp("evaluate"),
        embeddings=False,
    ).retrieval["trained"]
    tasks = catalogue_tasks(tiny_catalog, tiny_regions, PARAMS)
    encoder = MoonEncoder(str(tiny_model), tasks=tasks)
    results = mteb.evaluate(encoder, tasks, cache=None, show_progress_bar=False, co2_tracker=False)
    theirs = {
        task.direction.name: result.scores["test"][0] for task, result in zip(tasks, results.task_results, strict=True)
    }
    return ours, theirs


def test_the_same_run_gives_the_same_numbers(measured):
    """mteb rounds its means to five decimals, all but MRR."""
    ours, theirs = measured
    assert set(theirs) == {name for name, found in ours.items() if found} and len(theirs) == 5
    for name, scores in theirs.items():
        everything = min(ours[name]["gallery"], 1000)
        for k in PARAMS.ks:
            assert scores[f"hit_rate_at_{k}"] == pytest.approx(round(ours[name][f"R@{k}"]["value"], 5), abs=1e-6)
            assert scores[f"recall_at_{k}"] == pytest.approx(round(ours[name][f"recall@{k}"]["value"], 5), abs=1e-6)
            assert scores[f"ndcg_at_{k}"] == pytest.approx(round(ours[name][f"nDCG@{k}"]["value"], 5), abs=1e-6)
        assert scores[f"map_at_{everything}"] == pytest.approx(round(ours[name]["mAP"]["value"], 5), abs=1e-6)
        assert scores[f"mrr_at_{everything}"] == pytest.approx(ours[name]["MRR"]["value"], abs=1e-6)


def test_any_text_or_picture_can_be_encoded(tiny_model):
    """What a task of mteb's own gives: columns of texts, of pictures, of both."""
    from PIL import Image

    encoder = MoonEncoder(str(tiny_model))
    assert isinstance(encoder, mteb.EncoderProtocol)
    task = mteb.get_task("Fashion200kT2IRetrieval")
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    texts = ["a red mug", "a blue lamp"]
    vectors = [
        encoder.encode([batch], task_metadata=task.metadata, hf_split="test", hf_subset="default")
        for batch in ({"text": texts}, {"image": pictures}, {"text": texts, "image": pictures})
    ]
    for found in vectors:
        assert found.shape == (2, 48)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3 and np.abs(vectors[1] - vectors[2]).max() > 1e-3
    with pytest.raises(ValueError, match="the task gives audio only"):
        encoder.encode([{"audio": [1]}], task_metadata=task.metadata, hf_split="test", hf_subset="default")


def test_known_purchases_are_no_candidates(tiny_catalog, tiny_regions):
    """With the whole catalogue as gallery, purchases of another split are left out for their query only."""
    tasks = catalogue_tasks(tiny_catalog, tiny_regions, EvaluationParams(gallery="all", max_queries=50))
    for task in tasks:
        task.load_data()
        data = task.dataset["default"]["test"]
        assert list(data["corpus"]["id"]) == list(task._benchmark.gallery[task.direction.view])
        for query in task._benchmark.asked(task.direction):
            ranked = data["top_ranked"][query.query_id] if data["top_ranked"] else list(data["corpus"]["id"])
            assert set(query.known).isdisjoint(ranked) and set(data["relevant_docs"][query.query_id]) <= set(ranked)
