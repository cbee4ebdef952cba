from __future__ import annotations

import json
from pathlib import Path

import pytest

from moon.config import TrainingParams, from_json, parse_params
from moon.steps import sweep

RECIPE = "training: {steps: 7}"


def evaluation(folder: Path, *values: float) -> Path:
    """What the evaluate step leaves, with a value for each direction."""
    folder.mkdir()
    found = {f"direction {number}": {"MRR": {"value": value}} for number, value in enumerate(values)}
    tree = {"retrieval": {"trained": {**found, "without queries": None}}}
    (folder / "metrics.json").write_text(json.dumps(tree))
    return folder


def test_trials_are_every_combination_on_top_of_the_recipe() -> None:
    made = sweep.trials(recipe=RECIPE, space='{"training.seed": [0, 1], "objectives.temperature": [0.1, 0.2, 0.3]}')
    assert len({one["changes"] for one in made}) == len(made) == 6
    for one in made:
        changes, training = json.loads(one["changes"]), from_json(TrainingParams, one["training"])
        assert (training.steps, training.seed) == (7, changes["training.seed"])
        assert json.loads(one["objectives"])["temperature"] == changes["objectives.temperature"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{", "not JSON"),
        ("{}", "expected lists by parameter"),
        ('{"training.seed": 1}', "expected lists by parameter"),
        ('{"model.layers": [1]}', "training and objectives, not model.layers"),
        ('{"training.stepz": [1]}', "nearest known one is 'steps'"),
        (json.dumps({"training.seed": list(range(65))}), "65 trials, at most 64"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.trials(recipe=RECIPE, space=space)


def test_settings_are_ranked_by_their_mean_over_seeds(tmp_path: Path) -> None:
    made = sweep.trials(recipe=RECIPE, space='{"training.learning_rate": [0.1, 0.2], "training.seed": [0, 1]}')
    values = [(0.5, 0.7), (0.3, 0.5), (0.7, 0.7), (0.5, 0.7)]  # means 0.6, 0.4, 0.7, 0.6
    found = [evaluation(tmp_path / str(number), *pair) for number, pair in enumerate(values)]
    changes = [one["changes"] for one in made]
    result = sweep.choose(evaluations=found, changes=changes, recipe=RECIPE, measure="MRR", out=tmp_path / "out")
    assert result.best == {"training.learning_rate": 0.2}
    assert (result.mean, result.lead) == (pytest.approx(0.65), pytest.approx(0.15))
    assert result.spread == pytest.approx(0.1 * 2**0.5)
    best = parse_params((tmp_path / "out" / sweep.RECIPE).read_text())
    assert (best.training.learning_rate, best.training.steps) == (0.2, 7)
    table = (tmp_path / "out" / sweep.TABLE).read_text()
    assert table.index("learning_rate=0.2") < table.index("learning_rate=0.1")


def test_a_missing_evaluation_or_measure_is_named(tmp_path: Path) -> None:
    one, out = evaluation(tmp_path / "one", 0.5), tmp_path / "out"
    with pytest.raises(ValueError, match="1 evaluations of 2 trials"):
        sweep.choose(evaluations=[one], changes=["{}", "{}"], recipe="", measure="MRR", out=out)
    with pytest.raises(ValueError, match="has no R@7"):
        sweep.choose(evaluations=[one], changes=["{}"], recipe="", measure="R@7", out=out)
