from __future__ import annotations

import json
from pathlib import Path

import pytest

from moon import __version__
from moon.config import EvaluationParams, GateParams
from moon.evaluation.comparison import VERDICTS
from moon.steps import challenge, gate, provenance

MEASURE = {"value": 0.9, "low": 0.8, "high": 1.0}
LOW = {"value": 0.1, "low": 0.0, "high": 0.2}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """An evaluation that passes the gate by itself."""
    names = ("text->product", "image->product", "both->product")
    retrieval = {
        kind: {name: {"R@1": one, "R@10": one, "chance_r1": 0.01, "queries": 40} for name in names}
        for kind, one in (("trained", MEASURE), ("untrained", LOW))
    }
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps({"retrieval": retrieval}))
    return tmp_path / "evaluation"


def test_an_artefact_names_its_code_data_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(provenance.GIT_SHA, "abc")
    provenance.git_sha.cache_clear()
    found = provenance.origin({"data_digest": "d", "data_revision": "", "other": 1}, training="{}")
    assert found == {"moon_version": __version__, "git_sha": "abc", "data_digest": "d", "recipe": found["recipe"]}
    assert provenance.origin(training="{ }")["recipe"] != found["recipe"] != provenance.origin(model="{}")["recipe"]
    provenance.git_sha.cache_clear()


def test_a_direction_in_which_the_serving_model_is_better_fails_the_gate(evaluation: Path, tmp_path: Path) -> None:
    assert gate.run(evaluation=evaluation, params=GateParams(), out=tmp_path / "gate").passed
    for verdict, passed in ((1, True), (0, True), (-1, False)):
        verdicts = {"text->product": VERDICTS[verdict], "text->image": VERDICTS[-1]}  # the gate looks at the first
        compared = {"first": "v3", "verdicts": verdicts}
        (tmp_path / "metrics.json").write_text(json.dumps(compared))
        result = gate.run(evaluation=evaluation, comparison=tmp_path, params=GateParams(), out=tmp_path / "gate")
        assert result.passed == passed
        assert any("against the serving model v3" in reason for reason in result.reasons)


def test_where_nothing_serves_nothing_is_compared(evaluation: Path, tmp_path: Path) -> None:
    given = {"evaluation": evaluation, "catalog": tmp_path, "regions": tmp_path, "params": EvaluationParams()}
    found = challenge.run(model=None, version="", **given, out=tmp_path / "challenge")
    assert (found.first, found.verdicts) == ("", {})
    assert "No model serves" in (tmp_path / "challenge" / challenge.TABLE).read_text()
    result = gate.run(
        evaluation=evaluation, comparison=tmp_path / "challenge", params=GateParams(), out=tmp_path / "gate"
    )
    assert result.passed and any("no model serves" in reason for reason in result.reasons)
