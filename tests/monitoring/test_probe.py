from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from moon.config import DriftParams
from moon.monitoring.drift import compare_windows
from moon.monitoring.probe import ProbeError, compare_probes, probe_table, read_probe, write_probe

PARAMS = DriftParams(permutations=99, min_rows=20)
VECTORS = np.random.default_rng(0).normal(size=(60, 8))


def answers(noise: float = 0.0, wrong: int = 0, revision: str = "m1", index: str = "i1"):
    """60 probes of which ``wrong`` more than ten find no right product."""
    vectors = VECTORS + noise * np.random.default_rng(1).normal(size=VECTORS.shape)
    rows = [
        {
            "query_id": f"q{n}",
            "embedding": vector,
            "found": ["p0", f"p{n}"] if n >= 10 + wrong else ["p0"],
            "relevant": [f"p{n}"],
        }
        for n, vector in enumerate(vectors)
    ]
    return probe_table(rows[1:] + rows[:1], revision, index)


def test_the_same_answers_differ_in_nothing(tmp_path):
    write_probe(tmp_path / "p.parquet", answers())
    same = compare_probes(answers(), read_probe(tmp_path / "p.parquet"))
    assert (same.queries, same.distance, same.model_changed, same.index_changed, same.p_value) == (
        60,
        0,
        False,
        False,
        1,
    )
    assert same.recall == same.reference_recall == pytest.approx(51 / 60)  # q0 wants p0, which all find


def test_rounding_is_no_other_model_but_another_model_is():
    assert not compare_probes(answers(), answers(noise=1e-3)).model_changed
    assert compare_probes(answers(), answers(noise=0.2)).model_changed
    shorter = probe_table([{**row, "embedding": row["embedding"][:4]} for row in answers().to_pylist()], "m1", "i1")
    assert compare_probes(answers(), shorter).model_changed


def test_lost_recall_is_tested_on_the_queries_that_differ():
    found = compare_probes(answers(), answers(wrong=12))
    assert found.p_value == pytest.approx(stats.binomtest(0, 12).pvalue)
    assert found.recall == pytest.approx(39 / 60)


def test_files_that_are_no_probe_set_are_refused(tmp_path):
    with pytest.raises(ProbeError, match="record one"):
        read_probe(tmp_path / "none.parquet")
    write_probe(tmp_path / "p.parquet", answers().replace_schema_metadata({}))
    with pytest.raises(ProbeError, match="version"):
        read_probe(tmp_path / "p.parquet")
    with pytest.raises(ProbeError, match="in common"):
        compare_probes(answers(), answers().slice(0, 0))


def test_a_model_that_changed_is_told_from_data_that_changed(traffic):
    same, other = compare_probes(answers(), answers()), compare_probes(answers(), answers(noise=0.3))
    steady, moved = traffic(3, 150), traffic(3, 150, move=2.0)
    dark = traffic(3, 150, move=2.0, darker=0.4)
    causes = {
        (name, probe.model_changed): compare_windows(traffic(2, 150), window, PARAMS, probe)
        for name, window in (("steady", steady), ("moved", moved), ("dark", dark))
        for probe in (same, other)
    }
    assert {case: (one.cause, one.decision) for case, one in causes.items()} == {
        ("steady", False): ("none", "ok"),
        ("steady", True): ("model", "warn"),
        ("moved", False): ("data", "retrain"),
        ("moved", True): ("model", "warn"),
        ("dark", False): ("data", "retrain"),
        ("dark", True): ("both", "warn"),
    }
    assert "mean distance" in causes["moved", True].reasons[0]


def test_the_probe_set_outranks_the_revision(traffic):
    """A model that was registered anew with the same weights gives the same vectors."""
    window = traffic(3, 150, move=2.0, revision="r2")
    assert compare_windows(traffic(2, 150), window, PARAMS).cause == "model"
    assert compare_windows(traffic(2, 150), window, PARAMS, compare_probes(answers(), answers())).cause == "data"


def test_lost_recall_warns_and_names_what_to_look_at(traffic):
    windows = traffic(2, 150), traffic(3, 150)
    lost = compare_probes(answers(), answers(wrong=12, index="i2"))
    found = compare_windows(*windows, PARAMS, lost)
    assert found.decision == "warn" and "0.85 to 0.65" in found.reasons[0] and "the index" in found.reasons[0]
    assert compare_windows(*windows, dataclasses.replace(PARAMS, max_recall_drop=0.5), lost).decision == "ok"
    assert compare_windows(*windows, PARAMS, compare_probes(answers(), answers(wrong=4))).decision == "ok"
