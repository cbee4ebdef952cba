from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.ablation import DIRECTIONS, Difference, FirstRanks, Runs, crossed_bootstrap, scores
from moon.evaluation.ablation_table import DUAL, FULL, Row, bar_chart, markdown
from moon.evaluation.bootstrap import bootstrap_means

PARAMS = EvaluationParams(bootstrap_samples=400)


def runs(seeds: int, hit: float, queries: int = 300, salt: int = 0) -> Runs:
    """Each query is found first with probability ``hit``, by the luck of the seed; three queries a product."""

    def one(seed: int) -> FirstRanks:
        found = np.random.default_rng([salt, seed]).random(queries) < hit
        return FirstRanks(
            query_ids=[f"q{number}" for number in range(queries)],
            products=[f"p{number // 3}" for number in range(queries)],
            ranks=np.where(found, 1, 50).tolist(),
        )

    return {seed: dict.fromkeys(DIRECTIONS, one(seed)) for seed in range(seeds)}


def test_one_seed_is_the_bootstrap_over_products() -> None:
    values = np.random.default_rng(0).random(200)
    products = [f"p{number % 37}" for number in range(200)]
    plain = bootstrap_means({"x": values}, products, samples=4000)["x"]
    crossed = crossed_bootstrap(values[None], products, EvaluationParams(bootstrap_samples=4000))
    assert crossed.value == pytest.approx(plain.value)
    assert (crossed.low, crossed.high) == pytest.approx((plain.low, plain.high), abs=0.005)


def test_seeds_that_disagree_widen_the_interval() -> None:
    products = [f"p{number}" for number in range(400)]
    values = np.random.default_rng(0).random((4, 400)) * 0.1
    agree = crossed_bootstrap(values, products, PARAMS)
    disagree = crossed_bootstrap(values + np.array([[-0.2], [-0.1], [0.1], [0.2]]), products, PARAMS)
    assert disagree.high - disagree.low > 5 * (agree.high - agree.low)
    assert disagree.value == pytest.approx(agree.value)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Independent draws with a product effect and a seed effect; the true mean is 0."""
    params = EvaluationParams(bootstrap_samples=200)
    covered = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        values = random.normal(size=(1, 60)) + 0.1 * random.normal(size=(5, 1)) + 0.5 * random.normal(size=(5, 60))
        found = crossed_bootstrap(values, [str(number) for number in range(60)], params)
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 200 <= 1.0


def test_verdicts_follow_the_sign_of_the_difference() -> None:
    full = runs(3, 0.6)
    cases = [("helps here", 0.3, 3), ("hurts here", 0.9, 3), ("no clear effect", 0.6, 3), ("helps here", 0.3, 2)]
    for verdict, hit, seeds in cases:
        for score in scores(runs(seeds, hit, salt=1), full, PARAMS):
            assert score.difference is not None and score.difference.verdict == verdict
            assert score.difference.low <= score.difference.value <= score.difference.high
            assert len(score.by_seed) == seeds and score.sd is not None
    assert Difference(value=-0.1, low=-0.2, high=0.0).verdict == "no clear effect"


def test_the_difference_is_of_the_seeds_that_both_have() -> None:
    full, other = runs(3, 0.5), runs(3, 0.5)
    wild = {seed + 2: run for seed, run in runs(3, 0.0).items()} | {2: other[2]}  # seeds 2, 3, 4
    for score in scores(wild, full, PARAMS):
        assert score.difference == Difference(value=0, low=0, high=0) and len(score.by_seed) == 3
    assert all(score.difference is None for score in scores(full, full, PARAMS))
    assert all(score.difference is None for score in scores(full, {}, PARAMS))


def test_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different queries \(300 and 299\)"):
        scores(runs(1, 0.5), runs(1, 0.5, queries=299), PARAMS)


def rows() -> list[Row]:
    full = runs(2, 0.6)
    return [
        Row(name=FULL, changes=(), scores=scores(full, full, PARAMS), failures={}),
        Row(name="no <crop>", changes=("model.crop_pixels=0",), scores=scores(runs(2, 0.2), full, PARAMS), failures={}),
        Row(name="broken", changes=("x=1",), scores=(), failures={0: "ValueError: no", 1: "killed"}),
        Row(name=DUAL, changes=("y=1",), scores=scores(runs(1, 0.6, salt=2), full, PARAMS), failures={1: "killed"}),
    ]


def test_the_table_has_every_recipe_failure_and_the_recipe() -> None:
    text = markdown(rows(), ["no memory bank"], "training: {}\n", PARAMS)
    for expected in ("helps here", "no clear effect", "seed 1, failed: killed", "no memory bank is left out", "±"):
        assert expected in text
    assert "## Full recipe and dual encoder" in text and "training: {}" in text
    for block in text.split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1, "every row of a table has the same cells"


def test_the_chart_is_a_picture_of_its_own() -> None:
    tree = ElementTree.fromstring(bar_chart(rows()))
    space = "{http://www.w3.org/2000/svg}"
    assert tree.tag == f"{space}svg"
    texts = [element.text for element in tree.iter(f"{space}text")]
    assert "no <crop>" in texts and "broken" not in texts
    width = float(tree.attrib["width"])
    bars = list(tree.iter(f"{space}rect"))
    assert len(bars) == 3 + 3 * 3 and all(float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width for bar in bars)
