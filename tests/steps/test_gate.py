from __future__ import annotations

import json

import pytest

from moon.config import GateParams
from moon.steps import gate

DIRECTIONS = ("text->product", "image->product", "both->product")


def measures(r1=0.3, low=0.5, high=0.7, chance=0.01, queries=100):
    r10 = {"value": (low + high) / 2, "low": low, "high": high}
    return {"R@1": {"value": r1, "low": 0.0, "high": 1.0}, "R@10": r10, "chance_r1": chance, "queries": queries}


def decide(tmp_path, trained, untrained, **params):
    retrieval = {"trained": trained, "untrained": untrained}
    (tmp_path / "metrics.json").write_text(json.dumps({"retrieval": retrieval}))
    return gate.run(evaluation=tmp_path, params=GateParams(**params), out=tmp_path / "gate")


def models(**changes):
    trained = {direction: measures() for direction in DIRECTIONS} | changes
    untrained = {name: found and measures(r1=0.01, low=0.1, high=0.4) for name, found in trained.items()}
    return trained, untrained


def test_a_good_model_passes_and_every_condition_is_a_sentence_with_its_numbers(tmp_path):
    result = decide(tmp_path, *models())
    assert result.passed and len(result.reasons) == 4
    assert all(reason.startswith("Met: ") for reason in result.reasons)
    assert "0.300 is 30.0 times chance (0.0100)" in result.reasons[0]
    assert "[0.500, 0.700]" in result.reasons[1] and "[0.100, 0.400]" in result.reasons[1]
    assert json.loads((tmp_path / "gate" / "metrics.json").read_text()) == {"passed": True, "reasons": result.reasons}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_touching_intervals_of_any_one_direction_fail(tmp_path, direction):
    result = decide(tmp_path, *models(**{direction: measures(low=0.4)}))
    assert not result.passed
    assert [reason for reason in result.reasons if reason.startswith("Failed")] == [
        f"Failed: {direction} R@10 of 0.550 [0.400, 0.700] does not lie above the untrained model's "
        "0.250 [0.100, 0.400]."
    ]


def test_the_multiple_of_chance_is_a_threshold(tmp_path):
    trained, untrained = models(**{"image->product": measures(r1=0.08)})
    assert decide(tmp_path, trained, untrained, min_image_r1_over_chance=8.0).passed
    assert not decide(tmp_path, trained, untrained, min_image_r1_over_chance=8.1).passed


def test_a_direction_with_few_queries_is_named_and_decides_nothing(tmp_path):
    worse = models(**{"text->product": measures(low=0.0, high=0.1, queries=29)})
    result = decide(tmp_path, *worse, min_queries=30)
    assert result.passed
    assert [reason for reason in result.reasons if reason.startswith("Open: text->product has 29 queries")]
    assert not decide(tmp_path, *worse, min_queries=29).passed


def test_a_direction_that_the_untrained_model_answers_decides_nothing_unless_it_got_worse(tmp_path):
    trained, untrained = models(**{"both->product": measures(low=1.0, high=1.0)})
    untrained["both->product"] = measures(low=0.9, high=1.0)
    result = decide(tmp_path, trained, untrained)
    assert result.passed and any("reaches 1 already" in reason for reason in result.reasons)
    trained["both->product"] = measures(low=0.8, high=1.0)
    assert not decide(tmp_path, trained, untrained).passed


def test_an_absent_direction_is_named_and_decides_nothing(tmp_path):
    result = decide(tmp_path, *models(**{"both->product": None}))
    assert result.passed
    assert [reason for reason in result.reasons if "both->product" in reason and reason.startswith("Absent")]


def test_nothing_measured_does_not_pass(tmp_path):
    nothing = dict.fromkeys(DIRECTIONS)
    result = decide(tmp_path, nothing, nothing)
    assert not result.passed and "nothing was shown" in result.reasons[-1]


def test_directions_outside_the_gate_do_not_count(tmp_path):
    trained, untrained = models(**{"image->text": measures(low=0.0)})
    assert decide(tmp_path, trained, untrained).passed
    assert not decide(tmp_path, trained, untrained, directions=("image->text",)).passed
    assert decide(tmp_path, trained, untrained, directions=("image->text",), beat_untrained=False).passed


def test_what_cannot_be_judged_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'text->prodct'"):
        decide(tmp_path, *models(), directions=("text->prodct",))
    trained, untrained = models()
    del trained["text->product"]["R@10"]
    with pytest.raises(ValueError, match="R@10.*evaluation.ks"):
        decide(tmp_path, trained, untrained)
    with pytest.raises(ValueError, match="run the step"):
        gate.run(evaluation=tmp_path / "none", params=GateParams(), out=tmp_path)
