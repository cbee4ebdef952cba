from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moon.cli.ablate import app
from moon.config import AugmentParams, EvaluationParams, MiningParams, ObjectivesParams, Params, TrainingParams, to_dict
from moon.evaluation.ablation_table import DUAL, DUAL_SMALL, FULL
from moon.steps import ablate
from tests.conftest import TINY_MODEL

EVERYTHING = Params(
    model=dataclasses.replace(TINY_MODEL, routing="modality"),
    augment=AugmentParams(copies=1),
    objectives=ObjectivesParams(
        memory_batches=3, intra_weight=1.0, query_views="all", filter_threshold=0.6, weighting="learned"
    ),
)
PLAIN = Params(
    model=dataclasses.replace(TINY_MODEL, moe_layers=(), crop_pixels=0),
    mining=MiningParams(category_level=1),
    objectives=ObjectivesParams(hard_negatives=0, query_views="as_asked"),
    training=TrainingParams(steps=2, batch_size=4, warmup_steps=1, log_every=1),
    evaluation=EvaluationParams(bootstrap_samples=50),
)


def test_each_recipe_lacks_one_part() -> None:
    chosen, left_out = ablate.recipes(EVERYTHING)
    assert list(chosen) == [FULL, *ablate.REMOVALS, DUAL, DUAL_SMALL] and left_out == [] and chosen[FULL] == EVERYTHING
    whole = to_dict(EVERYTHING)
    for name in ablate.REMOVALS:
        changed = {
            f"{section}.{key}"
            for section, values in to_dict(chosen[name]).items()
            for key, value in values.items()
            if value != whole[section][key]
        }
        unweighted = {"objectives.weighting"} if "experts" in name else set()  # learned weights belong to experts
        assert changed == {change.partition("=")[0] for change in ablate.REMOVALS[name]} | unweighted


def test_the_dual_encoder_is_plain_and_as_deep_for_pictures() -> None:
    chosen = ablate.recipes(EVERYTHING)[0]
    dual, small, full = chosen[DUAL], chosen[DUAL_SMALL], EVERYTHING.model
    assert (
        dual.model.image_pixels == full.image_pixels + full.crop_pixels
        and small.model.image_pixels == full.image_pixels
    )
    assert dual.model.fusion == "late" and dual.model.moe_layers == () and dual.model.crop_pixels == 0
    assert dual.model.vision_layers == EVERYTHING.model.vision_layers + EVERYTHING.model.layers
    assert dual.objectives == PLAIN.objectives
    assert dual.training == EVERYTHING.training and dual.augment == EVERYTHING.augment


def test_recipes_that_equal_the_full_one_are_left_out() -> None:
    chosen, left_out = ablate.recipes(PLAIN)
    assert list(chosen) == [FULL, DUAL] and left_out == list(ablate.REMOVALS)


def test_recipes_with_one_model_share_what_is_prepared(tmp_path: Path) -> None:
    def plan(name: str, seed: int, data: str = "d") -> ablate._Planned:
        return ablate._plan(name, ablate._seeded(ablate.recipes(EVERYTHING)[0][name], seed), data, tmp_path)

    assert plan(FULL, 0).prepared == plan("no filtering", 0).prepared == plan("no hard negatives", 0).prepared
    others = [plan(FULL, 1), plan(FULL, 0, "other data"), plan("no core crop", 0), plan("no augmentation", 0)]
    assert len({other.prepared for other in [plan(FULL, 0), *others]}) == 5
    assert len({plan(name, seed).folder for name in ablate.recipes(EVERYTHING)[0] for seed in (0, 1)}) == 22
    assert plan(FULL, 1).params.model.seed == plan(FULL, 1).params.training.seed == 1


@pytest.mark.slow
def test_a_failed_run_is_reported_and_made_up_for(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    def run() -> ablate.AblateResult:
        return ablate.run(catalog=tiny_catalog, regions=tiny_regions, params=PLAIN, seeds=[3], out=tmp_path)

    shared = tmp_path / "prepared"
    shared.mkdir()
    (tmp_path / "runs").mkdir()
    first = _sabotaged(tmp_path, tiny_catalog, tiny_regions)
    broken = run()
    assert (broken.recipes, broken.runs) == (2, 1) and list(broken.failed) == [f"{DUAL}, seed 3"]
    assert "Error" in broken.failed[f"{DUAL}, seed 3"] and broken.failed[f"{DUAL}, seed 3"] in _text(tmp_path)
    assert broken.verdicts == {}

    first.unlink()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob(f"{FULL}*/*/metrics.json")}
    assert len(done) == 2
    whole = run()
    assert whole.runs == 2 and whole.failed == {} and whole.left_out == list(ablate.REMOVALS)
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    assert set(whole.verdicts[DUAL]) == {"image->product", "text->product", "both->product"}

    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in results["recipes"]] == [FULL, DUAL]
    assert results["recipes"][1]["changes"] == ['model.fusion="late"', "model.vision_layers=3"]
    for score in results["recipes"][0]["scores"]:
        assert 0 <= score["interval"]["low"] <= score["by_seed"]["3"] <= score["interval"]["high"] <= 1
    assert "<svg" in (tmp_path / "chart.svg").read_text() and "vision_layers: 1" in _text(tmp_path)


def _text(out: Path) -> str:
    return (out / "table.md").read_text(encoding="utf-8")


def _sabotaged(out: Path, catalog: Path, regions: Path) -> Path:
    """A file where the training of the dual encoder wants its folder."""
    data = ablate._data(catalog, regions)
    folder = ablate._plan(DUAL, ablate._seeded(ablate.recipes(PLAIN)[0][DUAL], 3), data, out).folder
    folder.mkdir(parents=True)
    (folder / "train").write_text("in the way")
    return folder / "train"


@pytest.mark.slow
def test_without_any_run_the_first_failure_is_told(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    params = dataclasses.replace(PLAIN, training=dataclasses.replace(PLAIN.training, batch_size=4000))
    with pytest.raises(ablate.AblationError, match=r"ValueError: training.batch_size is 4000"):
        ablate.run(catalog=tiny_catalog, regions=tiny_regions, params=params, seeds=[0], out=tmp_path)


def test_mistakes_are_refused_before_anything_runs(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    for seeds, workers, message in (([], 1, "0,1,2"), ([1, 1], 1, "differ"), ([0], 0, "one worker")):
        with pytest.raises(ValueError, match=message):
            ablate.run(
                catalog=tiny_catalog, regions=tiny_regions, params=PLAIN, seeds=seeds, out=tmp_path, workers=workers
            )
    with pytest.raises(ValueError, match="no recipe 'no magic' here; the recipes are 'full', .*'dual-encoder'"):
        ablate.run(catalog=tiny_catalog, regions=tiny_regions, params=PLAIN, seeds=[0], out=tmp_path, only=["no magic"])
    with pytest.raises(ValueError, match="moon regions"):
        ablate.run(catalog=tiny_catalog, regions=tmp_path, params=PLAIN, seeds=[0], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_whole_seeds() -> None:
    result = CliRunner().invoke(app, ["--seeds", "0,one"])
    assert isinstance(result.exception, ValueError) and "'0,one'" in str(result.exception)
