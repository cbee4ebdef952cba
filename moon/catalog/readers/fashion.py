"""Reader of the fashion format: a small studio picture, a title, a category path and five attributes a product.

    products.jsonl        product_id, title, category [master, sub, article], attributes, images, split

Source: the catalogue known as "Fashion Product Images (Small)". It has no purchase log. `read_fashion` derives one from
the products themselves, so what is measured on it is how well a product is found by an altered picture of it and by
words of its title, and not what shoppers do.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageEnhance, ImageOps

from moon.catalog.readers.sink import CatalogSink, Picture, RowError, SourceProduct, share_of
from moon.catalog.readers.table_files import TableFile
from moon.catalog.readers.table_values import list_of, text_of
from moon.vision.decode import decode, encode_jpeg

_PRODUCTS: Final = "products.jsonl"
_TEXT_SHARE: Final = 1 / 3
"""Share of the products that are also asked for by words."""
_BOTH_SHARE: Final = 1 / 6
"""Share of the products that are also asked for by photo and word."""
_WORDS: Final = (2, 4)
"""Fewest and most words of a text query."""
_FOR_WHOM: Final = frozenset(
    "men mens men's women womens women's woman unisex boy boys boy's girl girls girl's kid kids kid's".split()
)
"""Titles are mostly: brand, for whom, what."""
_BRAND_WORDS: Final = 4
"""Most words of a brand."""
_COLOUR: Final = "baseColour"


def read_fashion(source: Path, sink: CatalogSink) -> None:
    """Reads a folder in the fashion format and derives its purchases, by a hash of the product id.

    Each product is bought once for a photo, `shoppers_photo` of its first picture; a third of the products is bought
    for words as well, `query_words` of the title; and a sixth for both, the photo with the base colour or with the
    article type in lower case. Queries have their product's split. Times are made, see `CatalogSink.add_interaction`.

    Raises:
        ValueError: no products file in ``source``.
    """
    if not (source / _PRODUCTS).is_file():
        raise ValueError(f"{source} is not in the fashion format: no {_PRODUCTS} there")
    for line, row in TableFile(source / _PRODUCTS).rows():
        row_id = f"{_PRODUCTS}:{line}"
        try:
            if isinstance(row, RowError):
                raise row
            product = _product(row)
            row_id = product.product_id or row_id
            sink.add_product(product, source)
            _add_purchases(product, source, sink)
        except RowError as error:
            sink.reject("products", row_id, error)


def _product(row: Mapping[str, Any]) -> SourceProduct:
    category, attributes, names = row.get("category"), row.get("attributes"), row.get("images")
    if not isinstance(category, list) or not isinstance(names, list) or not isinstance(attributes, dict):
        raise RowError("bad_row", "'category' and 'images' must be lists and 'attributes' an object")
    product_id = text_of(row.get("product_id"))
    return SourceProduct(
        product_id=product_id,
        title=text_of(row.get("title")),
        description="",
        category_path=list_of(category, ""),
        attributes={
            "colour" if key == _COLOUR else key: [text] for key, value in attributes.items() if (text := text_of(value))
        },
        pictures={f"studio:{product_id}:{place}": name for place, name in enumerate(list_of(names, ""))},
        split=text_of(row.get("split")),
    )


def _add_purchases(product: SourceProduct, source: Path, sink: CatalogSink) -> None:
    id_, split = product.product_id, product.split
    image_id = f"photo:{id_}"
    add_shoppers_photo(image_id, product.pictures, source, sink)
    sink.add_interaction(image_id, id_, text=None, image_id=image_id, split=split)
    if share_of(f"text:{id_}") < _TEXT_SHARE:
        words = query_words(product.title, random.Random(f"text:{id_}"))
        sink.add_interaction(f"text:{id_}", id_, text=words, image_id=None, split=split)
    share = share_of(f"both:{id_}")
    hints = [value[0] for value in (product.attributes.get("colour"), product.category_path[-1:]) if value]
    if hints and share < _BOTH_SHARE:
        hint = hints[int(share / _BOTH_SHARE * len(hints))]
        sink.add_interaction(f"both:{id_}", id_, text=hint.lower(), image_id=image_id, split=split)


def add_shoppers_photo(image_id: str, pictures: Mapping[str, Picture], root: Path, sink: CatalogSink) -> None:
    """Stores `shoppers_photo` of the first picture of an accepted product that entered the catalogue with it."""

    def make() -> bytes:
        picture = decode(_first_usable(pictures, root, sink))
        return encode_jpeg(shoppers_photo(picture, random.Random(image_id)))

    sink.add_made_image(image_id, make)


def _first_usable(pictures: Mapping[str, Picture], root: Path, sink: CatalogSink) -> bytes:
    for image_id, picture in pictures.items():
        try:
            sink.add_image(image_id, root, picture)
        except RowError:  # it is in the rejected table already
            continue
        return sink.read_picture(root, picture)
    raise AssertionError("a product was accepted without a picture")


def query_words(title: str, chance: random.Random) -> str:
    """Two to four words that end a title, in lower case, without its brand, article numbers and lone signs.

    The brand is taken to be the words before the first that says for whom the product is, where that is among the
    first five words, else the first word. A title with fewer words gives what it has.
    """
    words = title.lower().split()
    brand = next((place for place, word in enumerate(words[: _BRAND_WORDS + 1]) if place and word in _FOR_WHOM), 1)
    rest = words[brand:] or words
    named = [word for word in rest if any(map(str.isalpha, word)) and not any(map(str.isdigit, word))]
    return " ".join((named or rest)[-chance.randint(*_WORDS) :])


def shoppers_photo(picture: Image.Image, chance: random.Random) -> Image.Image:
    """A picture as a shopper might have taken it; RGB in, a larger RGB out.

    A part of 70 to 90 % of each side, mirrored half of the time, in other light, turned by up to 12 degrees, before a
    plain wall or one that shades from one colour to another.
    """
    width, height = (round(side * chance.uniform(0.7, 0.9)) for side in picture.size)
    left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
    part = picture.crop((left, top, left + width, top + height))
    if chance.random() < 0.5:
        part = ImageOps.mirror(part)
    part = _relit(part, chance).convert("RGBA").rotate(chance.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
    wall = _wall((round(part.width * chance.uniform(1, 1.4)), round(part.height * chance.uniform(1, 1.4))), chance)
    wall.paste(part, (chance.randint(0, wall.width - part.width), chance.randint(0, wall.height - part.height)), part)
    return wall


def _relit(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Other brightness, contrast and colour temperature."""
    picture = ImageEnhance.Brightness(picture).enhance(chance.uniform(0.7, 1.2))
    picture = ImageEnhance.Contrast(picture).enhance(chance.uniform(0.75, 1.2))
    warmth = chance.uniform(0.88, 1.14)
    red, green, blue = picture.split()
    return Image.merge("RGB", (red.point(lambda v: v * warmth), green, blue.point(lambda v: v / warmth)))


def _wall(size: tuple[int, int], chance: random.Random) -> Image.Image:
    one, other = (tuple(chance.randint(40, 240) for _ in range(3)) for _ in range(2))
    if chance.random() < 0.5:
        return Image.new("RGB", size, one)
    shade = Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270))).resize(size)
    return Image.composite(Image.new("RGB", size, one), Image.new("RGB", size, other), shade)
