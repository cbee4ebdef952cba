"""Step duplicates: near-duplicate products, and near-duplicates that lie in two splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.duplicates import (
    LEAKS_TABLE,
    TABLE,
    Use,
    duplicate_rows,
    leak_rows,
    merged,
    picture_links,
    title_links,
)
from moon.catalog.schema import DUPLICATES, HASHES, LEAKS
from moon.catalog.store import Catalog, read_table, reading, write_table
from moon.config import DuplicatesParams
from moon.progress import track
from moon.steps import outcome
from moon.steps.workers import Mapper, mapper
from moon.vision.hashing import THUMB, Hashes, fingerprint
from moon.vision.likeness import candidates, difference, is_flat
from moon.vision.resize import Pixels

_HASHES = "hashes"
_CHUNK = 64
"""Pictures, or pairs of them, sent to a worker at once."""
_WORTH_A_WORKER = 200
"""Pictures below which starting a process takes longer than it saves."""

Hashed = tuple[list[int], bytes]
Pairs = list[tuple[int, int, int]]
"""Numbers of two near-duplicate pictures, and the bits that their hashes differ in."""


@dataclass(frozen=True, kw_only=True)
class DuplicatesResult:
    """What is near-duplicate in a catalogue."""

    pictures: int
    flat_pictures: int
    """Pictures that show next to nothing and are compared with none."""
    stock_pictures: int
    """Pictures that too many products show to say anything about them."""
    picture_pairs: int
    """Pairs of near-duplicate pictures that are not the same file."""
    products: int
    duplicate_products: int
    """Products with at least one near-duplicate."""
    groups: int
    largest_group: int
    evidence: dict[str, int]
    """Near-duplicate products by what they share with the nearest one: picture, title or both."""
    leaks: dict[str, int]
    """Rows of the table ``leaks`` by kind."""
    leaking_products: dict[str, int]
    """Products of a split other than train that have a near-duplicate in train, by split."""
    leaking_queries: dict[str, int]
    """Query photos of a split other than train that near-duplicate a picture of train, by split."""


def run(*, catalog: Path, params: DuplicatesParams, out: Path, workers: int = 2) -> DuplicatesResult:
    """Writes ``out/duplicates``, ``out/leaks`` and ``out/hashes``; the tables do not depend on ``workers``.

    Started again on the same pictures it goes on where it stopped: a shard of hashes is kept where it is of the
    pictures that the catalogue's shard holds now.

    Args:
        catalog: catalogue folder.
        params: see `moon.config.DuplicatesParams`.
        out: output folder.
        workers: processes.

    Raises:
        ValueError: ``catalog`` is no catalogue, or holds a picture that cannot be decoded.
    """
    opened = Catalog.open(catalog)
    products = opened.rows("products", ["product_id", "title", "category_path", "attributes", "image_ids", "split"])
    total = opened.table("images", ["image_id"]).num_rows
    (out / outcome.METRICS).unlink(missing_ok=True)
    with mapper(min(workers, total // _WORTH_A_WORKER), _CHUNK) as mapped:
        _hash(opened.root / "images", out / _HASHES, mapped, total)
        pictures = _Pictures(out / _HASHES)
        pairs = _near(pictures, params, mapped)
    uses = pictures.uses(products, opened)
    found, stock = picture_links(uses, pairs, params.stock_products)
    titled = title_links(products, params.title_similarity) if params.title_similarity else ()
    links = merged([*found, *titled])
    rows = duplicate_rows(links)
    leaks = leak_rows(links, {row["product_id"]: row["split"] for row in products}, uses, pairs)
    write_table(out / TABLE, DUPLICATES, rows)
    write_table(out / LEAKS_TABLE, LEAKS, leaks)
    groups = Counter(row["group_id"] for row in rows)
    return outcome.save(
        out,
        DuplicatesResult(
            pictures=total,
            flat_pictures=pictures.flat,
            stock_pictures=stock,
            picture_pairs=len(pairs),
            products=len(products),
            duplicate_products=len(rows),
            groups=len(groups),
            largest_group=max(groups.values(), default=0),
            evidence=_counted(row["evidence"] for row in rows),
            leaks=_counted(row["kind"] for row in leaks),
            leaking_products=_leaking(leaks, ("product",)),
            leaking_queries=_leaking(leaks, ("query_product", "query_query")),
        ),
    )


def _hash(images: Path, out: Path, mapped: Mapper, total: int) -> None:
    """Hashes the pictures of every shard into a shard of its own."""
    out.mkdir(parents=True, exist_ok=True)
    shards = sorted(images.glob("part-*.parquet"))
    for stale in out.iterdir():
        if stale.name not in {shard.name for shard in shards}:
            stale.unlink()
    missing = [shard for shard in shards if not _is_hashed(shard, out / shard.name)]
    hashed = mapped(_fingerprint, _encoded(missing))
    bar = iter(track(hashed, "hashes", total=sum(pq.read_metadata(shard).num_rows for shard in missing)))
    for shard in missing:
        with reading(shard):
            names = pq.read_table(shard, columns=["image_id", "sha256"])
        rows = [next(bar) for _ in range(names.num_rows)]
        columns = [*names.columns, pa.array([one for one, _ in rows], HASHES.field("hashes").type)]
        table = pa.table([*columns, pa.array([thumb for _, thumb in rows], pa.binary())], schema=HASHES)
        partial_shard = (out / shard.name).with_suffix(".partial")
        pq.write_table(table, partial_shard, compression="zstd")
        os.replace(partial_shard, out / shard.name)


def _is_hashed(shard: Path, hashes: Path) -> bool:
    """Whether ``hashes`` is of the pictures in ``shard``, whose digests are known."""
    if not hashes.is_file():
        return False
    columns = ["image_id", "sha256"]
    with reading(shard):
        here = pq.read_table(shard, columns=columns)
    with reading(hashes):
        there = pq.read_table(hashes, columns=columns)
    return bool(here.column("sha256").null_count == 0 and here.to_pydict() == there.to_pydict())


def _encoded(shards: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for shard in shards:
        with reading(shard):
            for batch in pq.ParquetFile(shard).iter_batches(batch_size=64, columns=["image_id", "image"]):
                for row in batch.to_pylist():
                    yield row["image_id"], (row["image"] or {}).get("bytes") or b""


def _fingerprint(picture: tuple[str, bytes]) -> Hashed:
    image_id, data = picture
    found = fingerprint(data, f"picture {image_id} of the catalogue")
    return found.hashes_V.tolist(), found.thumb.tobytes()


class _Pictures:
    """The different pictures of a catalogue, numbered; those with the same bytes are one."""

    def __init__(self, hashes: Path) -> None:
        table = read_table(hashes)
        ids, digests = table.column("image_id").to_pylist(), table.column("sha256").to_pylist()
        number: dict[str, int] = {}
        self._numbers = {
            id_: number.setdefault(digest or id_, len(number)) for id_, digest in zip(ids, digests, strict=True)
        }
        rows = np.unique(np.array([self._numbers[id_] for id_ in ids], np.int64), return_index=True)[1]
        table = table.take(pa.array(rows))
        self.hashes_NV: Hashes = np.array(table.column("hashes").to_pylist(), np.uint64)
        pixels = b"".join(table.column("thumb").to_pylist())
        self.thumbs: Pixels = np.frombuffer(pixels, np.uint8).reshape(len(rows), THUMB, THUMB, 3)
        self.shown_N = np.flatnonzero([not is_flat(thumb) for thumb in self.thumbs])
        self.flat = len(rows) - len(self.shown_N)

    def uses(self, products: Iterable[dict[str, object]], catalog: Catalog) -> list[list[Use]]:
        """Where each picture that is not flat stands; a flat one stands nowhere."""
        uses: list[dict[Use, None]] = [{} for _ in self.hashes_NV]
        for product in products:
            for image_id in product["image_ids"] or ():  # type: ignore[attr-defined]
                if image_id in self._numbers:
                    use = Use("product", str(product["product_id"]), str(product["split"]))
                    uses[self._numbers[image_id]][use] = None
        for row in (
            catalog.table("interactions", ["query_image_id", "split"])
            .group_by(["query_image_id", "split"])
            .aggregate([])
            .to_pylist()
        ):
            if row["query_image_id"] in self._numbers:
                use = Use("query", row["query_image_id"], row["split"])
                uses[self._numbers[row["query_image_id"]]][use] = None
        shown = set(self.shown_N.tolist())
        return [sorted(one, key=repr) if number in shown else [] for number, one in enumerate(uses)]


def _near(pictures: _Pictures, params: DuplicatesParams, mapped: Mapper) -> Pairs:
    """Pairs of near-duplicate pictures."""
    shown = pictures.shown_N
    if not len(shown):
        return []
    found = candidates(pictures.hashes_NV[shown], pictures.thumbs[shown], params.max_bits)
    left, right = shown[found.left_P], shown[found.right_P]
    thumbs = ((pictures.thumbs[a], pictures.thumbs[b]) for a, b in zip(left, right, strict=True))
    judged = mapped(partial(_alike, most=params.max_difference), thumbs)
    alike = np.fromiter(track(judged, "pairs of pictures", total=len(left)), bool, len(left))
    columns = (part[alike].tolist() for part in (left, right, found.bits_P))
    return list(zip(*columns, strict=True))


def _alike(thumbs: tuple[Pixels, Pixels], most: float) -> bool:
    return difference(*thumbs, most) <= most


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _leaking(leaks: Iterable[dict[str, object]], kinds: tuple[str, ...]) -> dict[str, int]:
    """How many different things of a split have a near-duplicate in train, by split."""
    sides: set[tuple[str, str]] = set()
    for row in leaks:
        if row["kind"] not in kinds:
            continue
        for side, other in (("", "other_"), ("other_", "")):
            is_query = not side or row["kind"] != "query_product"
            if row[f"{other}split"] == "train" and (is_query or kinds == ("product",)):
                sides.add((str(row[f"{side}id"]), str(row[f"{side}split"])))
    return _counted(split for _, split in sides)
