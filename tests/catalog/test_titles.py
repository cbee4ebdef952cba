from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.catalog.titles import enriched_title

VALUES = st.text(alphabet="abS é1-", max_size=8)
ATTRIBUTES = st.dictionaries(VALUES, st.lists(VALUES, max_size=3), max_size=4)


@pytest.mark.parametrize(
    ("title", "category", "attributes", "expected"),
    [
        ("Blue Mug", ["Home", "Mugs"], {"colour": ["blue"]}, None),
        ("Mug", ["Home", "Mugs"], {"colour": ["navy blue"], "material": ["Stoneware"]}, "Mug, navy blue, Stoneware"),
        ("Blue mug", [], {"colour": ["navy blue"]}, "Blue mug, navy blue"),
        ("Navy-Blue mug", [], {"colour": ["navy blue"]}, None),
        ("Redwood desk", [], {"colour": ["red"]}, "Redwood desk, red"),
        ("Two berries", ["Fruit", "Berry"], {}, None),
        ("Dresses", ["Clothes", "Dress"], {}, None),
        ("Café chair", [], {"style": ["cafe"]}, None),
        ("Chair", [], {"colour": ["red", "Red", "blue"]}, "Chair, red, blue"),
        ("Chair", [], {"foldable": ["yes"], "sold by": ["N/A"], "legs": ["4"], "width": ["50 cm"]}, "Chair, 50 cm"),
        ("红色陶瓷杯", [], {"颜色": ["红色"], "材质": ["骨瓷"]}, "红色陶瓷杯, 骨瓷"),
        (None, ["Mugs"], {"colour": ["blue"]}, "blue, Mugs"),
        ("", [], {}, None),
    ],
)
def test_only_what_the_title_lacks_is_added(
    title: str | None, category: list[str], attributes: dict[str, list[str]], expected: str | None
) -> None:
    assert enriched_title(title, category, attributes) == expected


def test_a_value_that_does_not_fit_is_passed_over() -> None:
    assert enriched_title("Mug", [], {"a": ["stoneware", "red"]}, max_chars=9) == "Mug, red"


@given(VALUES, st.lists(VALUES, max_size=2), ATTRIBUTES)
def test_nothing_is_invented_and_nothing_is_said_twice(
    title: str, category: list[str], attributes: dict[str, list[str]]
) -> None:
    enriched = enriched_title(title, category, attributes)
    assert enriched == enriched_title(title, category, attributes)
    if enriched is None:
        return
    assert enriched.startswith(" ".join(title.split())) and len(enriched) <= 160
    known = [title, *category[-1:], *(value for values in attributes.values() for value in values)]
    assert set(re.findall(r"\w+", enriched)) <= {word for text in known for word in re.findall(r"\w+", text)}
    assert enriched_title(enriched, category, attributes) is None
