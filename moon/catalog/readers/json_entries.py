"""Entries of one large JSON object, ``{"id": {...}, ...}``, without holding the object."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from moon.progress import follow

_CHUNK: Final = 1 << 16
_MAX_VALUE: Final = 16 * 1024 * 1024
"""Characters of the largest value; where more do not make a value the file is taken to be damaged."""
_SPACE: Final = " \t\r\n"
_AFTER: Final = frozenset(",:}" + _SPACE)
"""What may follow a key or a value."""
_DECODER: Final = json.JSONDecoder()


def json_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of the object that a UTF-8 file holds, in file order and behind a progress bar.

    A repeated key comes again. Memory is that of the largest value.

    Raises:
        ValueError: the file holds no object, or is damaged from some place on.
    """
    try:
        with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
            entries = _Scanner(path, file).entries()
            yield from follow(entries, f"reading {path.name}", path.stat().st_size, raw.tell)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None


class _Scanner:
    """Reads forward through a file, keeping what has not been understood yet."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file
        self._text, self._place, self._passed, self._ended = "", 0, 0, False

    def entries(self) -> Iterator[tuple[str, Any]]:
        if self._next() != "{":
            raise self._damaged("no '{' opens it")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str) or self._next() != ":":
                raise self._damaged('no "key": where one is expected')
            yield key, self._value()
            mark = self._next()
            if mark == "}":
                return
            if mark != ",":
                raise self._damaged("neither ',' nor '}' after a value")

    def _peek(self) -> str:
        """The next character that is no white space, unread; empty at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _SPACE:
                self._place += 1
            if self._place < len(self._text) or not self._more():
                return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        character = self._peek()
        self._place += len(character)
        return character

    def _value(self) -> Any:
        self._peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                problem = str(error)
            else:
                after = self._text[end : end + 1]
                if after in _AFTER if after else self._ended:  # otherwise a number, such as 1.5, might go on
                    self._place = end
                    return value
                problem = "it ends within a value"
            if self._ended or len(self._text) - self._place > _MAX_VALUE:
                raise self._damaged(problem)
            while len(self._text) - self._place < wanted and self._more():
                pass
            wanted *= 2

    def _more(self) -> bool:
        """Reads on and forgets what was understood; False at the end of the file."""
        chunk = self._file.read(_CHUNK)
        self._passed += self._place
        self._text, self._place = self._text[self._place :] + chunk, 0
        self._ended = not chunk
        return bool(chunk)

    def _damaged(self, problem: str) -> ValueError:
        return ValueError(
            f"{self._path} is no JSON object of products, or damaged, near character {self._passed + self._place}: "
            f"{problem}; get it again"
        )
