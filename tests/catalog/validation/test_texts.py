from __future__ import annotations

import pyarrow as pa
import pytest

pytest.importorskip("great_expectations")
from moon.catalog.validation import texts  # noqa: E402 (after the skip)


def test_normal_forms_leave_case_punctuation_and_width_out() -> None:
    forms = texts.normal_forms(pa.array(["  Red--MUG!", "red mug", "\uff32ed  mug", "!!", "", None]))
    assert forms.to_pylist() == ["red mug", "red mug", "red mug", None, None, None]
    composed, parts = texts.normal_forms(pa.array(["Caf\u00e9 9", "cafe\u0301 9"])).to_pylist()
    assert composed == parts


def test_damage_is_seen_and_honest_signs_are_not() -> None:
    bad = ["<br>", "A &amp; B", "caf\u00c3\u00a9", "it\u00e2\u20ac\u2122s", "a\ufffdb", "a\x07b", "&#39;"]
    good = ["3 < 4 > 2", "A & B", "caf\u00e9", "it\u2019s", "50% off; new", "1/2\u2033", None]
    assert texts.damaged(pa.array(bad)).all() and not texts.damaged(pa.array(good)).any()


def test_the_script_is_that_of_most_letters() -> None:
    found = texts.scripts(
        pa.array(
            ["Mug", "\u041a\u0440\u0443\u0436\u043a\u0430 XL", "\u675f\u7b52 mug m", "42", None, "\u30b3\u30c3\u30d7"]
        )
    )
    assert found.tolist() == ["Latin", "Cyrillic", "Latin", None, None, "Chinese or Japanese"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cup with the lid", "English"),
        ("Tasse mit Deckel und Henkel f\u00fcr Tee", "German"),
        ("Tasse avec couvercle et anse pour les enfants", "French"),
        ("Mugg med lock och handtag f\u00f6r barn", "Swedish"),
        ("Taza con tapa y asa para los ni\u00f1os", "Spanish"),
        ("Red mug 300 ml", None),
        ("Without", None),
    ],
)
def test_function_words_name_the_language_or_none(text: str, language: str | None) -> None:
    assert texts.languages(pa.array([text])).tolist() == [language]


def test_near_equal_spellings() -> None:
    counts = {
        "Navy Blue": 50,
        "navy-blue": 2,
        "Maroon": 40,
        "Marroon": 1,
        "Mugs": 9,
        "Mug": 3,
        "100 ml": 90,
        "200 ml": 1,
    }
    assert texts.near_equal(counts) == {"navy-blue": "Navy Blue", "Marroon": "Maroon", "Mug": "Mugs"}


@pytest.mark.parametrize("slip", ["porcelan", "porcelaiin", "porcelian", "porcelyin"])
def test_a_slip_is_one_letter_left_out_added_swapped_or_changed(slip: str) -> None:
    assert texts.near_equal({"porcelain": 30, slip: 3}) == {slip: "porcelain"}
    assert texts.near_equal({"porcelain": 30, slip: 4}) == {}  # too frequent for a slip


def test_two_letters_apart_is_another_word() -> None:
    assert texts.near_equal({"porcelain": 30, "parcelian": 1, "porcel": 1}) == {}
