"""The sampler of a server's metrics: a row each time, and the reason where there is nothing in it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from benchsuite.clock import now_ns
from benchsuite.telemetry import server_metrics
from benchsuite.telemetry.server_metrics import ServerSampler, metrics_url

PAGE = (Path(__file__).parents[1] / "data" / "metrics" / "vllm_0.8.txt").read_text()
URL = "http://h:1/metrics"


def answer(status: int, text: str | bytes = b"", **headers: str) -> Callable[[], httpx.Response]:
    """Makes an answer with this body on the wire, whatever its headers promise."""
    content = text.encode() if isinstance(text, str) else text
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: httpx.Response(status, headers=named, stream=httpx.ByteStream(content))


def sampler(*answers: Callable[[], httpx.Response] | Exception, origin_ns: int = 0) -> ServerSampler:
    """A sampler of a server that gives these answers in turn, the last one for ever."""
    left = list(answers)

    def handle(_: httpx.Request) -> httpx.Response:
        now = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(now, Exception):
            raise now
        return now()

    return ServerSampler(URL, "http://h:1", origin_ns, transport=httpx.MockTransport(handle))


def test_a_row():
    """A page becomes a row on the run's clock with the server's figures; facts tell what it has and lacks."""
    origin_ns = now_ns()
    one = sampler(answer(200, PAGE), origin_ns=origin_ns)
    before_s = time.time()
    (row,) = one.sample()
    assert (row.endpoint, row.running, row.waiting, row.kv_cache_ratio, row.error) == ("http://h:1", 3, 7, 0.42, None)
    assert 0 <= row.at_s <= (now_ns() - origin_ns) / 1e9
    assert before_s - 0.01 <= row.wall_s <= time.time() + 0.01
    assert one.problems() == ()
    facts = one.facts()
    assert (facts["url"], facts["family"], facts["period_s"], facts["missing"]) == (URL, "vllm", 1.0, [])


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (answer(404), "answered 404 Not Found"),
        (answer(307, location="/elsewhere"), "answered 307"),
        (answer(200, "<html>hello</html>"), "no Prometheus text"),
        (answer(200, "process_cpu_seconds_total 1\n"), "no metrics of a known server"),
        (answer(200, "vllm:num_requests_running{ 1\n"), "a line cannot be read"),
        (httpx.ConnectError("Connection refused"), "Connection refused"),
        (httpx.ReadTimeout("slow"), "no complete page in time"),
        (answer(200, b"not gzip", content_encoding="gzip"), "cannot be read"),
    ],
)
def test_no_figures(given, word):
    """Each way to fail is a row without figures and with the reason, told once however often it happens."""
    one = sampler(given)
    rows = [one.sample()[0] for _ in range(3)]
    assert all(word in row.error and row.running is None and row.generated_tokens is None for row in rows)
    (problem,) = one.problems()
    assert problem.startswith("server metrics: http://h:1/metrics")
    assert word in problem


def test_it_comes_back():
    """After a failure the next page is read as if nothing had been."""
    one = sampler(httpx.ConnectError("no"), answer(200, PAGE))
    assert [one.sample()[0].running for _ in range(2)] == [None, 3.0]


class Endless(BaseHTTPRequestHandler):
    """Sends a page for ever, 7 kB at a time."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"# drip\n" * 1000)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("limit", "word"), [({"page_bytes": 2**20}, "larger than 1 MiB"), ({"page_s": 0.1}, "no complete page in time")]
)
def test_a_page_without_end(monkeypatch, limit, word):
    """A page that never ends is given up by its size or its time, though every read brings something."""
    monkeypatch.setattr(server_metrics, "most", lambda name: limit.get(name, 2**40))
    with HTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        one = ServerSampler(f"http://127.0.0.1:{server.server_port}/metrics", "e", now_ns())
        assert word in one.sample()[0].error
        one.close()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, "http://s:8000/metrics"),
        ("http://m:9090", "http://m:9090/metrics"),
        ("http://m:9090/", "http://m:9090/metrics"),
        ("http://m:9090/federate", "http://m:9090/federate"),
    ],
)
def test_where_the_page_is(given, url):
    """A host alone is completed by the usual path; a whole URL is taken as it is."""
    assert metrics_url("http://s:8000", given) == url
