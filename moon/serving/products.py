"""What an answer says of a product, in files that are mapped into memory and never read as a whole.

    products.arrow    product_id, title, category_path, in order of product_id
    pictures.bin      one small JPEG after the other
    pictures.npy      where each product's picture ends; one that is empty is missing

`filters` has the files beside these.
"""

from __future__ import annotations

import bisect
import mmap
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
from PIL import Image

from moon.serving.filters import Filters, FilterWriter
from moon.vision.decode import encode_jpeg
from moon.vision.resize import AnyPicture, render

_PRODUCTS, _PICTURES, _ENDS = "products.arrow", "pictures.bin", "pictures.npy"
_SCHEMA: Final = pa.schema(
    [("product_id", pa.string()), ("title", pa.string()), ("category_path", pa.list_(pa.string()))]
)
_QUALITY: Final = 80


def thumbnail(picture: AnyPicture, longest: int) -> bytes:
    """A small JPEG of a picture.

    Args:
        picture: the picture.
        longest: its longer side, pixels; a smaller picture keeps its size.

    Raises:
        ImageError: the pixels are damaged.
    """
    width, height = picture.size
    scale = min(longest / max(width, height), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return encode_jpeg(Image.fromarray(render(picture, size, "fast")), _QUALITY)


class ProductWriter:
    """Writes products as they come; what it holds in memory is their ids and the rows of their filters.

    Args:
        folder: where to; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ids: list[str] = []
        self._folder, self._filters, self._ends = folder, FilterWriter(), array("q", [0])
        self._pictures = (folder / _PICTURES).open("wb")
        self._file = pa.ipc.new_file(str(folder / _PRODUCTS), _SCHEMA)

    def __enter__(self) -> ProductWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._pictures.close()
        if kind is None:
            np.save(self._folder / _ENDS, np.array(self._ends, np.int64))
            self._filters.save(self._folder)

    def add(self, products: Sequence[Mapping[str, Any]], pictures: Sequence[bytes]) -> None:
        """Adds products.

        Args:
            products: rows of the catalogue's products table, attributes as ``{key: [values]}``.
            pictures: a small JPEG of each, empty where there is none; may be left out for all.

        Raises:
            ValueError: ids are not in ascending order, or there is not a picture for each product.
        """
        if pictures and len(pictures) != len(products):
            raise ValueError(f"expected a picture for each of {len(products)} products, got {len(pictures)}")
        rows = []
        for product in products:
            product_id, category = product["product_id"], list(product["category_path"] or ())
            if self.ids and product_id <= self.ids[-1]:
                raise ValueError(f"products must come in ascending order of id; {product_id} follows {self.ids[-1]}")
            self._filters.add(len(self.ids), category, product["attributes"] or {})
            self.ids.append(product_id)
            rows.append({"product_id": product_id, "title": product["title"] or "", "category_path": category})
        self._file.write_batch(pa.RecordBatch.from_pylist(rows, schema=_SCHEMA))
        for picture in pictures or [b""] * len(products):
            self._pictures.write(picture)
            self._ends.append(self._ends[-1] + len(picture))


class Products:
    """The products of a folder; reads only, so threads may share it.

    Args:
        folder: where a `ProductWriter` wrote.

    Raises:
        ValueError: a file is missing or damaged, or the files do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(folder / _PRODUCTS))).read_all()
            self._ends = np.load(folder / _ENDS, mmap_mode="r")
            self._pictures = _mapped(folder / _PICTURES)
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            raise ValueError(f"the products in {folder} cannot be read ({error}); make the artefact again") from None
        self.ids, self._titles, self._categories = table.columns
        self.filters = Filters(folder, len(self.ids))
        if len(self._ends) != len(self.ids) + 1 or self._ends[-1] != len(self._pictures):
            raise ValueError(f"{folder / _PICTURES} does not belong to {_PRODUCTS} beside it; make the artefact again")

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, product_id: str) -> int | None:
        """The row of a product; None where there is no such product."""
        row = bisect.bisect_left(range(len(self)), product_id, key=self.id)
        return row if row < len(self) and self.id(row) == product_id else None

    def id(self, row: int) -> str:
        """The id of a product."""
        return str(self.ids[row].as_py())

    def title(self, row: int) -> str:
        """The title of a product."""
        return str(self._titles[row].as_py())

    def category_path(self, row: int) -> list[str]:
        """The category of a product, from the root."""
        return list(self._categories[row].as_py())

    def has_picture(self, row: int) -> bool:
        """Whether `picture` has any bytes."""
        return bool(self._ends[row] < self._ends[row + 1])

    def picture(self, row: int) -> bytes:
        """The JPEG of a product; empty where there is none."""
        return bytes(self._pictures[int(self._ends[row]) : int(self._ends[row + 1])])


def _mapped(path: Path) -> mmap.mmap | bytes:
    """The bytes of a file as a memory map, which an empty file cannot be."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
