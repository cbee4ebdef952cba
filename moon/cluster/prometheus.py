"""Instant queries to a Prometheus server."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

_SECONDS: Final = 30.0
_BYTES: Final = 1_000_000


class PrometheusError(RuntimeError):
    """The server does not answer, or not with what was asked for."""


def number(url: str, query: str) -> float | None:
    """The one number that a query gives; None where it gives none, or not a number (0 / 0).

    Args:
        url: the server, such as ``http://prometheus.monitoring:9090``; proxies of the environment are used.
        query: PromQL whose answer is a scalar or has at most one series.

    Raises:
        ValueError: ``url`` is not an address of HTTP.
        PrometheusError: the server cannot be asked, refuses the query, or gives several series.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"'{url}' is no address of a Prometheus server; expected http://HOST:PORT")
    body = urllib.parse.urlencode({"query": query}).encode()
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/query", body, timeout=_SECONDS) as answer:
            found = json.loads(answer.read(_BYTES))["data"]
            kind, result = found["resultType"], found["result"]
    except urllib.error.HTTPError as error:
        reason = error.read(500).decode(errors="replace")
        raise PrometheusError(f"{url} answers {error.code} to {query}: {reason}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrometheusError(f"{url} cannot be asked, or is no Prometheus server: {error}") from error
    if kind == "vector" and len(result) > 1:
        raise PrometheusError(f"expected one series, got {len(result)} for {query}")
    if kind == "vector":
        result = result[0]["value"] if result else (0, "nan")
    value = float(result[1])
    return None if math.isnan(value) else value
