"""Attributes written as one string, the way Alibaba's data sets do.

    attributes = [ pair *( PAIRS pair ) ]
    pair       = key KEY value *( VALUES value )

MBE has ``,,`` between pairs, ``:`` after the key and ``!!!`` between values, as in
``colour:red!!!blue,,brand:Alpha``. M5Product has ``#;#`` and ``#:#`` and repeats a key that has several values. A
separator cannot be quoted. Separators are found from the left, and the first KEY of a pair ends its key:
``ratio:16:9`` is the value ``16:9``.

Sources: for MBE, public scripts that read ``doc_attributes`` of ``Daoze/MM-Bench-E-Commerce``; for M5Product, a
commented line of the data loader in ``Xiaodongsuper/M5Product_toolkit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moon.catalog.readers.rows import RowError

_SHOWN: Final = 80


@dataclass(frozen=True, kw_only=True)
class Separators:
    """The three separators of the grammar; none may be empty but ``values``, which then never separates."""

    pairs: str
    key: str
    values: str = ""


MBE: Final = Separators(pairs=",,", key=":", values="!!!")
M5PRODUCT: Final = Separators(pairs="#;#", key="#:#")


def parse_attributes(text: str, separators: Separators = MBE) -> dict[str, list[str]]:
    """Reads an attribute string; every text is either read or refused with `RowError`.

    White space around keys and values does not count. A repeated key goes on with its values, and a repeated value
    counts once. What says nothing is passed over: an empty pair, an empty value, a key without a value.

    Args:
        text: the string; empty for no attributes.
        separators: which of the two ways of writing it.

    Returns:
        The values by key, both in the order of their first occurrence; no key and no value is empty.

    Raises:
        RowError: a pair without KEY, or with an empty key. What it might mean is not guessed.
    """
    found: dict[str, dict[str, None]] = {}
    for pair in text.split(separators.pairs):
        if not pair.strip():
            continue
        key, mark, rest = pair.partition(separators.key)
        key = key.strip()
        if not mark or not key:
            raise RowError(
                "bad_row",
                f"attribute '{pair.strip()[:_SHOWN]}' is not written key{separators.key}value in an attribute string",
            )
        values = rest.split(separators.values) if separators.values else [rest]
        found.setdefault(key, {}).update(dict.fromkeys(value for part in values if (value := part.strip())))
    return {key: list(values) for key, values in found.items() if values}
