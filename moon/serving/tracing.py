"""OpenTelemetry spans, where the standard variables name a collector; otherwise none are recorded.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 python -m moon.serving ...

FastAPI makes a span of every REST request, below the caller's where it sends ``traceparent``. Within it are
``moon.preprocess`` and ``moon.queue_and_forward``. A forward pass is shared by requests, so its span is one of its own
and links to theirs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_tracer = trace.get_tracer("moon.serving")
_provider: TracerProvider | None = None


def configured(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in _ENDPOINTS)


def setup(environment: Mapping[str, str] | None = None) -> bool:
    """Starts recording where the variables ask for it; call it once, before the server starts.

    Returns:
        Whether spans are recorded from here on.

    Raises:
        RuntimeError: they do, and the packages are not installed.
    """
    global _provider
    if not configured(os.environ if environment is None else environment):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        asked = " or ".join(_ENDPOINTS)
        raise RuntimeError(f"{asked} asks for traces, which need pip install 'moon[tracing]': {error}") from None
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over this name.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "moon"}
    _provider = TracerProvider(resource=Resource.create(named))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)
    return True


def shutdown() -> None:
    """Sends what is not sent yet and ends the recording."""
    if _provider is not None:
        _provider.shutdown()


def current() -> SpanContext | None:
    """The context of this task's span, to link to; None where nothing is recorded."""
    if _provider is None:
        return None
    return trace.get_current_span().get_span_context()


@contextlib.contextmanager
def span(name: str, **attributes: int) -> Iterator[None]:
    """A span around a part of this task's work; nothing where nothing is recorded."""
    if _provider is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=attributes):
        yield


@contextlib.contextmanager
def forward_span(requests: Sequence[SpanContext | None], items: int, tokens: int) -> Iterator[None]:
    """A span of its own around a forward pass, linked to those of the requests that share it."""
    if _provider is None:
        yield
        return
    links = [Link(context) for context in requests if context is not None]
    attributes = {"moon.batch.items": items, "moon.batch.tokens": tokens}
    with _tracer.start_as_current_span("moon.forward", links=links, attributes=attributes):
        yield
