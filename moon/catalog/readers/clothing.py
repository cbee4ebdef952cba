"""Reader of the clothing format: photos that people took of single garments at home.

    items.jsonl    image_id, image, label, category ["Apparel", label], attributes.kids, sender_id, split

Source: Grigorev's "Clothing dataset" (CC0). It has no titles and no purchase log: a title is made of the label, and
`read_clothing` derives the purchases, so what is measured on it is how well a garment is found by an altered photo of
it before a real background, and how well its label is predicted. ``sender_id`` says who took the photo; it is no
property of the garment and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.fashion import add_shoppers_photo
from moon.catalog.readers.items_file import read_items
from moon.catalog.readers.sink import CatalogSink, RowError, SourceProduct, share_of
from moon.catalog.readers.table_values import list_of, text_of

_ITEMS: Final = "items.jsonl"
_BOTH_SHARE: Final = 1 / 6
"""Share of the products that are also asked for by photo and word."""


def read_clothing(source: Path, sink: CatalogSink) -> None:
    """Reads a folder in the clothing format; each photo is a product in its own split.

    Each product is bought once for a photo, `shoppers_photo` of its own, and a sixth of them, by a hash of the id, also
    for that photo with the label in lower case. There are no text queries: a label alone means a hundred garments.
    Times are made, see `CatalogSink.add_interaction`.

    Raises:
        ValueError: no items file in ``source``.
    """
    read_items(source, _ITEMS, "clothing", sink, _add)


def _add(row: Mapping[str, Any], source: Path, sink: CatalogSink) -> None:
    category, attributes = row.get("category"), row.get("attributes")
    if not isinstance(category, list) or not isinstance(attributes, dict):
        raise RowError("bad_row", "'category' must be a list and 'attributes' an object")
    name, label, path = (text_of(row.get(key)) for key in ("image_id", "label", "image"))
    kids = bool(attributes.get("kids"))
    product = SourceProduct(
        product_id=name,
        title=f"{label} for kids" if kids and label else label,
        description="",
        category_path=list_of(category, ""),
        attributes={"age": ["kids" if kids else "adults"]},
        pictures={f"home:{name}": path} if path else {},
        split=text_of(row.get("split")),
    )
    sink.add_product(product, source)
    photo = f"photo:{name}"
    add_shoppers_photo(photo, product.pictures, source, sink)
    sink.add_interaction(photo, name, text=None, image_id=photo, split=product.split)
    if share_of(f"both:{name}") < _BOTH_SHARE:
        sink.add_interaction(f"both:{name}", name, text=label.lower(), image_id=photo, split=product.split)
