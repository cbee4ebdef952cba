"""Readers of public formats, one a file; what they read goes into a `CatalogSink`.

`READERS` is the one table of them. A new reader is a file with a function and a row here: the import step, the command
line and its help follow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from moon.catalog.readers.sink import CatalogSink


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A form of source and the function that reads it, which is imported when it is called."""

    place: str
    """What the source is called in help: DIR, FILE or NAME."""
    holds: str
    """What that holds, for help; part of a sentence."""
    reads: str
    """What is read, for help; part of a sentence."""
    becomes: str
    """What becomes of it, for help; one or two sentences."""
    function: str
    """``module:function`` under this package.

    It takes ``(source, sink)``, or ``(source, images, columns, sink)`` where it is ``mapped``.
    """
    example: str = ""
    """What follows ``moon import KIND`` in the help's example; empty: a folder of that name."""
    mapped: bool = False
    """Whether ``catalog.images`` and ``catalog.columns`` matter to it."""

    def read(self, source: Path, images: Path, columns: Mapping[str, str], sink: CatalogSink) -> None:
        """Reads ``source`` into ``sink``.

        Args:
            source: the file, folder or name.
            images: folder that picture paths start from, for a ``mapped`` reader.
            columns: our field -> their column, for a ``mapped`` reader.
            sink: where the rows go.

        Raises:
            ValueError: the source is not in this form.
        """
        module, _, name = self.function.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        function(source, images, columns, sink) if self.mapped else function(source, sink)


READERS: Final[dict[str, Reader]] = {
    "amazon-review-photos": Reader(
        place="DIR",
        holds="meta_CATEGORY.jsonl and CATEGORY.jsonl, or .jsonl.gz",
        reads="Amazon Reviews 2023: products, and photos of verified buyers",
        becomes="The first photo of a verified buyer's review becomes a query for the product.",
        function="amazon:read_amazon_photos",
    ),
    "amazon-reviews": Reader(
        place="DIR",
        holds="meta_CATEGORY.jsonl or .jsonl.gz, or the hub's raw_meta_CATEGORY/*.parquet",
        reads="Amazon Reviews 2023: the products",
        becomes="Nobody searches for anything there, so no query is made.",
        function="amazon:read_amazon",
    ),
    "clothing": Reader(
        place="DIR",
        holds="folder that holds items.jsonl and images/",
        reads="the clothing set: photos of single garments",
        becomes="Each photo is a product; an altered copy of it is asked for.",
        example="~/clothing_cc0",
        function="clothing:read_clothing",
    ),
    "esci": Reader(
        place="DIR",
        holds="folder that holds the Parquet files or a JSONL file of judged pairs",
        reads="Amazon's Shopping Queries (ESCI)",
        becomes="Exact products become purchases, Substitute and Complement ones relations to them.",
        example="~/esci-data/shopping_queries_dataset",
        function="esci:read_esci",
    ),
    "fashion": Reader(
        place="DIR",
        holds="folder that holds products.jsonl and images/",
        reads="a fashion catalogue that has no purchase log",
        becomes="Altered pictures and words of the titles become queries for their product.",
        example="~/fashion_products",
        function="fashion:read_fashion",
    ),
    "fashion200k": Reader(
        place="DIR",
        holds="labels/ and women/",
        reads="Fashion200K",
        becomes="The last of several pictures of a product becomes a query for it.",
        function="fashion200k:read_fashion200k",
    ),
    "freiburg-boxes": Reader(
        place="DIR",
        holds="folder that holds items.jsonl and images/",
        reads="the Freiburg groceries with their boxes",
        becomes="Each photo is a product, its drawn boxes are the true ones; nobody buys anything.",
        example="~/freiburg_boxes",
        function="freiburg:read_freiburg",
    ),
    "grocery-store": Reader(
        place="DIR",
        holds="folder that holds products.jsonl, natural_images.jsonl and images/",
        reads="the Grocery Store data set",
        becomes="Photos and descriptions become queries for their product.",
        example="~/grocery_store",
        function="grocery_store:read_grocery_store",
    ),
    "hf": Reader(
        place="NAME",
        holds="a data set of Hugging Face: a folder, or NAME or NAME:CONFIG on the hub",
        reads="a Hugging Face data set, streaming",
        becomes="Columns are found by their usual names, or named by --column.",
        example="shop/items --column title=name --column product_id=sku",
        function="hf_datasets:read_hf",
        mapped=True,
    ),
    "m5product": Reader(
        place="DIR",
        holds="*id_label.json, and images/ or addresses of pictures",
        reads="M5Product",
        becomes="Items of query*_image_ids.json become queries for the products of their label.",
        function="m5product:read_m5product",
    ),
    "marqo-gs": Reader(
        place="DIR",
        holds="query_*_product_id_*.csv and images/, or the hub's Parquet files",
        reads="Marqo-GS-10M",
        becomes="A query asks for the first ten products that were listed for it.",
        function="marqo_gs:read_marqo_gs",
    ),
    "mbe": Reader(
        place="DIR",
        holds="JSONL, JSONL.GZ or Parquet files of the hub",
        reads="MBE, the benchmark of MOON",
        becomes="A row is a product; where it has a query, the query's purchase.",
        function="mbe:read_mbe",
        mapped=True,
    ),
    "mbe2": Reader(
        place="DIR",
        holds="JSONL, JSONL.GZ or Parquet files of the hub",
        reads="MBE2.0, the benchmark of MOON2.0",
        becomes="The query of a triplet buys the positive; the negative is a product too.",
        function="mbe2:read_mbe2",
        mapped=True,
    ),
    "product1m": Reader(
        place="DIR",
        holds="product1m_*.txt, and images/ or addresses of pictures",
        reads="Product1M",
        becomes="Sets of products become queries for the single products of their labels.",
        function="product1m:read_product1m",
    ),
    "table": Reader(
        place="FILE",
        holds="CSV, JSONL or Parquet, one product a row",
        reads="a table of your own",
        becomes="A row that cannot be used goes to the catalogue's table 'rejected' with the reason.",
        example="items.csv --images photos --column title=name --column product_id=sku",
        function="table:read_table",
        mapped=True,
    ),
}
"""Kind of source, as in ``catalog.source`` and ``moon import KIND`` -> its reader; in the order of the alphabet."""
