from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pyarrow as pa
import pytest

from moon.config import DriftParams
from moon.monitoring.drift import compare_windows
from moon.monitoring.report import drift_html
from moon.monitoring.windows import window_table

PARAMS = DriftParams(permutations=199, min_rows=20)


def test_false_alarms_keep_to_alpha_and_a_stated_shift_is_found(traffic):
    """200 windows like their references, and 40 moved by 1.0 along an axis on which a cluster's spread is 0.6."""
    null = sum(
        compare_windows(traffic([seed, 0], 80), traffic([seed, 1], 80), PARAMS).decision != "ok" for seed in range(200)
    )
    assert 0.02 <= null / 200 <= 0.08, f"{null} false alarms in 200 at a rate of {PARAMS.alpha}"
    found = sum(
        compare_windows(traffic([seed, 0], 80), traffic([seed, 1], 80, move=1.0), PARAMS).decision != "ok"
        for seed in range(40)
    )
    assert found / 40 >= 0.95


def test_decisions_are_repeatable(traffic):
    first, second = traffic(2, 100), traffic(3, 100, darker=0.2)
    assert compare_windows(first, second, PARAMS) == compare_windows(first, second, PARAMS)


def test_moved_embeddings_ask_for_training_and_say_why(traffic):
    decision = compare_windows(traffic(2, 150), traffic(3, 150, move=2.0), PARAMS)
    assert decision.decision == "retrain" and decision.p_value <= PARAMS.alpha
    assert decision.auc > PARAMS.retrain_auc
    assert re.match(r"Embeddings.* have drifted \(AUC 0\.\d\d, adjusted p 0\.\d+, \d+ rows\)", decision.reasons[0])
    names = {test.name for test in decision.tests}
    assert {"embeddings", "embeddings:image", "brightness", "modality", "top_category", "top_score"} <= names


def test_a_small_embedding_effect_or_inputs_alone_only_warn(traffic):
    moved = compare_windows(traffic(2, 150), traffic(3, 150, move=2.0), dataclasses.replace(PARAMS, retrain_auc=0.9999))
    assert moved.decision == "warn" and "by less than the 0.9999" in moved.reasons[0]
    dark = compare_windows(traffic(2, 150), traffic(3, 150, darker=0.4), PARAMS)
    assert dark.decision == "warn"
    assert [test.name for test in dark.tests if test.drifted] == ["brightness"]
    assert "'brightness'" in dark.reasons[0]


def test_another_mix_of_modalities_is_an_input_drift(traffic):
    decision = compare_windows(traffic(2, 300), traffic(3, 300, shares=(0.65, 0.2, 0.15)), PARAMS)
    assert decision.decision == "warn"
    assert [test.name for test in decision.tests if test.drifted] == ["modality"]


def test_too_few_rows_are_not_tested(traffic):
    decision = compare_windows(traffic(2, 100), traffic(3, 19, move=9.0), PARAMS)
    assert (decision.decision, decision.tests, decision.p_value) == ("ok", [], None)
    assert "Too few rows" in decision.reasons[0] and "19" in decision.reasons[0]


def test_another_model_is_not_taken_for_drift(traffic):
    decision = compare_windows(traffic(2, 100), traffic(3, 100, move=9.0, revision="r2"), PARAMS)
    assert decision.model_changed and decision.decision == "warn" and decision.auc is None
    assert "r1, r2" in decision.reasons[0]
    assert not {"embeddings", "top_score", "top_category"} & {test.name for test in decision.tests}
    mixed = pa.concat_tables([traffic(2, 60), traffic(2, 60, revision="r2")])
    assert compare_windows(mixed, mixed, PARAMS).model_changed


def test_windows_without_photos_or_texts_are_compared_on_what_they_have(traffic):
    texts = [traffic(seed, 80, shares=(1, 0, 0)) for seed in (2, 3)]
    names = {test.name for test in compare_windows(*texts, PARAMS).tests}
    assert "text_length" in names and not {"brightness", "embeddings:text"} & names


@pytest.mark.parametrize(("change", "told"), [({"alpha": 0.0}, "drift.alpha"), ({"permutations": 9}, "at least 20")])
def test_parameters_that_can_decide_nothing_are_refused(change, told, traffic):
    with pytest.raises(ValueError, match=told):
        compare_windows(traffic(2, 80), traffic(3, 80), dataclasses.replace(PARAMS, **change))


def test_report_shows_every_test_and_escapes_names(traffic):
    reference, window = traffic(2, 150), traffic(3, 150, darker=0.4)
    decision = compare_windows(reference, window, PARAMS)
    json.dumps(dataclasses.asdict(decision), allow_nan=False)
    page = drift_html(reference, {"<b>odd": (window, decision)}, PARAMS.alpha)
    assert "&lt;b&gt;odd" in page and "<b>odd" not in page
    assert page.count('<tr class="drifted">') == 1
    for test in decision.tests:
        assert page.count(f">{test.name}<") >= 2  # table and chart
    assert "alpha 0.05" in page and "http" not in page and "<script" not in page
    assert not re.search(r"\bnan\b|\binf\b", page)
    empty = compare_windows(reference, window.slice(0, 5), PARAMS)
    assert "Too few rows" in drift_html(reference, {"w": (window, empty)}, PARAMS.alpha)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evidently_report_is_written(tmp_path, traffic):
    from moon.monitoring.evidently import write_evidently

    path = tmp_path / "evidently.html"
    write_evidently(path, traffic(2, 60), traffic(3, 60, darker=0.4), rows=40)
    page = path.read_text()
    assert "brightness" in page and "embeddings" in page
    with pytest.raises(ValueError, match="evidently_rows"):
        write_evidently(path, traffic(2, 60), traffic(3, 60), rows=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_windows_of_inputs_alone_are_judged_and_shown(tmp_path, traffic):
    """As a logger of requests alone gives them."""
    from moon.monitoring.evidently import write_evidently

    outputs = ("embedding", "top_score", "top_product", "top_category", "model_revision")
    bare = [
        window_table([{k: v for k, v in row.items() if k not in outputs} for row in table.to_pylist()], 0)
        for table in (traffic(2, 100), traffic(3, 100, darker=0.4))
    ]
    decision = compare_windows(*bare, PARAMS)
    assert (decision.decision, decision.auc, decision.model_changed) == ("warn", None, False)
    assert not {"embeddings", "hubness", "top_score"} & {test.name for test in decision.tests}
    write_evidently(tmp_path / "e.html", *bare, rows=40)
    assert "brightness" in (tmp_path / "e.html").read_text()
    # One side with answers, such as a reference that was replayed.
    assert compare_windows(traffic(2, 100), bare[1], PARAMS).decision == "warn"


def test_concentrated_answers_are_a_drift_of_their_own(traffic):
    reference, window = traffic(2, 200), traffic(3, 200)
    names = ["p0" if row % 4 else f"p{row}" for row in range(200)]
    place = window.schema.get_field_index("top_product")
    hub = window.set_column(place, window.schema.field(place), pa.array(names))
    decision = compare_windows(reference, hub, PARAMS)
    (found,) = [test for test in decision.tests if test.drifted]
    assert found.name == "hubness" and found.effect > 0.4 and "fewer products" in decision.reasons[0]


def test_a_drift_of_one_category_is_found_there(traffic):
    window = traffic(3, 400)
    rows = window.to_pylist()
    for row in rows:
        if row["top_category"][0] == "c1":
            row["embedding"] = [value + 0.8 * (place == 2) for place, value in enumerate(row["embedding"])]
    decision = compare_windows(traffic(2, 400), window_table(rows, 24), PARAMS)
    effects = {test.name: test.effect for test in decision.tests if test.kind == "embeddings"}
    assert max(effects, key=lambda name: effects[name]) == "embeddings:category=c1"
    assert any("answered from 'c1'" in reason for reason in decision.reasons)


def test_a_certain_but_tiny_difference_is_no_drift(traffic):
    reference, window = traffic(2, 150), traffic(3, 150, darker=0.4)
    assert compare_windows(reference, window, dataclasses.replace(PARAMS, min_effect=1.0)).decision == "ok"


def test_numbers_of_a_window_survive_as_plain_data(traffic):
    decision = compare_windows(traffic(2, 80), traffic(3, 80), PARAMS)
    assert all(
        isinstance(test.adjusted, float) and not isinstance(test.adjusted, np.floating) for test in decision.tests
    )
