from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from moon.config import DriftParams
from moon.monitoring.windows import window_table, write_window
from moon.steps import drift

PARAMS = DriftParams(permutations=99, min_rows=20, evidently_rows=30)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def photos(seed: int, move: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return window_table(
        [
            {
                "modality": "image",
                "brightness": rng.random(),
                "top_category": ["a" if rng.random() < 0.5 else "b"],
                "embedding": rng.normal(size=6) + move,
                "model_revision": "r",
            }
            for _ in range(60)
        ],
        6,
    )


def test_run_decides_on_every_window_and_leaves_its_reports(tmp_path):
    for name, window in {"reference": photos(0), "steady": photos(1), "shifted": photos(2, move=1.0)}.items():
        write_window(tmp_path / "replay" / "windows" / f"{name}.parquet", window)
    result = drift.run(windows=tmp_path / "replay", params=PARAMS, out=tmp_path / "out")
    assert {name: decision.decision for name, decision in result.decisions.items()} == {
        "steady": "ok",
        "shifted": "retrain",
    }
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())["decisions"]
    assert saved["shifted"]["p_value"] <= PARAMS.alpha < saved["steady"]["p_value"]
    assert saved["shifted"]["auc"] > 0.8 and saved["shifted"]["reasons"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">steady <" in page and ">shifted <" in page
    assert (tmp_path / "out" / "evidently.html").stat().st_size > 10_000


def test_a_folder_without_windows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="run the replay step first"):
        drift.run(windows=tmp_path, params=PARAMS, out=tmp_path / "out")
