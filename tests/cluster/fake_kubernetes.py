"""An API server of Kubernetes over HTTP that keeps objects, watches, pods and logs, and fails where it is told to.

It does what the launcher relies on: resource versions, uids, 409 on a taken name, foreground deletion, watches by
field selector that end, 410 for versions that it has forgotten, and logs that are followed to the container's end.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

Body = dict[str, Any]
_OBJECT = re.compile(r"^/apis/([^/]+)/[^/]+/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?$")
_PODS = re.compile(r"^/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?$")


@dataclass
class Fault:
    """What happens to the next ``times`` requests that match."""

    method: str
    path: str
    times: int
    status: int = 0
    slow: float = 0.0
    cut_after: int = -1
    """Lines of a stream after which the connection is cut, in the middle of the next."""
    message: str = "told to fail"


@dataclass
class Pod:
    body: Body
    lines: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False


class FakeKubernetes:
    """The state behind the server; every change wakes watches and followed logs."""

    def __init__(self, namespaces: tuple[str, ...] = ("moon",)) -> None:
        self.namespaces = namespaces
        self.changed = threading.Condition()
        self.objects: dict[str, Body] = {}
        self.pods: dict[str, Pod] = {}
        self.events: list[tuple[int, str, Body]] = []
        self.forgotten = 0
        self.version = 100
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.created: list[Body] = []
        self.controller: Callable[[str], None] | None = None
        self.finalizing = 0.0
        self.closing = False

    # What a test does

    def fail(self, method: str, path: str, times: int = 1, **how: Any) -> None:
        self.faults.append(Fault(method, path, times, **how))

    def set_status(self, name: str, status: Body) -> None:
        with self.changed:
            self.objects[name]["status"] = status
            self._record("MODIFIED", self.objects[name])

    def condition(self, name: str, kind: str, reason: str = "Because", message: str = "", **status: Any) -> None:
        one = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": _now()}
        self.set_status(name, {"conditions": [one], **status})

    def add_pod(self, name: str, labels: dict[str, str], container: str = "node") -> None:
        with self.changed:
            status = {"phase": "Running", "containerStatuses": [{"name": container, "state": {"running": {}}}]}
            self.pods[name] = Pod({"metadata": {"name": name, "labels": labels}, "status": status})
            self.changed.notify_all()

    def say(self, pod: str, *lines: str) -> None:
        with self.changed:
            self.pods[pod].lines.extend((_now(), line) for line in lines)
            self.changed.notify_all()

    def end_pod(self, pod: str, code: int = 0) -> None:
        with self.changed:
            one = self.pods[pod]
            [status] = one.body["status"]["containerStatuses"]
            status["state"] = {"terminated": {"exitCode": code, "finishedAt": _now()}}
            one.body["status"]["phase"] = "Failed" if code else "Succeeded"
            one.ended = True
            self.changed.notify_all()

    def forget(self) -> None:
        """Compaction: versions so far can no longer be watched from."""
        with self.changed:
            self.forgotten = self.version
            self.version += 1

    def gone(self, name: str) -> None:
        with self.changed:
            body = self.objects.pop(name)
            self._record("DELETED", body)

    # What the server does

    def create(self, body: Body) -> Body | None:
        name = body["metadata"]["name"]
        with self.changed:
            if name in self.objects:
                return None
            kept = json.loads(json.dumps(body))
            kept["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
            self.objects[name] = kept
            self.created.append(body)
            self._record("ADDED", kept)
        if self.controller is not None:
            threading.Thread(target=self.controller, args=(name,), daemon=True).start()
        return kept

    def replace(self, body: Body) -> Body | None:
        """None where the body is of another version of the object."""
        name = body["metadata"]["name"]
        with self.changed:
            known = self.objects.get(name)
            if known is None or known["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
                return None
            self.objects[name] = kept = {**body, "status": known.get("status", {})}
            self._record("MODIFIED", kept)
        if self.controller is not None:
            threading.Thread(target=self.controller, args=(name,), daemon=True).start()
        return kept

    def delete(self, name: str) -> bool:
        with self.changed:
            if name not in self.objects:
                return False
            self.objects[name]["metadata"]["deletionTimestamp"] = _now()
            self._record("MODIFIED", self.objects[name])
        threading.Timer(self.finalizing, lambda: name in self.objects and self.gone(name)).start()
        return True

    def fault(self, method: str, path: str) -> Fault | None:
        with self.changed:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def watched(self, name: str, since: int, seconds: float) -> Iterator[Body]:
        end, at = time.monotonic() + seconds, since
        while time.monotonic() < end and not self.closing:
            with self.changed:
                if at < self.forgotten:
                    error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    yield {"type": "ERROR", "object": error}
                    return
                new = [event for event in self.events if event[0] > at and event[2]["metadata"]["name"] == name]
                if not new:
                    self.changed.wait(0.05)
            for number, kind, body in new:
                at = number
                yield {"type": kind, "object": body}

    def followed(self, pod: str, since: int | None, follow: bool) -> Iterator[str]:
        said = 0
        while not self.closing:
            with self.changed:
                one = self.pods[pod]
                new, ended = one.lines[said:], one.ended
                if not new and follow and not ended:
                    self.changed.wait(0.05)
                    continue
            said += len(new)
            for stamp, line in new:
                if since is None or datetime.fromisoformat(stamp[:19]).timestamp() >= _utc() - since - 1:
                    yield f"{stamp} {line}"
            if ended or not follow:
                return

    def _record(self, kind: str, body: Body) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, json.loads(json.dumps(body))))
        self.changed.notify_all()


def _utc() -> float:
    return datetime.now(UTC).replace(tzinfo=None).timestamp()


_stamp = threading.Lock()
_last = [0]


def _now() -> str:
    """The time as Kubernetes writes it, without trailing zeros of the fraction; no two are equal."""
    with _stamp:
        _last[0] = max(_last[0] + 1, time.time_ns())
        seconds, nanos = divmod(_last[0], 10**9)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{nanos:09d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeKubernetes

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        shown = f"{url.path}?watch" if query.get("watch") in ("true", "True") else url.path
        fault = self.fake.fault(method, shown)
        if fault is not None and fault.slow:
            time.sleep(fault.slow)
        if fault is not None and fault.status:
            headers = {"Retry-After": "0"} if fault.status == 429 else {}
            return self._status(fault.status, fault.message, headers)
        cut = fault.cut_after if fault is not None else -1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if found := _OBJECT.match(url.path):
                return self._object(method, found[2], found[4], query, text, cut)
            if found := _PODS.match(url.path):
                return self._pod(found[2], query, cut)
            self._status(404, "the server could not find the requested resource")

    def _object(self, method: str, namespace: str, name: str | None, query: Body, text: bytes, cut: int) -> None:
        fake = self.fake
        if namespace not in fake.namespaces and method == "POST":
            return self._status(404, f'namespaces "{namespace}" not found')
        if method == "POST":
            body = fake.create(json.loads(text))
            return self._status(409, "already exists") if body is None else self._json(201, body)
        if method == "PUT":
            kept = fake.replace(json.loads(text))
            return self._status(409, "the object has been modified") if kept is None else self._json(200, kept)
        if method == "DELETE":
            assert json.loads(text)["propagationPolicy"] == "Foreground"
            return self._json(200, {}) if fake.delete(str(name)) else self._status(404, "not found")
        if query.get("watch") in ("true", "True"):
            wanted = query["fieldSelector"].removeprefix("metadata.name=")
            events = fake.watched(wanted, int(query["resourceVersion"]), float(query["timeoutSeconds"]))
            return self._stream((json.dumps(event) for event in events), cut)
        with fake.changed:
            body = fake.objects.get(str(name))
        return self._status(404, "not found") if body is None else self._json(200, body)

    def _pod(self, name: str | None, query: Body, cut: int) -> None:
        fake = self.fake
        if name is None:
            key, _, value = query["labelSelector"].partition("=")
            with fake.changed:
                found = [one.body for one in fake.pods.values() if one.body["metadata"]["labels"].get(key) == value]
                return self._json(200, {"items": found})
        if name not in fake.pods:
            return self._status(404, "pod not found")
        since = int(query["sinceSeconds"]) if "sinceSeconds" in query else None
        assert query["timestamps"] in ("true", "True")
        return self._stream(fake.followed(name, since, query.get("follow") in ("true", "True")), cut)

    def _json(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def _status(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._json(code, {"kind": "Status", "code": code, "reason": "Told", "message": message}, headers)

    def _stream(self, lines: Iterator[str], cut: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, line in enumerate(lines):
            data = line.encode() + b"\n"
            if number == cut:
                data = data[: len(data) // 2]
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
            if number == cut:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def serving(fake: FakeKubernetes) -> Iterator[str]:
    """Serves a fake; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        fake.closing = True
        server.shutdown()
        server.server_close()


def configuration(address: str) -> client.Configuration:
    settings = client.Configuration()
    settings.host = address
    return settings


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: fake, cluster: {{server: "{address}"}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
users: [{{name: fake, user: {{}}}}]
current-context: fake
"""
"""For launchers in processes of their own; ``address`` is to be filled in."""
