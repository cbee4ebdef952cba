"""Enriched titles: what the category and the attributes say and the title does not (MOON2.0, co-augmentation of text).

MOON2.0 has the entities of title and description woven into the title by a language model. Adding known values, and
nothing else, is our reconstruction [R]: it cannot say what nobody knows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

MAX_CHARS: Final = 160
"""Longest title that additions may make."""
_EMPTY: Final = frozenset(
    "yes no true false none null unknown other others misc n a na not applicable available specified unbranded".split()
)
"""A value of these words alone says nothing without the name of its attribute."""
_UNSPACED: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
"""Japanese and Chinese, which do not part words by spaces."""


def enriched_title(
    title: str | None,
    category_path: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    max_chars: int = MAX_CHARS,
) -> str | None:
    """The title with every attribute value and the leaf category that it lacks, or None where nothing is added.

    A value is added in its own spelling, after the title and in the order of the attributes, the category last. It is
    lacking where its words do not follow each other in the title, whatever their case, accents, punctuation and
    number (singular or plural). Values without letters, such as bare numbers, and values like "yes" are never added.

    Args:
        title: the title; None counts as empty.
        category_path: the category path, from the root to the leaf.
        attributes: values by attribute name.
        max_chars: a value that would make the title longer than this is passed over.
    """
    original = " ".join((title or "").split())
    enriched = original
    for value in [*(value for values in attributes.values() for value in values or ()), *category_path[-1:]]:
        text = " ".join(value.split()).strip(" ,;")
        longer = f"{enriched}, {text}" if enriched else text
        if _says_something(text) and len(longer) <= max_chars and not _says(enriched, text):
            enriched = longer
    return None if enriched == original else enriched


def _says_something(text: str) -> bool:
    return any(character.isalpha() for character in text) and not _EMPTY.issuperset(_words(text))


def _says(title: str, value: str) -> bool:
    """Whether the words of a value stand in a title, one after the other."""
    if _UNSPACED.search(value) and _plain(value) in _plain(title):
        return True
    have, need = _words(title), _words(value)
    return any(have[start : start + len(need)] == need for start in range(len(have) - len(need) + 1))


def _words(text: str) -> list[str]:
    """Words without case, accents, punctuation and plural endings."""
    return [_singular(word) for word in re.findall(r"\w+", _plain(text).replace("_", " "))]


def _plain(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))


def _singular(word: str) -> str:
    """A plural without its ending: berries, dresses, mugs; a rule of thumb that treats both sides alike."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
