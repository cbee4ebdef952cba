from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from moon.cluster.deployment import free_ports
from moon.serving import tracing
from tests.serving.running import command, stop, wait_ready

pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'tracing'")
TRACE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector: its address and the spans that it got."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(
                gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            )
            spans.extend(one for r in request.resource_spans for s in r.scope_spans for one in s.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", spans
    server.shutdown()
    server.server_close()


def test_a_request_is_one_trace_below_its_caller_and_its_pass_links_to_it(
    artefact_dir: Path, tiny_model: Path, tmp_path: Path, collector: tuple[str, list[Any]]
) -> None:
    address, spans = collector
    ports = free_ports("127.0.0.1", 2)
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": address, "NO_PROXY": "*"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command(tiny_model, artefact_dir, ports), stdout=log, stderr=log, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", trust_env=False, timeout=30) as http:
            wait_ready(http, process, tmp_path / "log")
            caller = {"traceparent": f"00-{TRACE}-0123456789abcdef-01"}
            answer = http.post("/v1/embeddings", json={"input": ["mug", "lamp"]}, headers=caller)
            assert answer.status_code == 200
    finally:
        stop(process)
    ours = {span.span_id: span for span in spans if span.trace_id.hex() == TRACE}
    [request] = [span for span in ours.values() if span.parent_span_id.hex() == "0123456789abcdef"]
    assert request.name == "POST /v1/embeddings"
    waits = [span for span in ours.values() if span.name == "moon.queue_and_forward"]
    assert len(waits) == 2
    linked = {link.span_id for span in spans if span.name == "moon.forward" for link in span.links}
    for wait in waits:
        assert wait.span_id in linked
        above = wait
        while above.span_id != request.span_id:
            above = ours[above.parent_span_id]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_only_the_standard_variables_switch_it_on(environment: dict[str, str], expected: bool) -> None:
    assert tracing.configured(environment) is expected


def test_a_missing_package_is_an_error_only_where_traces_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert tracing.setup({}) is False
    with pytest.raises(RuntimeError, match=r"moon\[tracing\]"):
        tracing.setup({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})
