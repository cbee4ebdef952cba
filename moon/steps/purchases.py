"""The interactions that stand for the queries to come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moon.items import ItemSource


def usable_purchases(source: ItemSource, catalog: Path) -> list[dict[str, Any]]:
    """All usable interactions, held-out ones before those the model was trained on, by id of the query.

    Raises:
        ValueError: there is none.
    """
    found = [
        row
        for split in ("test", "val", "train")
        for row in sorted(source.purchases(split), key=lambda row: str(row["query_id"]))
    ]
    if not found:
        raise ValueError(f"{catalog} has no usable interactions to question a server with; see 'moon validate'")
    return found
