"""A KFP API server over HTTP: the routes of v2beta1 that the client uses, with pages, filters and refusals."""

from __future__ import annotations

import contextlib
import email
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Body = dict[str, Any]
_BASE = "/apis/v2beta1"
_PAGE = 2
"""Rows of a page, whatever is asked for: a server may give fewer."""


class FakeKfp:
    """The state behind the server."""

    def __init__(self, token: str = "", namespaces: tuple[str, ...] = ()) -> None:
        self.token, self.namespaces = token, namespaces
        self.rows: dict[str, list[Body]] = {
            "pipelines": [], "versions": [], "experiments": [], "runs": [], "recurringruns": []
        }  # fmt: skip
        self.uploads: list[bytes] = []
        self.requests: list[tuple[str, str]] = []
        self.failing: dict[tuple[str, str], tuple[int, str]] = {}
        """Method and route -> status and message."""

    def add(self, kind: str, key: str, row: Body) -> Body:
        rows = self.rows[kind]
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sum(map(len, self.rows.values())))
        made = {**row, key: f"{kind}-{len(rows) + 1}", "created_at": time.isoformat()}
        rows.append(made)
        return made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeKfp

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        route = url.path.removeprefix(_BASE)
        fake = self.fake
        fake.requests.append((method, route))
        if fake.token and self.headers.get("authorization") != f"Bearer {fake.token}":
            return self._answer(401, {"message": "Unauthenticated: the token has expired"})
        if told := fake.failing.get((method, route)):
            return self._answer(told[0], {"message": told[1], "code": 3})
        if fake.namespaces and (named := query.get("namespace")) is not None and named not in fake.namespaces:
            return self._answer(403, {"message": f"not authorised in namespace {named}"})
        answer = self._route(method, route, query, body)
        self._answer(*((404, {"message": "Not Found"}) if answer is None else (200, answer)))

    def _route(self, method: str, route: str, query: Body, body: bytes) -> Body | None:
        fake = self.fake
        if route == "/healthz":
            return {"multi_user": bool(fake.namespaces)}
        if route == "/pipelines/upload_version":
            return self._upload(query, body)
        if method == "POST" and route == "/pipelines":
            return fake.add("pipelines", "pipeline_id", json.loads(body))
        if method == "POST" and route == "/experiments":
            return fake.add("experiments", "experiment_id", json.loads(body))
        if method == "POST" and route == "/runs":
            return fake.add("runs", "run_id", json.loads(body))
        if method == "POST" and route == "/recurringruns":
            return fake.add("recurringruns", "recurring_run_id", json.loads(body))
        if method == "DELETE" and (match := re.fullmatch(r"/recurringruns/(.+)", route)):
            rows = fake.rows["recurringruns"]
            kept = [row for row in rows if row["recurring_run_id"] != match[1]]
            found, rows[:] = len(kept) < len(rows), kept
            return {} if found else None
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", route):
            rows = [row for row in fake.rows["versions"] if row["pipeline_id"] == match[1]]
            return self._page("pipeline_versions", rows, query)
        kinds = {"pipelines": "pipelines", "experiments": "experiments", "runs": "runs"}
        kinds["recurringruns"] = "recurringRuns"
        if method == "GET" and (kind := route.strip("/")) in kinds:
            experiment = query.get("experiment_id")
            rows = [row for row in fake.rows[kind] if experiment in (None, row.get("experiment_id"))]
            return self._page(kinds[kind], rows, query)
        return None

    def _upload(self, query: Body, body: bytes) -> Body:
        headers = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        [part] = email.message_from_bytes(headers + body).get_payload()
        self.fake.uploads.append(part.get_payload(decode=True))
        row = {"pipeline_id": query["pipelineid"], "display_name": query["name"]}
        return self.fake.add("versions", "pipeline_version_id", row)

    def _page(self, field: str, rows: list[Body], query: Body) -> Body:
        wanted = json.loads(query["filter"])["predicates"] if query.get("filter") else []
        for one in wanted:
            assert one["operation"] in ("EQUALS", 1) and one["key"] == "display_name"
            rows = [row for row in rows if row["display_name"] == one["stringValue"]]
        rows = sorted(rows, key=lambda row: str(row["created_at"]), reverse=query.get("sort_by", "").endswith("desc"))
        start = int(query.get("page_token") or 0)
        more = str(start + _PAGE) if start + _PAGE < len(rows) else ""
        return {field: rows[start : start + _PAGE], "next_page_token": more}

    def _answer(self, status: int, body: Body) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serving(fake: FakeKfp) -> Iterator[str]:
    """Serves a fake; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
