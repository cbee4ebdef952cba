"""All checks over a rendered catalogue without pixels: seconds and peak memory.

    make bench NAME=validation ARGS="--interactions 1000000"

The catalogue has the renderer's products, pictures' rows and purchase log, in the proportions of ``params.yaml``, and
one byte in the place of each picture. Making it counts neither for the time nor for the memory: the checks run in a
process of their own. `ratio` is the time allowed over the time taken, `memory_ratio` the peak over the memory allowed;
the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from moon.catalog.render import words
from moon.catalog.render.log import make_log, photo_id
from moon.catalog.render.products import Product, assign_splits, make_product
from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import TableWriter, attributes_list
from moon.config import RenderParams, ValidationParams
from moon.progress import track
from moon.steps import validate

SECONDS = 180
MEGABYTES = 3000
SIDES = (192, 256)
SHARD_ROWS = 50_000


def main() -> None:
    """Prints what was found, a line of numbers and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--catalog", type=Path, help="keep the catalogue here, or take the one that is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.catalog or Path(scratch, "catalog")
        if not root.exists():
            render_rows(arguments.interactions, root)
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            measured = fresh.apply(measure, (root, Path(scratch, "out")))
    for sentence in measured.pop("said"):
        print(sentence)
    print(f"{sum(measured['rows'].values())} rows, {measured['seconds']} s, {measured['peak_mb']} MB")
    ratios = {
        "ratio": round(SECONDS / measured["seconds"], 2),
        "ratio_of": f"{SECONDS} s allowed over the seconds taken",
        "memory_ratio": round(measured["peak_mb"] / MEGABYTES, 2),
    }
    print(json.dumps(ratios | measured))


def measure(catalog: Path, out: Path) -> dict[str, Any]:
    """Validates once; the libraries' import counts."""
    started = time.perf_counter()
    result = validate.run(catalog=catalog, params=ValidationParams(sample_pictures=0), out=out)  # there are no pixels
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rows": result.rows,
        "checks": result.checks,
        "said": [f"{kind}: {text}" for kind in ("failures", "warnings") for text in getattr(result, kind)],
    }


def render_rows(interactions: int, root: Path) -> None:
    """Writes the tables of a rendered catalogue, a byte for each picture."""
    defaults = RenderParams()
    count = interactions * defaults.products // defaults.interactions
    splits = assign_splits(defaults.seed, count, defaults.held_out)
    log = make_log(defaults.seed, interactions, splits, defaults.query_photos)
    products = [make_product(defaults.seed, index) for index in range(count)]
    write(root, "products", (product_row(product, split) for product, split in zip(products, splits, strict=True)))
    write(root, "images", image_rows(products, log.photo_counts.tolist()))
    write(root, "interactions", track(log.rows(splits), "writing purchases", total=interactions))
    for name in CATALOG_TABLES:
        if not (root / name).exists():
            write(root, name, ())


def write(root: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """One table; row groups hold as many rows as those of pictures would."""
    with TableWriter(root / name, CATALOG_TABLES[name], SHARD_ROWS) as writer:
        for row in rows:
            writer.add(row)


def product_row(product: Product, split: str) -> dict[str, Any]:
    """A row of the products table, as the render step writes it."""
    return {
        "product_id": product.product_id,
        "title": words.title(product, random.Random(f"words/{product.index}")),
        "description": "",
        "category_path": list(product.kind.path),
        "attributes": attributes_list(product.attributes),
        "image_ids": [f"{product.product_id}-{number}" for number in range(product.pictures)],
        "split": split,
    }


def image_rows(products: list[Product], photos: list[int]) -> Iterator[dict[str, Any]]:
    """Rows of the images table: the shop's pictures and the shoppers' photos."""
    for product, count in zip(products, photos, strict=True):
        names = [f"{product.product_id}-{number}" for number in range(product.pictures)]
        names += [photo_id(product.index, number) for number in range(count)]
        for name in names:
            digest = hashlib.sha256(name.encode())
            first, second = digest.digest()[:2]
            yield {
                "image_id": name,
                "image": {"bytes": b"\0", "path": f"{name}.jpg"},
                "width": SIDES[first % 2],
                "height": SIDES[second % 2],
                "sha256": digest.hexdigest(),
            }


if __name__ == "__main__":
    main()
