"""Measures of many short texts at once: normal form, damage, script, language, near-equal spellings.

They look at each distinct text once and run in Arrow's compute functions, so a million texts take seconds.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Objects = npt.NDArray[np.object_]

_SCRIPTS: Final = {
    "Latin": r"\p{Latin}",
    "Cyrillic": r"\p{Cyrillic}",
    "Greek": r"\p{Greek}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Devanagari": r"\p{Devanagari}",
    "Bengali": r"\p{Bengali}",
    "Tamil": r"\p{Tamil}",
    "Thai": r"\p{Thai}",
    "Hangul": r"\p{Hangul}",
    "Chinese or Japanese": r"[\p{Han}\p{Hiragana}\p{Katakana}]",
}
_OTHER_SCRIPT: Final = r"[^\P{L}\p{Latin}]"
"""A letter that is not Latin."""
_MIXED: Final = "|".join(f"{a}{b}|{b}{a}" for a in [r"\p{Latin}"] for b in (r"\p{Cyrillic}", r"\p{Greek}"))
"""Letters that look alike, side by side in one word."""
_DAMAGE: Final = "|".join(
    (
        r"</?[A-Za-z][^<>]{0,200}>",  # markup
        r"&(?:[A-Za-z]{2,8}|#[0-9]{2,6}|#x[0-9A-Fa-f]{2,5});",  # its entities
        r"[ÂÃ][\x{0080}-\x{00BF}]|â€|ï»¿",  # UTF-8 read as Latin-1
        r"\x{FFFD}|[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]",  # lost and control characters
    )
)
# Words that hold sentences together, chosen to be rare in the other languages of the list [R].
_FUNCTION_WORDS: Final = {
    "English": "the and with for of from without your",
    "German": "und mit für der das ohne aus ist",
    "French": "et avec pour les des du une sans",
    "Spanish": "y con para los las del una sin",
    "Italian": "di della per il gli senza nel che",
    "Portuguese": "com dos das uma sem não você os",
    "Dutch": "met voor het een van zonder zijn aan",
    "Swedish": "och med för utan till av är den",
    "Danish or Norwegian": "og med til uden uten af er som",
    "Polish": "z do dla bez oraz jest na w",
    "Turkish": "ve ile için bir bu olan",
}
_HITS: Final = 2
"""Function words without which no language is named."""
_TYPO_LETTERS: Final = 6
_TYPO_RATIO: Final = 10
"""A spelling this many times rarer than one a letter away is taken for its slip [R]."""


def normal_forms(texts: pa.ChunkedArray | pa.Array) -> pa.Array | pa.ChunkedArray:
    """Texts in lower case and decomposed compatibility form, words parted by one space; null where no word is left."""
    plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKD"))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\p{L}\p{M}\p{N}]+", " "))
    return pc.if_else(pc.equal(words, ""), pa.scalar(None, words.type), words)


def damaged(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Texts with markup, entities, wrongly decoded or control characters."""
    return _matches(texts, _DAMAGE)


def mixed_words(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Texts that mix Latin with Cyrillic or Greek letters inside a word."""
    return _matches(texts, _MIXED)


def wordless(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Texts that are there and hold no letter."""
    return ~_matches(texts, r"\p{L}") & _bools(pc.is_valid(texts))


def scripts(texts: pa.Array) -> Objects:
    """The script of most letters of each text, None where there is no letter of a known one."""
    found = np.full(len(texts), None, object)
    found[_matches(texts, r"\p{Latin}")] = "Latin"
    rows = np.flatnonzero(_matches(texts, _OTHER_SCRIPT))
    if len(rows):
        part = texts.take(pa.array(rows))
        counts = np.stack([_counts(part, pattern) for pattern in _SCRIPTS.values()])
        known = counts.max(0) > 0
        found[rows[known]] = np.asarray(list(_SCRIPTS), object)[counts.argmax(0)][known]
    return found


def languages(texts: pa.Array) -> Objects:
    """The language of each text where its function words tell, else None [R].

    A text has a language when it holds two function words of it and more than of any other; titles seldom do, so what
    is named is nearly always right and most texts are not named.
    """
    words = pc.utf8_lower(texts)
    patterns = [rf"(?:^|[^\p{{L}}])(?:{'|'.join(of.split())})(?:$|[^\p{{L}}])" for of in _FUNCTION_WORDS.values()]
    spaced = pc.replace_substring_regex(words, r"[^\p{L}]+", "  ")  # a match takes the sign on either side
    counts = np.stack([_counts(spaced, pattern) for pattern in patterns])
    ranked = np.sort(counts, axis=0)
    clear = (ranked[-1] >= _HITS) & (ranked[-1] > ranked[-2])
    found = np.full(len(texts), None, object)
    found[clear] = np.asarray(list(_FUNCTION_WORDS), object)[counts.argmax(0)][clear]
    return found


def foreign(found: Objects, least_share: float) -> npt.NDArray[np.bool_]:
    """Texts whose script or language is found in less than ``least_share`` of those that have one."""
    names, counts = np.unique(found[found != None].astype(str), return_counts=True)  # noqa: E711 (elementwise)
    rare = [name for name, count in zip(names, counts, strict=True) if count < least_share * counts.sum()]
    return np.isin(found.astype(str), rare) & (found != None)  # noqa: E711


def near_equal(counts: Mapping[str, int]) -> dict[str, str]:
    """Spellings that are probably one: the rarer spelling -> the more frequent one.

    Two spellings are probably one where they differ in case, accents, spaces, punctuation or a plural s only; or where
    they differ by one letter (left out, added, changed or swapped with its neighbour), have at least six and no digit,
    and one is ten times as frequent as the other [R].

    Args:
        counts: how often each spelling occurs.
    """
    by_frequency = sorted(counts, key=lambda text: (-counts[text], text))
    first: dict[str, str] = {}
    found: dict[str, str] = {}
    for text in by_frequency:
        known = first.setdefault(_skeleton(text), text)
        if known != text:
            found[text] = known
    return found | _slips({skeleton: text for skeleton, text in first.items() if skeleton.isalpha()}, counts)


def _slips(spellings: Mapping[str, str], counts: Mapping[str, int]) -> dict[str, str]:
    """Rare spellings one letter away from a frequent one; ``spellings`` are in the order of frequency."""
    near: dict[str, list[str]] = defaultdict(list)
    found: dict[str, str] = {}
    for skeleton, text in spellings.items():
        if len(skeleton) < _TYPO_LETTERS:
            continue
        forms = {skeleton, *_shorter(skeleton)}
        for other in dict.fromkeys(other for form in forms for other in near[form]):
            if counts[spellings[other]] >= _TYPO_RATIO * counts[text] and _one_step(skeleton, other):
                found[text] = spellings[other]
                break
        for form in forms:
            near[form].append(skeleton)
    return found


def _shorter(text: str) -> Iterator[str]:
    return (text[:place] + text[place + 1 :] for place in range(len(text)))


def _one_step(one: str, other: str) -> bool:
    """Whether one letter left out, added, changed or swapped makes one of the other."""
    if abs(len(one) - len(other)) == 1:
        longer, shorter = (one, other) if len(one) > len(other) else (other, one)
        return shorter in set(_shorter(longer))
    places = [place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or len(places) > 2:
        return False
    if len(places) == 2:
        left, right = places
        return right == left + 1 and one[left] == other[right] and one[right] == other[left]
    return len(places) == 1


def _skeleton(text: str) -> str:
    """A spelling without case, accents, spaces, punctuation and a final s."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    bare = re.sub(r"[\W_]+", "", "".join(part for part in parts if not unicodedata.combining(part)))
    if len(bare) > 3 and bare.endswith("s") and not bare.endswith("ss"):
        bare = bare[:-1]
    return bare or text


def _matches(texts: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    return _bools(pc.fill_null(pc.match_substring_regex(texts, pattern), False))


def _bools(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def _counts(texts: pa.Array, pattern: str) -> npt.NDArray[np.int64]:
    counts = pc.fill_null(pc.count_substring_regex(texts, pattern), 0)
    return np.asarray(counts.to_numpy(zero_copy_only=False), np.int64)
