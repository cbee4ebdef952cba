"""Reader of the Grocery Store format: iconic pictures and texts of products, natural photos taken in shops.

    products.jsonl        product_id, title, description, category [top, coarse], attributes.information, images
    natural_images.jsonl  image_id, image, product_id, split

Source: Klasson, Zhang, Kjellström, "A Hierarchical Grocery Store Image Dataset", WACV 2019. Either file may hold any
subset of the rows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.sink import CatalogSink, RowError, SourceProduct, check_split, share_of
from moon.catalog.readers.table_files import TableFile
from moon.catalog.readers.table_values import list_of, text_of

_PRODUCTS: Final = "products.jsonl"
_PHOTOS: Final = "natural_images.jsonl"
_BOTH_SHARE: Final = 2 / 12
"""Share of the photos that are asked a second time together with a word."""
_EVALUATION_SHARE: Final = 1 / 3
"""Share of the descriptions kept for evaluation."""
_LINE: Final = re.compile(r"^(Manufacturer|Country)(?: and volume)?: *(.+)$", re.MULTILINE)
_MAKER_COUNTRY: Final = re.compile(r"^Manufacturing country: *(.+)$", re.MULTILINE)
_VOLUME: Final = re.compile(r"^(?:ca )?\d+(?:[.,]\d+)?(?:g|kg|ml|cl|dl|l)$")
_COUNTRIES: Final = {"Sverige": "Sweden"}
"""The one country that the source also writes in Swedish."""


def read_grocery_store(source: Path, sink: CatalogSink) -> None:
    """Reads a folder in the Grocery Store format.

    Every product is in split train, because all of them are seen; the photos keep the source's split. A photo is an
    image query that ends with its product, a description is a text query, and a sixth of the photos also come with
    the lower-cased coarse category as a query of both. A third of the descriptions is for evaluation: split test
    where the source has test photos, else val. The source has no times, see `CatalogSink.add_interaction`.

    Raises:
        ValueError: no products file in ``source``.
    """
    if not (source / _PRODUCTS).is_file():
        raise ValueError(f"{source} is not in the Grocery Store format: no {_PRODUCTS} there")
    lines, words = _add_products(source, sink)
    splits = _add_photos(source, words, sink)
    evaluation = "test" if "test" in splits else "val"
    for line, row in TableFile(source / _PRODUCTS).rows():
        product_id = lines.get(line)
        if product_id is None or isinstance(row, RowError):
            continue
        split = evaluation if share_of(f"text:{product_id}") < _EVALUATION_SHARE else "train"
        if description := text_of(row.get("description")):
            sink.add_interaction(f"text:{product_id}", product_id, text=description, image_id=None, split=split)


def _add_products(source: Path, sink: CatalogSink) -> tuple[dict[int, str], dict[str, str]]:
    """Adds the products; returns the accepted ones by their line, and the coarse category's word of each."""
    lines, words = {}, {}
    for line, row in TableFile(source / _PRODUCTS).rows():
        product_id = ""
        try:
            if isinstance(row, RowError):
                raise row
            product_id = text_of(row.get("product_id"))
            _add_product(product_id, row, source, sink)
            lines[line], words[product_id] = product_id, sys.intern(_coarse_word(row))
        except RowError as error:
            sink.reject("products", product_id or f"{_PRODUCTS}:{line}", error)
    return lines, words


def _add_product(product_id: str, row: Mapping[str, Any], source: Path, sink: CatalogSink) -> None:
    category, names, attributes = row.get("category"), row.get("images"), row.get("attributes")
    if not isinstance(category, list) or not isinstance(names, list):
        raise RowError("bad_row", "'category' and 'images' must be lists")
    information = text_of(attributes.get("information")) if isinstance(attributes, dict) else ""
    pictures = {f"iconic:{product_id}:{place}": name for place, name in enumerate(list_of(names, ""))}
    product = SourceProduct(
        product_id=product_id,
        title=text_of(row.get("title")),
        description=text_of(row.get("description")),
        category_path=list_of(category, ""),
        attributes=parse_information(information),
        pictures=pictures,
        split="train",
    )
    sink.add_product(product, source)


def parse_information(text: str) -> dict[str, list[str]]:
    """Brand, country and volume from the free text about a product; lines of any other form are passed over.

    Known forms: ``Manufacturer and volume: ARLA KO, 1l``, ``Country and volume: Italy, ca 180g``, ``Country: Spain``,
    ``Manufacturing country: Sweden``.
    """
    text = text.replace("\u00a0", " ").replace("\ufeff", "")
    found: dict[str, list[str]] = {}
    for kind, value in _LINE.findall(text):
        name, _, volume = (part.strip() for part in value.partition(","))
        if name:
            found.setdefault("brand" if kind == "Manufacturer" else "country", [name])
        if _VOLUME.match(volume):
            found.setdefault("volume", [volume])
    for country in _MAKER_COUNTRY.findall(text):
        found.setdefault("country", [country.strip()])
    if "country" in found:
        found["country"] = [_COUNTRIES.get(country, country) for country in found["country"]]
    return found


def _coarse_word(row: Mapping[str, Any]) -> str:
    return text_of(row["category"][-1]).replace("-", " ").lower() if row["category"] else ""


def _add_photos(source: Path, words: Mapping[str, str], sink: CatalogSink) -> set[str]:
    """Adds the natural photos and their queries; returns the splits that occurred."""
    splits: set[str] = set()
    if not (source / _PHOTOS).is_file():
        return splits
    for line, row in TableFile(source / _PHOTOS).rows():
        query_id = f"{_PHOTOS}:{line}"
        try:
            if isinstance(row, RowError):
                raise row
            image_id, relative, product_id, split = _photo(row)
            query_id = f"photo:{image_id}"
            if not sink.has_product(product_id):
                raise RowError("unknown_product", f"product '{product_id}' is not in the catalogue")
            check_split(split)
            sink.add_image(image_id, source, relative)
            sink.add_interaction(query_id, product_id, text=None, image_id=image_id, split=split)
            splits.add(split)
            word = words[product_id]
            if word and share_of(f"both:{image_id}") < _BOTH_SHARE:
                sink.add_interaction(f"both:{image_id}", product_id, text=word, image_id=image_id, split=split)
        except RowError as error:
            sink.reject("interactions", query_id, error)
    return splits


def _photo(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    values = [text_of(row.get(name)) for name in ("image_id", "image", "product_id", "split")]
    if not values[0]:
        raise RowError("no_id", "the photo has no image_id")
    if not values[1]:
        raise RowError("no_image", f"photo {values[0]} names no picture file")
    return values[0], values[1], values[2], values[3]
