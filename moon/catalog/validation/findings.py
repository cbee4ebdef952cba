"""What the checks found, as sentences that name some rows and say what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pandas as pd

from moon.catalog.validation.rules import Rule, Suite

State = Literal["passed", "warned", "failed"]
_EXAMPLES: Final = 3
_EXAMPLE_CHARS: Final = 80


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check that ran."""

    suite: str
    rule: Rule
    state: State
    seen: str
    """Rows that break it, of how many."""
    sentence: str
    """What was found; empty where it passed."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All checks that ran, in their order."""

    results: Sequence[CheckResult]

    @property
    def failures(self) -> list[str]:
        """Sentences of the checks that fail the catalogue."""
        return [result.sentence for result in self.results if result.state == "failed"]

    @property
    def warnings(self) -> list[str]:
        """Sentences of the checks that warn."""
        return [result.sentence for result in self.results if result.state == "warned"]


def check_result(suite: Suite, rule: Rule, result: Any) -> CheckResult:
    """Reads one Great Expectations result by the rule's severity.

    Raises:
        RuntimeError: the expectation could not be computed, which is a fault of ours.
    """
    found = result.result
    if not found:
        raise RuntimeError(f"check {rule.name} could not be computed: {result.exception_info}")
    state: State = "passed"
    if not result.success:
        state = "warned" if rule.severity == "warn" else "failed"
    elif rule.severity == "share" and found["unexpected_count"]:
        state = "warned"
    return CheckResult(
        suite=suite.name,
        rule=rule,
        state=state,
        seen=f"{found['unexpected_count']} of {found['element_count']}" if "unexpected_count" in found else "",
        sentence="" if state == "passed" else _sentence(suite, rule, found),
    )


def _sentence(suite: Suite, rule: Rule, found: Mapping[str, Any]) -> str:
    if "unexpected_count" not in found:
        rows, least = found["observed_value"], rule.arguments["min_value"]
        return f"{suite.name} has {rows} rows, at least {least} are needed: {rule.advice}"
    if not suite.things:
        return f"{rule.says}; {rule.advice}"
    count = f"{found['unexpected_count']} of {found['element_count']} {suite.things} {rule.says}"
    return f"{count}, such as {_examples(found)}: {rule.advice}"


def _examples(found: Mapping[str, Any]) -> str:
    """Names of some rows, each with what is wrong with it where that says more."""
    names = found["partial_unexpected_index_list"]
    told = []
    for name, value in zip(names, found["partial_unexpected_list"] or [None] * len(names), strict=False):
        text, more = "(no id)" if pd.isna(name) else str(name).strip() or "(empty)", _told(value)
        told.append(_short(more if more.startswith(text) else f"{text} ({more})" if more else text))
    return ", ".join(list(dict.fromkeys(told))[:_EXAMPLES])


def _told(value: Any) -> str:
    """A value as a sentence shows it; nothing where it is missing."""
    if isinstance(value, tuple | list):  # a pair of columns
        return " instead of ".join(map(str, value))
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _EXAMPLE_CHARS else f"{text[:_EXAMPLE_CHARS]}..."
