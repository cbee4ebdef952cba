from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import demo, local, summary

MEASURE = {"value": 0.5, "low": 0.4, "high": 0.6}
DIRECTION = {"R@1": MEASURE, "R@5": MEASURE, "R@10": MEASURE, "MRR": MEASURE, "chance_r1": 0.01, "queries": 20}
RESULTS: dict[str, dict[str, Any]] = {
    "evaluate": {"retrieval": {kind: {"text->product": DIRECTION, "both->product": None} for kind in
                               ("trained", "untrained")}, "labels": {}},
    "regions": {"images": 10, "fallback_share": 0.1, "scored": 0, "mean_iou": None, "corloc": None},
    "gate": {"passed": True, "reasons": ["Met: everything."]},
    "canary": {"verdict": "promote", "stable": "v1", "canary": "v2", "reasons": ["Met: everything."]},
    "deploy": {"answers": {"text": {"top5": [{"title": "Red mug", "product_id": "p", "score": 1.0}],
                                    "bought_in_top5": True, "latency_ms": {"search": 12.3}}}},
    "drift": {"decisions": {"shifted": {"decision": "retrain", "reasons": ["darker photos"]}}},
}  # fmt: skip


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for name, result in RESULTS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(result))
    return {name: tmp_path / name for name in (*RESULTS, "replay")}


def text_of(result: dict[str, Any]) -> str:
    file = io.StringIO()
    summary.show(Console(file=file, width=demo._WIDTH), result)
    return file.getvalue()


def test_the_summary_holds_what_the_steps_measured(folders: dict[str, Path]) -> None:
    measured = summary.collect(folders)
    assert measured["retrieval"] == RESULTS["evaluate"]["retrieval"]
    assert measured["endpoint"] == RESULTS["deploy"]["answers"]
    assert measured["drift"]["shifted"]["decision"] == "retrain"
    assert measured["replay"] is None and measured["validation"] is None


def test_the_tables_show_it_and_leave_out_what_did_not_run(folders: dict[str, Path]) -> None:
    shown = text_of(summary.collect(folders))
    for piece in (
        "text->product",
        "0.500 [0.40, 0.60]",
        "Red mug",
        "retrain",
        "darker photos",
        "passed",
        "v2, tried beside v1: promote",
    ):
        assert piece in shown
    assert "both->product" not in shown
    assert "text->product" not in text_of(summary.collect({}))


def test_steps_are_listed_with_what_they_took() -> None:
    task = local.TaskRun(name="train", seconds=1.5, cached=False)
    assert summary.steps([task]) == {"train": {"seconds": 1.5, "cached": False}}
    shares = [local.TaskRun(name="embed", seconds=seconds, cached=not seconds) for seconds in (0.0, 2.0)]
    assert summary.steps(shares) == {"embed": {"seconds": 2.0, "cached": False}}


def test_a_mistake_ends_with_one_line_and_a_summary_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert demo.main(["--set", f"catalog.source={tmp_path / 'nowhere'}", "--out", str(out)]) == 1
    assert "nowhere is not a catalogue" in capsys.readouterr().err
    written = json.loads((out / "summary.json").read_text())
    assert written["ok"] is False and "nowhere" in written["error"]
    assert demo.main(["--set", "training.step=1", "--out", str(tmp_path / "other")]) == 1
    assert "nearest known one is 'steps'" in capsys.readouterr().err


def test_a_run_of_which_nothing_has_changed_is_not_repeated(
    tiny_catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def pipeline(*_: Any, root: Path, **__: Any) -> list[local.TaskRun]:
        """Leaves what the pipeline leaves; the pipeline itself is run by `make demo`."""
        ran.append(1)
        results = root / "moon-train-1" / "report" / "results"
        results.mkdir(parents=True, exist_ok=True)
        (results / "index.html").write_text("<p>report</p>")
        for name, result in RESULTS.items():
            (root / name).mkdir(exist_ok=True)
            (root / name / "metrics.json").write_text(json.dumps(result))
        (results / "steps.json").write_text(json.dumps({name: str(root / name) for name in RESULTS}))
        return [local.TaskRun(name="train", seconds=2.0, cached=False)]

    monkeypatch.setattr(local, "run", pipeline)
    out = tmp_path / "out"
    arguments = ["--set", f"catalog.source={tiny_catalog}", "--out", str(out)]
    assert demo.main(arguments) == 0
    first = json.loads((out / "summary.json").read_text())
    assert first["ok"] and first["steps"]["train"]["seconds"] == 2.0
    assert (out / "report.html").read_text() == "<p>report</p>"
    capsys.readouterr()
    assert demo.main(arguments) == 0
    assert "nothing has changed" in capsys.readouterr().out and len(ran) == 1
    assert demo.main([*arguments, "--set", "training.seed=5"]) == 0
    assert len(ran) == 2
    assert demo.main([*arguments, "--set", "training.seed=5", "--fresh"]) == 0
    assert len(ran) == 3
