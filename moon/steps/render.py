"""Renders a catalogue: draws products, photographs them, writes their tables."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from moon.catalog.render import words
from moon.catalog.render.log import make_log, photo_id
from moon.catalog.render.products import (
    assign_splits,
    customer_photo,
    draw_product,
    families,
    make_product,
    shop_photo,
)
from moon.catalog.render.scene import Photo
from moon.catalog.schema import BOXES, IMAGES, INTERACTIONS, PRODUCTS, REJECTED, RELATIONS_TABLE
from moon.catalog.store import Catalog, TableWriter, attributes_list, replacing, write_card
from moon.catalog.summary import CatalogSummary, summarise
from moon.config import RenderParams
from moon.progress import track
from moon.steps import outcome
from moon.steps.workers import pool

T = TypeVar("T")
R = TypeVar("R")
_QUALITY = 88
_ALONE = 8
"""So few products are drawn sooner in this process than others start."""


@dataclass(frozen=True, kw_only=True)
class _Shoot:
    """All pictures of one product, a worker's task."""

    seed: int
    index: int
    query_photos: int
    size: int


def run(*, params: RenderParams, out: Path, shard_rows: int = 1024, workers: int = 0) -> CatalogSummary:
    """Renders a catalogue into ``out``; the same parameters give the same bytes, whatever the workers.

    The folder appears when it is whole, and replaces the catalogue that was there.

    Args:
        params: how much, how large, from which seed.
        out: the catalogue folder.
        shard_rows: rows in one Parquet shard.
        workers: drawing processes; 0 takes one a CPU.

    Raises:
        CatalogError: ``out`` holds something else than a catalogue.
    """
    with replacing(out) as folder:
        splits = assign_splits(params.seed, params.products, params.held_out)
        log = make_log(params.seed, params.interactions, splits, params.query_photos)
        shoots = [
            _Shoot(seed=params.seed, index=index, query_photos=count, size=params.image_size)
            for index, count in enumerate(log.photo_counts.tolist())
        ]
        _write(folder / "products", PRODUCTS, _product_rows(params.seed, splits), shard_rows)
        _write_pictures(shoots, folder, shard_rows, workers)
        _write(folder / "relations", RELATIONS_TABLE, _relations(params.seed, params.products), shard_rows)
        _write(folder / "rejected", REJECTED, (), shard_rows)
        _write(folder / "interactions", INTERACTIONS, log.rows(splits), shard_rows)
        write_card(folder)
        return outcome.save(folder, summarise(Catalog.open(folder)))


def _write(folder: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]], shard_rows: int) -> None:
    with TableWriter(folder, schema, shard_rows) as writer:
        for row in rows:
            writer.add(row)


def _product_rows(seed: int, splits: list[str]) -> Iterator[dict[str, Any]]:
    for index, split in enumerate(splits):
        product = make_product(seed, index)
        rng = random.Random(f"{seed}/words/{index}")
        yield {
            "product_id": product.product_id,
            "title": words.title(product, rng),
            "description": words.description(product, rng),
            "category_path": list(product.kind.path),
            "attributes": attributes_list(product.attributes),
            "image_ids": [f"{product.product_id}-{number}" for number in range(product.pictures)],
            "split": split,
        }


def _write_pictures(shoots: list[_Shoot], folder: Path, shard_rows: int, workers: int) -> None:
    with ExitStack() as stack:
        images = stack.enter_context(TableWriter(folder / "images", IMAGES, shard_rows))
        boxes = stack.enter_context(TableWriter(folder / "boxes", BOXES, shard_rows))
        results = stack.enter_context(_mapped(_shoot, shoots, workers))
        for image_row, box_row in itertools.chain.from_iterable(track(results, "drawing products", total=len(shoots))):
            images.add(image_row)
            boxes.add(box_row)


@contextmanager
def _mapped(function: Callable[[T], R], items: list[T], workers: int) -> Iterator[Iterator[R]]:
    """Results in the order of ``items``, from several processes where that pays."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(items))
    if workers <= 1 or len(items) <= _ALONE:
        yield map(function, items)
        return
    with pool(workers) as processes:
        yield processes.imap(function, items)


def _shoot(task: _Shoot) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Draws one product and takes all of its pictures: rows of the images and boxes tables."""
    product = make_product(task.seed, task.index)
    drawing = draw_product(product, task.size)
    rows = []
    for number in range(product.pictures):
        image_id = f"{product.product_id}-{number}"
        rng = random.Random(f"{task.seed}/{image_id}")
        rows.append(_rows(image_id, shop_photo(product, drawing, number, task.size, rng)))
    for number in range(task.query_photos):
        image_id = photo_id(task.index, number)
        rng = random.Random(f"{task.seed}/{image_id}")
        rows.append(_rows(image_id, customer_photo(product, drawing, task.size, rng)))
    return rows


def _rows(image_id: str, photo: Photo) -> tuple[dict[str, Any], dict[str, Any]]:
    buffer = BytesIO()
    photo.image.save(buffer, "JPEG", quality=_QUALITY)
    data = buffer.getvalue()
    width, height = photo.image.size
    image = {
        "image_id": image_id,
        "image": {"bytes": data, "path": f"{image_id}.jpg"},
        "width": width,
        "height": height,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return image, {"image_id": image_id, **dict(zip(("x0", "y0", "x1", "y1"), map(float, photo.box), strict=True))}


def _relations(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """One design in two colours: each may stand for the other."""
    for group in families(seed, count):
        for first, second in itertools.permutations(group, 2):
            yield {
                "product_id": make_product(seed, first).product_id,
                "other_id": make_product(seed, second).product_id,
                "relation": "substitute",
                "weight": 1.0,
            }
