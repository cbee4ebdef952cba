from __future__ import annotations

import pytest

from moon.cluster.lineage import checked, parent_entry


def test_facts_come_in_order_without_those_that_are_not_known() -> None:
    given = {"image.train": "x@sha256:1", "git": "abc", "dvc": "", "data": "123", "image.data": "y@sha256:2"}
    assert list(checked(given).items()) == [
        ("data", "123"),
        ("git", "abc"),
        ("image.data", "y@sha256:2"),
        ("image.train", "x@sha256:1"),
    ]


@pytest.mark.parametrize("given", [{"date": "x"}, {"data": 3}, {"images": "x"}])
def test_a_fact_that_is_none_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="lineage"):
        checked(given)


def test_a_parent_is_an_entry() -> None:
    assert parent_entry("moon/v3@abc") == ("moon", "v3", "abc")
    for text in ("moon", "moon/v3", "moon@abc", "/v3@abc", "moon/v3@"):
        with pytest.raises(ValueError, match="NAME/VERSION@DIGEST"):
            parent_entry(text)
