from __future__ import annotations

import json

import pytest

from moon.cli import main
from moon.config import EvaluationParams
from moon.steps import compare_models, evaluate

PARAMS = EvaluationParams(bootstrap_samples=30, max_queries=8, examples=0, probe_items=0)


@pytest.fixture(scope="module")
def evaluated(tiny_catalog, tiny_regions, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluate")
    evaluate.run(catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, params=PARAMS, out=out, embeddings=False)
    return out


def test_an_evaluation_and_its_model_are_the_same(evaluated, tiny_catalog, tiny_regions, tiny_model, tmp_path):
    """One side is a folder of results, the other a model that is evaluated on the way."""
    result = compare_models.run(
        first=evaluated, second=tiny_model, params=PARAMS, out=tmp_path, catalog=tiny_catalog, regions=tiny_regions
    )
    assert set(result.verdicts.values()) == {"no clear difference"} and len(result.verdicts) == 5
    assert json.loads((tmp_path / "metrics.json").read_text())["verdicts"] == result.verdicts
    assert (tmp_path / "second" / "ranks.json").is_file() and not (tmp_path / "first").exists()


def test_the_command_prints_the_table_and_mistakes_are_one_line(evaluated, tiny_model, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", str(evaluated), str(evaluated), "--out", str(out)]) == 0
    assert (out / "table.md").read_text() in capsys.readouterr().out
    for arguments, said in (
        ([str(evaluated), str(tiny_model)], "give --catalog and --regions"),
        ([str(evaluated), str(tmp_path)], "neither an output folder of 'moon evaluate'"),
    ):
        assert main(["compare", *arguments, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err


def test_other_queries_are_refused(evaluated, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    stored = json.loads((evaluated / "ranks.json").read_text())
    for found in stored.values():
        found["query_ids"] = [f"x{one}" for one in found["query_ids"]]
    (other / "ranks.json").write_text(json.dumps(stored))
    assert main(["compare", str(evaluated), str(other), "--out", str(tmp_path / "out")]) == 2
    assert "was measured on different queries" in capsys.readouterr().err
