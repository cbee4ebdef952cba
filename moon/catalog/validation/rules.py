"""What a check is: a Great Expectations expectation with a name, a severity, and words for what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import great_expectations.expectations as gxe
import numpy as np
import numpy.typing as npt
import pandas as pd

from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams

Severity = Literal["fail", "share", "warn"]
"""``fail``: any row fails the run. ``share``: rows warn up to ``validation.fail_unexpected_share`` and fail above it.
``warn``: rows above the rule's tolerance warn."""

_GX_SEVERITY: Final[Mapping[Severity, str]] = {"fail": "critical", "share": "critical", "warn": "warning"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check."""

    name: str
    """Unique; ``docs/validation.md`` lists it."""
    severity: Severity
    says: str
    """Finishes "N of M rows ..."; of a suite without ``things`` a sentence of its own."""
    advice: str
    """What to do about it, or what comes of it."""
    kind: type[gxe.Expectation]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    """Share of the rows that may break it before it counts as failed."""

    def expectation(self, things: str) -> gxe.Expectation:
        """The expectation; Data Docs show the rule's words instead of the expectation's own.

        Args:
            things: what a row is, in the plural; empty where the rule speaks of the whole.
        """
        arguments = dict(self.arguments)
        if "mostly" in self.kind.__fields__:
            arguments["mostly"] = 1.0 - self.tolerance
        fault = f"{things} that {self.says}" if things and self.kind is not ROWS else self.says
        return self.kind(
            **arguments,
            severity=_GX_SEVERITY[self.severity],
            description=f"{_sentence_case(fault)} ({self.limit}). {_sentence_case(self.advice)}.",
            meta={"check": self.name},
        )

    @property
    def limit(self) -> str:
        """The severity and its tolerance in words."""
        above = f" above {100 * self.tolerance:.3g}%" if self.tolerance else ""
        return f"warns; fails{above}" if self.severity == "share" else f"{self.severity}s{above}"


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


class Checker(Protocol):
    """Makes a rule of one severity."""

    def __call__(self, name: str, kind: type[gxe.Expectation], says: str, advice: str, **arguments: Any) -> Rule:
        """The rule; ``arguments`` go to the expectation."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The rules about one frame."""

    name: str
    things: str
    """What a row of the frame is, in the plural; empty: the frame has one row and sentences do not count."""
    frame: Callable[[Tables, ValidationParams], pd.DataFrame]
    """The frame; its index names the rows."""
    rules: Callable[[ValidationParams], Sequence[Rule]]


def checker(severity: Severity, tolerance: float = 0.0) -> Checker:
    """A maker of rules of one severity and tolerance."""

    def make(name: str, kind: type[gxe.Expectation], says: str, advice: str, **arguments: Any) -> Rule:
        return Rule(
            name=name,
            severity=severity,
            says=says,
            advice=advice,
            kind=kind,
            arguments=arguments,
            tolerance=tolerance,
        )

    return make


FAIL: Final = checker("fail")
WARN: Final = checker("warn")


def share(params: ValidationParams) -> Checker:
    """Rules that warn up to ``fail_unexpected_share`` of the rows and fail above."""
    return checker("share", params.fail_unexpected_share)


def soft(params: ValidationParams) -> Checker:
    """Rules that warn above ``warn_unexpected_share`` of the rows."""
    return checker("warn", params.warn_unexpected_share)


def leak(params: ValidationParams) -> Checker:
    """Rules that warn above ``warn_leak_share`` of the rows."""
    return checker("warn", params.warn_leak_share)


# Built-in expectations under short names. A check that compares rows is precomputed as a column that is null where
# all is well and holds what is wrong elsewhere, so that Data Docs show it.
PRESENT: Final = gxe.ExpectColumnValuesToNotBeNull
NOTHING: Final = gxe.ExpectColumnValuesToBeNull
UNIQUE: Final = gxe.ExpectColumnValuesToBeUnique
BETWEEN: Final = gxe.ExpectColumnValuesToBeBetween
IN_SET: Final = gxe.ExpectColumnValuesToBeInSet
REGEX: Final = gxe.ExpectColumnValuesToMatchRegex
PAIR_EQUAL: Final = gxe.ExpectColumnPairValuesToBeEqual
ROWS: Final = gxe.ExpectTableRowCountToBeBetween


def faults(bad: npt.NDArray[np.bool_], values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """A column that is None where nothing is wrong, and elsewhere the value that is."""
    column = np.full(len(bad), None, object)
    for place in np.flatnonzero(bad).tolist():
        value = values[place]
        column[place] = value.as_py() if hasattr(value, "as_py") else value
    return column


def key_rules(column: str) -> list[Rule]:
    """A key is there and unique."""
    table = column.removesuffix("_id")
    return [
        FAIL(f"{table}-id-present", PRESENT, f"have no {column}", "give every row an id", column=column),
        FAIL(
            f"{table}-id-unique",
            UNIQUE,
            f"share their {column} with another row",
            "other tables name rows by it; keep one row of each id",
            column=column,
        ),
    ]


def split_rules(table: str, splits: Sequence[str]) -> list[Rule]:
    """A split is there and known; a set passes over rows without a value."""
    advice = "rows of no known split are used by no step; set the split"
    named = f"have a split other than {', '.join(splits)}"
    return [
        FAIL(f"{table}-split-present", PRESENT, "have no split", advice, column="split"),
        FAIL(f"{table}-split-known", IN_SET, named, advice, column="split", value_set=list(splits)),
    ]
