"""Groups of what is pairwise connected."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T", str, int)


class Groups(Generic[T]):
    """Union-find; a group is named by its smallest member."""

    def __init__(self) -> None:
        self._root: dict[T, T] = {}

    def name(self, one: T) -> T:
        """The group of a thing, itself where it was never joined to another."""
        while self._root.setdefault(one, one) != one:
            self._root[one] = self._root[self._root[one]]
            one = self._root[one]
        return one

    def join(self, one: T, other: T) -> None:
        """Makes two groups one."""
        first, second = sorted((self.name(one), self.name(other)))
        self._root[second] = first

    def members(self) -> list[T]:
        """Everything that was asked for or joined, in order."""
        return sorted(self._root)
