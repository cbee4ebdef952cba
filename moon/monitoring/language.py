"""A guess at the language of a short query: by its script, and among languages in Latin letters by common words.

A query of three words says too little for certainty. What counts for drift is that the same text always gets the same
name, so that a new market shows as a change of the names' shares.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Final

UNKNOWN: Final = "und"
LATIN: Final = "und-Latn"
"""Latin letters, language unknown."""

_SCRIPTS: Final = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "und-Cyrl",
    "ARABIC": "und-Arab",
    "HEBREW": "he",
    "GREEK": "el",
    "THAI": "th",
    "DEVANAGARI": "und-Deva",
    "LATIN": LATIN,
}
_WORDS: Final = {
    "en": "the and for with without of in on to women men kids black white red blue green",
    "de": "der die das und für mit ohne im auf zu damen herren kinder schwarz weiß rot blau grün",
    "fr": "le la les et pour avec sans du des au femme homme enfant noir noire blanc rouge bleu vert",
    "es": "el los las y para con sin del al mujer hombre niños negro negra blanco rojo azul verde",
    "it": "il gli e per con senza della nel donna uomo bambini nero nera bianco rosso blu",
    "pt": "os as e para com sem da do mulher homem crianças preto preta branco vermelho azul verde",
    "nl": "de het en voor met zonder van dames heren kinderen zwart wit rood blauw groen",
    "pl": "i dla z bez na do damskie męskie dzieci czarny czarna biały czerwony niebieski zielony",
}
_LANGUAGES: Final = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def guess_language(text: str) -> str:
    """A BCP 47 name such as ``en`` or ``und-Cyrl``; ``und`` where the text has no letters of a known script."""
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    scripts.pop(UNKNOWN, None)
    if not scripts:
        return UNKNOWN
    if scripts["ja"]:  # Japanese mixes its own letters with Chinese characters.
        return "ja"
    script = scripts.most_common(1)[0][0]
    return _by_words(text) if script == LATIN else script


def _script(letter: str) -> str:
    return _SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], UNKNOWN)


def _by_words(text: str) -> str:
    """The language that has the most of the text's words; `LATIN` where none has any or two have as many."""
    words = set(text.casefold().split())
    found = Counter({language: len(words & known) for language, known in _LANGUAGES.items()})
    (first, most), (_, second) = found.most_common(2)
    return first if most > second else LATIN
