"""Fetching one picture by its URL: http(s) by aiohttp, object stores by the `fsspec` driver that is installed.

Nothing of a server is trusted: the address is checked when a connection is opened (`addresses`), also after each
redirect, the body is counted while it arrives, every attempt has a deadline.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urljoin, urlsplit

from moon import __version__
from moon.catalog.readers.addresses import RefusedAddress, public_socket
from moon.config import CatalogParams

if TYPE_CHECKING:
    import aiohttp

Reason = Literal["refused_address", "fetch_failed", "too_many_bytes"]
_Write = Callable[[bytes], object]

WEB: Final = ("http", "https")
STORES: Final = ("s3", "gs", "gcs", "abfs", "az")
"""Object stores that are read where their `fsspec` driver is installed."""
MOST_REDIRECTS: Final = 5
FIRST_PAUSE: Final = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_BUSY: Final = (408, 425, 429)
"""Answers that ask to come again later, as those from 500 do."""


class FetchError(ValueError):
    """A picture that could not be fetched; ``reason`` is a code of the rejected table."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class _Again(Exception):
    """An attempt that failed in a way that may pass."""


def scheme_of(value: str) -> str:
    """``https`` of ``https://...``, in lower case; empty for a path."""
    match = _URL.match(value)
    return match[1].lower() if match else ""


def check_scheme(url: str) -> None:
    """Refuses what cannot be fetched here.

    Raises:
        FetchError: a scheme that is not read.
        ValueError: an object store whose driver is not installed.
    """
    scheme = scheme_of(url)
    if scheme in WEB:
        return
    if scheme not in STORES or "::" in url:
        raise FetchError("fetch_failed", f"{scheme}:// is not read; known are {', '.join((*WEB, *STORES))} and file")
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ValueError(
            f"a picture is at {scheme}://..., which needs a driver that is not installed: {error}; "
            "install it and run the same import again, it goes on where it stopped"
        ) from None


def web_session(params: CatalogParams) -> aiohttp.ClientSession:
    """A client for `fetch`; to be made in a running event loop and closed there."""
    import aiohttp

    connector = aiohttp.TCPConnector(
        limit=params.fetch_workers,
        happy_eyeballs_delay=None,  # its race would swallow a refusal and try the next address
        socket_factory=None if params.allow_private_hosts else public_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=params.fetch_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a few kilobytes may unpack to gigabytes
        headers={"User-Agent": f"moon/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity"},
    )


async def fetch(session: aiohttp.ClientSession, url: str, params: CatalogParams, target: Path) -> None:
    """Leaves the bytes at ``url`` in the file ``target``, which appears when it is whole.

    Time-outs, broken connections and answers 408, 425, 429 and 5xx are tried again ``params.fetch_retries`` times.

    Raises:
        FetchError: it cannot be had; the message is the same whenever the cause is.
    """
    partial = target.with_suffix(f".{uuid.uuid4().hex}")
    for attempt in range(params.fetch_retries + 1):
        if attempt:
            await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            with partial.open("wb") as file:
                await _attempt(session, url, params, file.write)
            partial.replace(target)
            return
        except _Again as problem:
            said = str(problem)
        finally:
            partial.unlink(missing_ok=True)
    raise FetchError("fetch_failed", f"{said}, tried {params.fetch_retries + 1} times")


async def fetch_web(session: aiohttp.ClientSession, url: str, params: CatalogParams) -> bytes:
    """The bytes at an http(s) ``url``, in memory, in one attempt.

    Raises:
        FetchError: it cannot be had, or it has another scheme.
    """
    if scheme_of(url) not in WEB:
        raise FetchError("fetch_failed", f"{scheme_of(url)}:// is not read, expected http(s)")
    data = bytearray()
    try:
        await _attempt(session, url, params, data.extend)
    except _Again as problem:
        raise FetchError("fetch_failed", str(problem)) from None
    return bytes(data)


async def _attempt(session: aiohttp.ClientSession, url: str, params: CatalogParams, write: _Write) -> None:
    """One attempt, with what the libraries raise made ours."""
    import aiohttp

    host = urlsplit(url).hostname or "no host"
    try:
        async with asyncio.timeout(params.fetch_timeout):
            await (_web if scheme_of(url) in WEB else _store)(session, url, params, write)
    except RefusedAddress as refused:
        raise FetchError(
            "refused_address",
            f"{host} leads to {refused}, which is no public address; catalog.allow_private_hosts=true allows it",
        ) from None
    except TimeoutError:
        raise _Again(f"{host} took more than {params.fetch_timeout:g} s") from None
    except aiohttp.InvalidURL:
        raise FetchError("fetch_failed", "not a URL that can be asked for") from None
    except aiohttp.ClientSSLError as error:
        raise FetchError("fetch_failed", f"{host} has no valid certificate: {type(error).__name__}") from None
    except aiohttp.ClientConnectorDNSError:
        raise _Again(f"{host} has no known address") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _Again(f"{host}: {type(error).__name__}") from None


async def _web(session: aiohttp.ClientSession, url: str, params: CatalogParams, write: _Write) -> None:
    for _ in range(MOST_REDIRECTS + 1):
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status in _REDIRECTS and "Location" in answer.headers:
                url = urljoin(url, answer.headers["Location"])
                if scheme_of(url) not in WEB:
                    raise FetchError("refused_address", f"a redirect leads to {scheme_of(url)}://, expected http(s)")
                continue
            if answer.status in _BUSY or answer.status >= 500:
                raise _Again(f"HTTP {answer.status} from {answer.host}")
            if answer.status != 200:
                raise FetchError("fetch_failed", f"HTTP {answer.status} from {answer.host}")
            if (answer.content_length or 0) > params.max_image_bytes:
                raise _too_many(params)
            await _save(answer.content.iter_chunked(_CHUNK), params, write)
            return
    raise FetchError("fetch_failed", f"more than {MOST_REDIRECTS} redirects")


async def _store(session: Any, url: str, params: CatalogParams, write: _Write) -> None:
    """Reads an object by `fsspec`, in a thread; ``session`` is not used."""
    import fsspec

    def read() -> bytes:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(params.max_image_bytes + 1)
            return data

    data = await asyncio.to_thread(read)
    await _save(_once(data), params, write)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _save(chunks: AsyncIterator[bytes], params: CatalogParams, write: _Write) -> None:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > params.max_image_bytes:
            raise _too_many(params)
        write(chunk)


def _too_many(params: CatalogParams) -> FetchError:
    return FetchError("too_many_bytes", f"more than catalog.max_image_bytes={params.max_image_bytes} bytes")
