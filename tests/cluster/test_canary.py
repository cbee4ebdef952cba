from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon.cluster.canary import Traffic, checks, traffic
from moon.config import ServingParams

PARAMS = ServingParams(canary_min_items=1000, canary_max_failures=0.01, canary_max_slowdown=1.5)
GOOD = Traffic(items=5000, failures=5, seconds=0.02)
COUNTS = st.integers(0, 10**6).map(float)


def verdicts(stable: Traffic, canary: Traffic) -> list[bool | None]:
    """Of enough traffic, failures and speed."""
    return [check.met for check in checks(stable, canary, PARAMS)]


def test_an_equal_canary_meets_every_condition() -> None:
    assert verdicts(GOOD, GOOD) == [True, True, True]


def test_too_little_traffic_leaves_it_open() -> None:
    assert verdicts(GOOD, Traffic(items=900, failures=0, seconds=9.0)) == [None, True, None]
    assert verdicts(GOOD, Traffic(items=0, failures=0, seconds=None)) == [None, True, None]


def test_failures_are_compared_with_the_stable_version() -> None:
    failing = Traffic(items=4000, failures=400, seconds=0.02)
    assert verdicts(GOOD, failing)[1] is False
    assert verdicts(failing, failing)[1] is True


def test_a_canary_that_only_fails_is_judged_before_its_traffic_is_complete() -> None:
    assert verdicts(GOOD, Traffic(items=0, failures=50, seconds=None))[1] is False
    assert verdicts(GOOD, Traffic(items=5, failures=1, seconds=0.02))[1] is True


def test_a_slow_canary_fails() -> None:
    assert verdicts(GOOD, Traffic(items=5000, failures=0, seconds=0.0299))[2] is True
    assert verdicts(GOOD, Traffic(items=5000, failures=0, seconds=0.0301))[2] is False


@given(items=COUNTS, failures=COUNTS, more=st.integers(1, 10**6))
def test_more_failures_never_help(items: float, failures: float, more: int) -> None:
    before = verdicts(GOOD, Traffic(items=items, failures=failures, seconds=0.02))[1]
    after = verdicts(GOOD, Traffic(items=items, failures=failures + more, seconds=0.02))[1]
    assert before or not after


@given(items=COUNTS, failures=COUNTS)
def test_every_condition_says_what_it_found(items: float, failures: float) -> None:
    for check in checks(GOOD, Traffic(items=items, failures=failures, seconds=0.02), PARAMS):
        word = {True: "Met", False: "Failed", None: "Open"}[check.met]
        assert check.reason.startswith(f"{word}: ")


def answering(values: dict[str, float]) -> Callable[[str], float | None]:
    return lambda query: next((value for part, value in values.items() if part in query), None)


def test_traffic_is_of_one_predictor_and_stages_add_up() -> None:
    asked: list[str] = []
    values = answering({"moon_items": 10, "moon_errors": 2, "moon_queue": 0.5, "moon_forward": 0.25})

    def ask(query: str) -> float | None:
        asked.append(query)
        return values(query)

    assert traffic(ask, "shop", "moon-v2-predictor", "1h") == Traffic(items=10, failures=2, seconds=0.75)
    assert all('namespace="shop",predictor="moon-v2-predictor"' in query and "[1h]" in query for query in asked)


def test_nothing_measured_is_no_time_of_zero() -> None:
    assert traffic(answering({}), "moon", "moon-predictor", "5m") == Traffic(items=0, failures=0, seconds=None)
    assert pytest.approx(0.5) == Traffic(items=1, failures=1, seconds=None).failure_share
