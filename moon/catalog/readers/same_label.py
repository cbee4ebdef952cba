"""Queries whose right answers are all gallery products with one of their labels (Product1M, M5Product)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from moon.catalog.readers.rows import RowError
from moon.catalog.readers.sink import CatalogSink

EVENT: Final = "same_product"
"""An annotator, and no shopper, said that query and product are the same thing."""


class LabelledGallery:
    """Products by label, held as ids in memory.

    Labels become relations ``same`` and not attributes: an attribute is text that the model reads, and a label is the
    answer to the queries. The products of one label are all related to the first of them.
    """

    def __init__(self, sink: CatalogSink) -> None:
        self._sink = sink
        self._products: dict[str, list[str]] = {}

    def add(self, product_id: str, labels: Iterable[str]) -> None:
        """Makes an accepted product an answer to queries with one of ``labels``."""
        for label in labels:
            known = self._products.setdefault(label, [])
            if known:
                self._sink.add_relation(product_id, known[0], "same")
            known.append(product_id)

    def ask(self, query_id: str, labels: Iterable[str], *, text: str, picture: str, root: Path, split: str) -> None:
        """Stores a query of text and picture, as one interaction with each of its right answers.

        Raises:
            RowError: nothing in the gallery has one of its labels, or the picture cannot be used.
        """
        answers = dict.fromkeys(product for label in labels for product in self._products.get(label, ()))
        if not answers:
            raise RowError("unknown_product", f"query {query_id}: no accepted gallery product has one of its labels")
        image_id = self._sink.add_image(f"query:{query_id}", root, picture)
        for product_id in answers:
            self._sink.add_interaction(
                f"{query_id}:{product_id}", product_id, text=text, image_id=image_id, split=split, event=EVENT
            )
