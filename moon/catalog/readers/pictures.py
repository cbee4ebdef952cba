"""The pictures of a catalogue that is being made: read, fetched, checked and stored, each once."""

from __future__ import annotations

import collections
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar, cast
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq

from moon.catalog.readers.fetch import FetchError, scheme_of
from moon.catalog.readers.remote import RemotePictures, is_remote
from moon.catalog.readers.resume import Journal
from moon.catalog.readers.rows import Picture, Reason, RowError
from moon.catalog.schema import IMAGES
from moon.catalog.store import TableWriter, reading
from moon.config import CatalogParams
from moon.vision.decode import ImageError, decode

R = TypeVar("R")

DETAIL_CHARS: Final = 300
"""Most characters of what is said of a rejected row."""
_SHARD_ROWS: Final = 256
"""Most pictures in one shard, because a shard is held in memory until it is whole."""
_ROWS_AHEAD: Final = 64
"""Rows of a source that are looked at before their turn, for the remote pictures they name."""


class PictureSink:
    """Writes the table ``images``; use it as a context manager.

    Args:
        out: the table's folder.
        params: limits of a picture and of a fetch.
        journal: what is kept of fetches; where it goes on, pictures in ``out`` are taken as stored.
        reject: called with the id of a picture that cannot enter and why.
    """

    def __init__(
        self, out: Path, params: CatalogParams, journal: Journal, reject: Callable[[str, RowError], None]
    ) -> None:
        self._params, self._journal, self._reject = params, journal, reject
        self._remote = RemotePictures(params, journal.fetched)
        rows = min(params.shard_rows, _SHARD_ROWS)
        self._table = TableWriter(out, IMAGES, rows, keep=journal.goes_on, on_shard=self._forget_fetched)
        self._images: dict[str, tuple[Reason, str] | None] = {}
        """Picture id -> why it was refused, or None."""
        self._settled = set(journal.failed_urls)
        """URLs whose pictures an earlier import has stored, or could not fetch."""
        self._unsafe: list[str] = []
        """URLs whose pictures are in no shard yet."""
        for image_id, path in _stored(out):
            self._images[image_id] = None
            if is_remote(path):
                self._settled.add(path)

    def __enter__(self) -> PictureSink:
        self._remote.__enter__()
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._table.__exit__(kind, error, trace)
        finally:
            self._remote.__exit__(kind, error, trace)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._images and self._images[image_id] is None

    def ahead(self, rows: Iterable[R], pictures: Callable[[R], Iterable[Picture]]) -> Iterator[R]:
        """The same rows, while the remote pictures of those that come next are fetched already.

        A reader whose source may hold URLs wraps its rows in it; without it, the pictures of one product are fetched
        together and those of the next product after them.

        Args:
            rows: what the reader goes through.
            pictures: the pictures of a row as `add_product` or `add_image` will be given them; a `RowError` is taken
                as none. A picture that it does not name is fetched when it is added.
        """
        waiting: collections.deque[tuple[R, list[str]]] = collections.deque()
        for row in rows:
            waiting.append((row, self._want(pictures, row)))
            if len(waiting) > _ROWS_AHEAD:
                yield from self._next(waiting)
        while waiting:
            yield from self._next(waiting)

    def _want(self, pictures: Callable[[R], Iterable[Picture]], row: R) -> list[str]:
        try:
            urls = self._fetchable(pictures(row))
        except RowError:
            return []
        self._remote.want(urls)
        return urls

    def _next(self, waiting: collections.deque[tuple[R, list[str]]]) -> Iterator[R]:
        row, urls = waiting.popleft()
        yield row
        self._remote.drop(urls)

    def _fetchable(self, pictures: Iterable[Picture]) -> list[str]:
        """The URLs among pictures, without those of which an earlier import has settled what becomes of them."""
        return [one for one in pictures if isinstance(one, str) and is_remote(one) and one not in self._settled]

    @contextmanager
    def fetch_together(self, pictures: Iterable[Picture]) -> Iterator[None]:
        """Fetches the remote ones among ``pictures`` side by side while they are added."""
        urls = self._fetchable(pictures)
        self._remote.want(urls)
        try:
            yield
        finally:
            self._remote.drop(urls)

    def add(self, image_id: str, root: Path, picture: Picture) -> str:
        """Checks and stores a picture, once, and returns its id.

        Args:
            image_id: its id; what is given for the same id later is not looked at.
            root: the picture folder.
            picture: a path from ``root``, a URL, or encoded bytes.

        Raises:
            RowError: missing, outside ``root``, not to be fetched, broken, or over a limit. Such a picture is put into
                the rejected table the first time it is met.
        """
        if image_id not in self._images:
            try:
                self._store(image_id, picture, self._read_once(image_id, root, picture))
                self._images[image_id] = None
            except RowError as error:
                self._images[image_id] = error.reason, str(error)[:DETAIL_CHARS]
                self._reject(image_id, error)
        failed = self._images[image_id]
        if failed is not None:
            raise RowError(failed[0], f"picture {image_id}: {failed[1]}")
        return image_id

    def add_made(self, image_id: str, make: Callable[[], bytes]) -> None:
        """Stores a picture that the reader makes itself, such as the photo of a derived query.

        Args:
            image_id: its id.
            make: gives the encoded bytes; not called where an earlier import has stored them.

        Raises:
            RowError: broken or over the pixel limit.
        """
        if image_id not in self._images:
            self._store(image_id, "", make())
            self._images[image_id] = None

    def read(self, root: Path, picture: Picture) -> bytes:
        """The bytes of a picture in a source.

        Raises:
            RowError: it is missing, outside ``root``, too large, or cannot be fetched.
        """
        if isinstance(picture, bytes):
            return picture
        if is_remote(picture):
            try:
                return self._remote.read(picture)
            except FetchError as error:
                raise RowError(error.reason, str(error)) from None
        return read_picture(root, _local(picture, root), self._params.max_image_bytes)

    def _read_once(self, image_id: str, root: Path, picture: Picture) -> bytes:
        """`read`, which fails once more where fetching failed before this import was stopped."""
        failed = self._journal.failure(image_id)
        if failed is not None:
            raise RowError(cast(Reason, failed[0]), failed[1])
        try:
            return self.read(root, picture)
        except RowError as error:
            if isinstance(picture, str) and is_remote(picture):
                self._journal.add_failure(image_id, picture, error.reason, str(error))
            raise

    def _store(self, image_id: str, picture: Picture, data: bytes) -> None:
        try:
            width, height = decode(data, self._params.max_image_pixels).size
        except ImageError as error:
            reason: Reason = "too_many_pixels" if error.reason == "too_many_pixels" else "broken_image"
            raise RowError(reason, f"{error.reason}: {error}") from None
        path = picture if isinstance(picture, str) else ""
        if is_remote(path):
            self._unsafe.append(path)
        self._table.add(
            {
                "image_id": image_id,
                "image": {"bytes": data, "path": path},
                "width": width,
                "height": height,
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )

    def _forget_fetched(self) -> None:
        """Removes the fetched files whose pictures are in a shard now."""
        for url in self._unsafe:
            self._remote.stored(url)
        self._unsafe = []


def _stored(images: Path) -> Iterator[tuple[str, str]]:
    """Id and path of the pictures in the shards of a table."""
    for shard in sorted(images.glob("part-*.parquet")):
        with reading(shard):
            for batch in pq.ParquetFile(shard).iter_batches(columns=["image_id", "image.path"]):
                yield from ((row["image_id"], row["image"]["path"]) for row in batch.to_pylist())


def _local(picture: str, root: Path) -> str:
    """A ``file://`` URL as a path from ``root``; a path as it is."""
    if scheme_of(picture) != "file":
        return picture
    return os.path.relpath(unquote(urlsplit(picture).path), os.path.abspath(root))


def read_picture(root: Path, relative: str, max_bytes: int = CatalogParams.max_image_bytes) -> bytes:
    """The bytes of a picture file under ``root``.

    Raises:
        RowError: no such file, not under ``root``, or too large.
    """
    inside = os.path.normpath(relative)
    if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir or "\0" in inside:
        raise RowError("missing_image", f"'{relative}' points outside the picture folder {root}")
    path = root / inside
    try:
        if not path.is_file():
            raise RowError("missing_image", f"no file '{relative}' in {root}")
        if path.stat().st_size > max_bytes:
            raise RowError("broken_image", f"too_many_bytes: {path.stat().st_size}, the limit is {max_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise RowError("missing_image", f"cannot read '{relative}': {error.strerror}") from None
