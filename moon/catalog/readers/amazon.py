"""Reader of Amazon Reviews 2023: products with several pictures, and reviews with the shoppers' own photos.

    **/meta_CATEGORY.jsonl(.gz), **/raw_meta_CATEGORY/*.parquet    one product a row:
        parent_asin, title, images, categories, main_category, description, features, store, details
    **/CATEGORY.jsonl(.gz)                                         one review a row:
        parent_asin, verified_purchase, timestamp, images

``images`` of a product is a list of ``{"thumb", "large", "variant", "hi_res"}`` (JSON lines) or an object of such lists
(the hub's Parquet); ``details`` is an object or that as JSON text. ``images`` of a review is a list of
``{"small_image_url", "medium_image_url", "large_image_url", "attachment_type"}``; ``timestamp`` is in milliseconds.

Source: Hou et al., "Bridging Language and Items for Retrieval and Recommendation", arXiv 2403.03952; the data card of
``McAuley-Lab/Amazon-Reviews-2023`` and amazon-reviews-2023.github.io list the fields. The keys of review pictures are
from memory of that page [R].

**No search log.** A verified purchase says who bought what, and not what was searched for; the review's text was
written afterwards. So no query is made of a review, unless asked: `read_amazon_photos` takes the photo that a verified
buyer attached to a review as a query for the product. It shows the thing bought, in a home and not in a studio, but
nobody searched with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.rows import RowError, SourceProduct, hashed_split
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import SourceRow, files_of, root_of, source_rows
from moon.catalog.readers.table_values import list_of, text_of, time_of

_FORM: Final = "Amazon Reviews 2023"
_META: Final = ("**/meta_*.jsonl", "**/meta_*.jsonl.gz", "**/raw_meta_*/*.parquet")
_ROWS: Final = ("**/*.jsonl", "**/*.jsonl.gz")
_SIZES: Final = ("large", "hi_res", "thumb")
"""Addresses of one product picture, the first that is there is read: large is about 500 pixels."""
_REVIEW_SIZES: Final = ("large_image_url", "medium_image_url", "small_image_url")
EVENT: Final = "review_photo"


def read_amazon(source: Path, sink: CatalogSink) -> None:
    """Reads the products below a folder, or of one metadata file; nobody buys anything.

    Splits are 80 : 10 : 10 by a hash of the product id.

    Raises:
        ValueError: no metadata file in ``source``, or one that cannot be read.
    """
    for path in files_of(source, _META, _FORM, single=True):
        rows = source_rows(path, source, ("parent_asin", "title", "images"), _FORM)
        for row in sink.ahead(rows, lambda row: _addresses(row.values.get("images"), _SIZES)):
            product_id = ""
            try:
                product_id = text_of(row.values.get("parent_asin"))
                sink.add_product(product_of(row.values, product_id), root_of(source))
            except RowError as error:
                sink.reject("products", product_id or row.name, error)


def read_amazon_photos(source: Path, sink: CatalogSink) -> None:
    """Reads the products below a folder, and the first photo of each verified buyer's review as a query.

    A query is for the reviewed product and has its split, the review's time and the event ``review_photo``. A review
    without a photo or without a verified purchase gives nothing and is not counted as rejected.

    Raises:
        ValueError: no metadata or no review file in ``source``, or one that cannot be read.
    """
    read_amazon(source, sink)
    files = [path for path in files_of(source, _ROWS, _FORM) if not path.name.startswith("meta_")]
    if not files:
        raise ValueError(f"{source} holds no reviews: no CATEGORY.jsonl or CATEGORY.jsonl.gz beside the metadata")
    for path in files:
        rows = source_rows(path, source, ("parent_asin", "verified_purchase", "images"), _FORM)
        for row in sink.ahead(rows, lambda row: _photo(row.values)):
            try:
                _add_photo(row, root_of(source), sink)
            except RowError as error:
                sink.reject("interactions", row.name, error)


def _photo(row: Mapping[str, Any]) -> list[str]:
    """The first photo of a verified buyer, or none."""
    return _addresses(row.get("images"), _REVIEW_SIZES)[:1] if row.get("verified_purchase") is True else []


def _add_photo(row: SourceRow, root: Path, sink: CatalogSink) -> None:
    for photo in _photo(row.values):
        product_id = text_of(row.values.get("parent_asin"))
        if not sink.has_product(product_id):
            raise RowError("unknown_product", f"product '{product_id}' is not in the catalogue")
        image_id = sink.add_image(f"review:{row.name}", root, photo)
        time = time_of(row.values.get("timestamp"))
        sink.add_interaction(
            row.name,
            product_id,
            text=None,
            image_id=image_id,
            split=hashed_split(product_id),
            event=EVENT,
            timestamp=time,
        )


def product_of(row: Mapping[str, Any], product_id: str) -> SourceProduct:
    """A product as the metadata gives it; ``main_category`` stands in where ``categories`` is empty.

    Raises:
        RowError: a field of another kind than the source's.
    """
    paragraphs = [*list_of(row.get("description"), ""), *list_of(row.get("features"), "")]
    attributes = _details(row.get("details"))
    if store := text_of(row.get("store")):
        attributes.setdefault("store", [store])
    addresses = dict.fromkeys(_addresses(row.get("images"), _SIZES))
    return SourceProduct(
        product_id=product_id,
        title=text_of(row.get("title")),
        description="\n".join(paragraphs),
        category_path=list_of(row.get("categories"), "") or list_of(row.get("main_category"), ""),
        attributes=attributes,
        pictures={f"{product_id}:{place}": address for place, address in enumerate(addresses)},
        split=hashed_split(product_id),
    )


def _addresses(images: Any, sizes: Iterable[str]) -> list[str]:
    """One address a picture, of the first size that it has."""
    if images is None:
        return []
    if isinstance(images, dict):  # Parquet: a list for each size, all of one length
        columns = {name: values for name, values in images.items() if isinstance(values, list)}
        length = max(map(len, columns.values()), default=0)
        images = [{name: values[n] for name, values in columns.items() if n < len(values)} for n in range(length)]
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise RowError("bad_row", f"'images' is no list of objects: {str(images)[:80]}")
    chosen = (next((text for size in sizes if (text := text_of(image.get(size)))), "") for image in images)
    return [address for address in chosen if address]


def _details(details: Any) -> dict[str, list[str]]:
    """Details with one text or number each; those that are tables themselves, such as sales ranks, are left out."""
    if isinstance(details, str):
        try:
            details = json.loads(details) if details.strip() else None
        except (ValueError, RecursionError) as error:
            raise RowError("bad_row", f"'details' is no JSON object: {error}") from None
    if details is None:
        return {}
    if not isinstance(details, dict):
        raise RowError("bad_row", f"'details' is a {type(details).__name__}, expected an object")
    plain = {text_of(key): value for key, value in details.items() if isinstance(value, str | int | float)}
    return {key: [text] for key, value in plain.items() if key and (text := text_of(value))}
