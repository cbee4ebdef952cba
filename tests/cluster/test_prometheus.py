"""Against a real Prometheus server where one is installed."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moon.cluster.deployment import free_ports
from moon.cluster.prometheus import PrometheusError, number


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    [port] = free_ports("127.0.0.1", 1)
    scrape = f"[{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]"
    (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs: {scrape}\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if number(url, "count(up == 1)") == 1:
                return
        except PrometheusError:
            pass  # not listening yet
        time.sleep(0.3)
    pytest.fail(f"prometheus does not scrape itself:\n{log.read_text()[-2000:]}")


def test_a_query_gives_its_number(prometheus: str) -> None:
    assert number(prometheus, "1 + 1") == 2
    assert number(prometheus + "/", "sum(up)") == 1


def test_nothing_and_not_a_number_are_none(prometheus: str) -> None:
    assert number(prometheus, "sum(no_such_metric)") is None
    assert number(prometheus, "sum(up * 0) / sum(up * 0)") is None


def test_a_wrong_query_and_several_series_are_errors(prometheus: str) -> None:
    with pytest.raises(PrometheusError, match=r"answers 400.*parse error"):
        number(prometheus, "sum(")
    with pytest.raises(PrometheusError, match="expected one series"):
        number(prometheus, 'vector(1) or label_replace(vector(2), "of", "two", "", "")')


@contextmanager
def server(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": {"resultType": "vector"}}'])
def test_another_kind_of_server_is_an_error(body: bytes) -> None:
    with server(200, body) as url, pytest.raises(PrometheusError, match="no Prometheus server"):
        number(url, "up")


def test_a_server_that_is_down_or_broken_is_an_error() -> None:
    with server(503, b"not ready") as url, pytest.raises(PrometheusError, match="answers 503 to up: not ready"):
        number(url, "up")
    [port] = free_ports("127.0.0.1", 1)
    with pytest.raises(PrometheusError, match="cannot be asked"):
        number(f"http://127.0.0.1:{port}", "up")


@pytest.mark.parametrize("url", ["", "prometheus:9090", "file:///etc/passwd"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        number(url, "up")
