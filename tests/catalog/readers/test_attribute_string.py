from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moon.catalog.readers.attribute_string import M5PRODUCT, MBE, Separators, parse_attributes
from moon.catalog.readers.sink import RowError

BOTH = st.sampled_from([MBE, M5PRODUCT])
MARKS = frozenset(",:!#;")
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(str.strip).filter(bool)
KEYS = PLAIN.filter(lambda text: not MARKS & set(text))
INNER = st.sampled_from([",", ":", "!", "!!", "#", ";", "x,y", "16:9", "a!b", "红,蓝"])
VALUES = st.one_of(KEYS, st.tuples(KEYS, INNER, KEYS).map("".join))
TABLES = st.dictionaries(KEYS, st.lists(VALUES, min_size=1, max_size=3, unique=True), max_size=4)
PIECES = st.sampled_from(
    [",,", ",", ":", "!!!", "!", "#;#", "#:#", "#", ";", " ", "k", "红色", "a:b", "k#:#v", "\t", "\0"]
)


def written(table: dict[str, list[str]], separators: Separators) -> str:
    """A table as its source would write it."""
    if not separators.values:
        return separators.pairs.join(
            f"{key}{separators.key}{value}" for key, values in table.items() for value in values
        )
    pairs = (f"{key}{separators.key}{separators.values.join(values)}" for key, values in table.items())
    return separators.pairs.join(pairs)


@given(TABLES, BOTH)
def test_what_is_written_is_read_back(table: dict[str, list[str]], separators: Separators) -> None:
    found = parse_attributes(written(table, separators), separators)
    assert found == table and list(found) == list(table)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)), BOTH)
def test_every_text_is_read_or_refused(text: str, separators: Separators) -> None:
    try:
        found = parse_attributes(text, separators)
    except RowError as error:
        assert error.reason == "bad_row"
        parts = [part.partition(separators.key) for part in text.split(separators.pairs) if part.strip()]
        assert any(not mark or not key.strip() for key, mark, _ in parts)
        return
    assert all(key and key == key.strip() and separators.pairs not in key for key in found)
    assert all(separators.key not in key for key in found)
    for values in found.values():
        assert values and len(set(values)) == len(values)
        assert all(value and value == value.strip() and separators.pairs not in value for value in values)
        assert not separators.values or all(separators.values not in value for value in values)
    assert parse_attributes(written(found, separators), separators).keys() <= found.keys()


@given(TABLES, TABLES, BOTH)
def test_pairs_after_one_another_add_up(
    one: dict[str, list[str]], other: dict[str, list[str]], separators: Separators
) -> None:
    joined = parse_attributes(written(one, separators) + separators.pairs + written(other, separators), separators)
    for key in one.keys() | other.keys():
        assert joined[key] == list(dict.fromkeys([*one.get(key, []), *other.get(key, [])]))
    assert joined.keys() == one.keys() | other.keys()


@given(TABLES, st.integers(0, 4), st.sampled_from(["loose", "loose!!!more", " ! "]), BOTH)
def test_a_pair_without_its_mark_is_refused(
    table: dict[str, list[str]], place: int, loose: str, separators: Separators
) -> None:
    assume(separators.key not in loose)
    pairs = [part for part in written(table, separators).split(separators.pairs) if part]
    pairs.insert(place, loose)
    with pytest.raises(RowError, match="is not written key"):
        parse_attributes(separators.pairs.join(pairs), separators)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" ,, ,,", {}),
        ("颜色:红色!!!蓝色,,品牌:Alpha", {"颜色": ["红色", "蓝色"], "品牌": ["Alpha"]}),
        ("ratio:16:9", {"ratio": ["16:9"]}),
        ("size: S !!! M !!!S,,empty:,,size:L", {"size": ["S", "M", "L"]}),
        ("a:b,c,,d:e", {"a": ["b,c"], "d": ["e"]}),
    ],
)
def test_examples(text: str, expected: dict[str, list[str]]) -> None:
    assert parse_attributes(text) == expected


def test_the_other_way_of_writing() -> None:
    text = "品牌#:#AHC#;#功效#:#补水#;#功效#:#抗皱#;#净含量#:#30ml:1"
    assert parse_attributes(text, M5PRODUCT) == {"品牌": ["AHC"], "功效": ["补水", "抗皱"], "净含量": ["30ml:1"]}


@pytest.mark.parametrize("text", ["red", "a:b,,red", ":red", " : red", "a：b"])
def test_what_is_no_pair_is_named(text: str) -> None:
    with pytest.raises(RowError, match="key:value"):
        parse_attributes(text)
