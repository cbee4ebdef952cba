from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moon.config import DriftParams, Params, ParamsError, from_json, load_params, parse_params, to_dict, to_json

FILE = Path(__file__).parents[1] / "params.yaml"
KEYS = [(section, key) for section, values in to_dict(Params()).items() for key in values]


def test_the_parameter_file_holds_every_default() -> None:
    assert load_params(FILE) == Params()
    assert yaml.safe_load(FILE.read_text()) == to_dict(Params())


@given(st.sampled_from(KEYS), st.data())
def test_a_misspelt_key_is_refused_and_the_nearest_known_one_named(name: tuple[str, str], data: st.DataObject) -> None:
    section, key = name
    position = data.draw(st.integers(0, len(key)))
    misspelt = key[:position] + "x" + key[position:]
    with pytest.raises(ParamsError, match=f"'{misspelt}'.*nearest known one is '") as caught:
        parse_params("", [f"{section}.{misspelt}=1"])
    assert section in str(caught.value)


def test_a_misspelt_section_names_the_nearest_one() -> None:
    with pytest.raises(ParamsError, match="'traning'.*nearest known one is 'training'"):
        parse_params("traning: {steps: 3}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("training.steps=many", "training: steps must be int, got 'many'"),
        ("training.steps=true", "must be int, got True"),
        ("training.steps=1.5", "must be int, got 1.5"),
        ("gate.beat_untrained=1", "must be bool, got 1"),
        ("evaluation.ks=5", "must be tuple"),
        ("training.steps", "section.key=value"),
        ("training=3", "training must be a section, got 3"),
        ("training.steps.more=3", "must be int"),
    ],
)
def test_a_value_of_the_wrong_type_says_where_and_what_was_expected(change: str, expected: str) -> None:
    with pytest.raises(ParamsError) as caught:
        parse_params("", [change])
    assert expected in str(caught.value)


def test_changes_win_over_the_file_and_leave_the_rest() -> None:
    params = parse_params("training: {steps: 10, batch_size: 4}", ["training.steps=20", "evaluation.ks=[1, 3]"])
    assert params.training == dataclasses.replace(Params().training, steps=20, batch_size=4)
    assert params.evaluation.ks == (1, 3)


def test_numbers_may_be_written_as_people_write_them() -> None:
    params = parse_params("", ["training.learning_rate=1e-3", "objectives.temperature=1"])
    assert params.training.learning_rate == 0.001
    assert params.objectives.temperature == 1.0


def test_a_section_survives_its_travel_as_json() -> None:
    for field in dataclasses.fields(Params):
        section = getattr(Params(), field.name)
        assert from_json(type(section), to_json(section)) == section
    assert from_json(DriftParams, '{"alpha": 0.01}').alpha == 0.01


def test_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="cannot read the parameter file"):
        load_params(tmp_path / "missing.yaml")
    with pytest.raises(ParamsError, match="not valid YAML"):
        parse_params("a: [")
    with pytest.raises(ParamsError, match="must hold sections"):
        parse_params("- 1")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("training.steps=0", "training.steps must be at least 1, got 0"),
        ("objectives.temperature=0", "objectives.temperature must be more than 0, got 0.0"),
        ("objectives.temperature=.nan", "objectives.temperature must be a finite number, got nan"),
        ("drift.alpha=1", "drift.alpha must be between 0 and 1, got 1.0"),
        ("render.held_out=0.9", "render.held_out must be from 0 to 0.6, got 0.9"),
        ("evaluation.ks=[]", "evaluation.ks must hold at least one number"),
        ("evaluation.ks=[1, 0]", "evaluation.ks must be at least 1, got 0"),
        (f"render.seed={10**400}", "render.seed must be from 0"),
        ("model.vision_hidden_size=33", "model.vision_hidden_size must be a multiple of 16 with 4 heads, got 33"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_limits(change: str, expected: str) -> None:
    with pytest.raises(ParamsError) as caught:
        parse_params("", [change])
    assert expected in str(caught.value)


def test_limits_hold_however_a_section_is_made() -> None:
    with pytest.raises(ParamsError, match="drift.window must be at least 1, got 0"):
        dataclasses.replace(Params().drift, window=0)
    with pytest.raises(ParamsError, match="drift.window must be at least 1, got -1"):
        from_json(DriftParams, '{"window": -1}')


def test_a_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("catalog: {source: caf\u00e9}".encode("latin-1"))
    with pytest.raises(ParamsError, match="latin.yaml is not UTF-8"):
        load_params(path)


def test_a_name_in_a_mapping_may_hold_dots() -> None:
    params = load_params(None, ["catalog.columns.attribute.colour=farbe"])
    assert params.catalog.columns == {"attribute.colour": "farbe"}
