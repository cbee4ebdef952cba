"""What a parameter may be: numbers within limits and texts among choices, as marks of dataclass fields."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any


class ParamsError(ValueError):
    """A parameter is unknown or has a value it cannot have; the message names it and what was expected."""


@dataclass(frozen=True)
class Limits:
    """What a number may be, as the mark of a field: ``steps: Annotated[int, Limits(1)]``.

    On a tuple it holds for every number in it, and there must be one.
    """

    low: float
    high: float = math.inf
    open: bool = False
    """The limits themselves are excluded."""

    def check(self, name: str, value: Any) -> None:
        """Refuses a value outside the limits.

        Raises:
            ParamsError: it is outside, or not a finite number.
        """
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers:
            raise ParamsError(f"{name} must hold at least one number, got none")
        for number in numbers:
            if isinstance(number, float) and not math.isfinite(number):
                raise ParamsError(f"{name} must be a finite number, got {number}")
            if not (self.low < number < self.high if self.open else self.low <= number <= self.high):
                raise ParamsError(f"{name} must be {self}, got {number}")

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'more than' if self.open else 'at least'} {self.low}"
        return f"{'between' if self.open else 'from'} {self.low} {'and' if self.open else 'to'} {self.high}"


@dataclass(frozen=True)
class OneOf:
    """The values that a text may have, as the mark of a field: ``mode: Annotated[str, OneOf("a", "b")]``."""

    values: tuple[str, ...]

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)

    def check(self, name: str, value: Any) -> None:
        """Refuses another value.

        Raises:
            ParamsError: it is none of the values.
        """
        if value not in self.values:
            raise ParamsError(f"{name} must be one of {', '.join(self.values)}, got '{value}'")


Count = Annotated[int, Limits(1)]
Natural = Annotated[int, Limits(0)]
Seed = Annotated[int, Limits(0, 2**63 - 1)]
Share = Annotated[float, Limits(0, 1)]
Positive = Annotated[float, Limits(0, open=True)]
NotNegative = Annotated[float, Limits(0)]
Port = Annotated[int, Limits(0, 65_535)]
Pixels = Annotated[int, Limits(28 * 28)]
"""At least one merged patch of Qwen2.5-VL."""


class Section:
    """The parameters of one step; a value that breaks the mark of its field is refused however it came there."""

    def __post_init__(self) -> None:
        section = type(self).__name__.removesuffix("Params").lower()
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            for mark in getattr(hint, "__metadata__", ()):
                mark.check(f"{section}.{name}", getattr(self, name))
