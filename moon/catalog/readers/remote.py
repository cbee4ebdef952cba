"""Remote pictures: fetched ahead of the reader by a bounded pool, kept in files until they are in the catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

from moon.catalog.readers.fetch import FetchError, check_scheme, fetch, scheme_of, web_session
from moon.config import CatalogParams


def is_remote(value: str) -> bool:
    """Whether a picture's value is a URL that is not a file's, whether or not it can be fetched."""
    return scheme_of(value) not in ("", "file")


class RemotePictures:
    """Fetches pictures by URL; use it as a context manager.

    `want` starts fetching in the background, `read` waits for one picture, `drop` says that a wanted one is no longer
    needed, and `stored` that its bytes are in the catalogue. At most ``params.fetch_workers`` connections are open,
    and memory holds no picture: each is a file in ``folder`` until it is ``stored``, also when this process is killed,
    so that an import that goes on does not fetch it again.

    Args:
        params: limits of a fetch.
        folder: where fetched pictures are kept; made when the first one is.
    """

    def __init__(self, params: CatalogParams, folder: Path) -> None:
        self._params, self._folder = params, folder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted: dict[str, tuple[Future[None], int]] = {}
        """URL -> its fetch, and how many still want it."""

    def __enter__(self) -> RemotePictures:
        return self

    def __exit__(self, *error: object) -> None:
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def want(self, urls: Iterable[str]) -> None:
        """Starts to fetch pictures that `read` will ask for soon.

        Raises:
            ValueError: the driver of an object store is not installed.
        """
        for url in urls:
            future, wanted = self._wanted.get(url) or (self._start(url), 0)
            self._wanted[url] = future, wanted + 1

    def drop(self, urls: Iterable[str]) -> None:
        """Takes back what `want` was told."""
        for url in urls:
            future, wanted = self._wanted.pop(url)
            if wanted > 1:
                self._wanted[url] = future, wanted - 1
            else:
                future.cancel()

    def read(self, url: str) -> bytes:
        """The bytes of one picture; waits until they are there.

        Raises:
            FetchError: they cannot be had.
            ValueError: the driver of an object store is not installed.
        """
        wanted = self._wanted.get(url)
        (wanted[0] if wanted else self._start(url)).result()
        try:
            return self._file(url).read_bytes()
        except FileNotFoundError:  # stored, and its file removed, since it was wanted
            self._start(url).result()
            return self._file(url).read_bytes()

    def stored(self, url: str) -> None:
        """Removes the file of a picture whose bytes are safe elsewhere."""
        self._file(url).unlink(missing_ok=True)

    def _file(self, url: str) -> Path:
        return self._folder / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()

    def _start(self, url: str) -> Future[None]:
        done: Future[None] = Future()
        try:
            check_scheme(url)
        except FetchError as error:
            done.set_exception(error)
            return done
        if self._file(url).is_file():
            done.set_result(None)
            return done
        return asyncio.run_coroutine_threadsafe(self._fetch(url), self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        """The event loop, in its own thread, from the first fetch on."""
        if self._loop is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="moon-fetch", daemon=True)
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self._loop

    async def _open(self) -> None:
        self._session = web_session(self._params)
        self._slots = asyncio.Semaphore(self._params.fetch_workers)

    async def _fetch(self, url: str) -> None:
        async with self._slots:
            if not self._file(url).is_file():
                await fetch(self._session, url, self._params, self._file(url))

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()
