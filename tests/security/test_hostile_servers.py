"""A server cannot exhaust this machine's memory or patience, whatever it sends, under load or beside it."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.clock import now_ns
from benchsuite.limits import ResponseLimits
from benchsuite.load.server_probe import listed_models, recognise, server_facts
from benchsuite.servers import SERVERS
from benchsuite.telemetry.http import bounded_client
from benchsuite.telemetry.server_metrics import Scraper, ServerState, read_state
from tests.security.hostile_servers import OK, forever, rss_bytes, serving, whole

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a header without end": (OK + b"X-Big: ", b"a"),
    "headers without end": (OK, b"X-Header: value\r\n"),
    "interim answers without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body without end": (OK + b"\r\n", b"a"),
    "chunks without end": (CHUNKED, b"1\r\na\r\n"),
    "a chunk's size without end": (CHUNKED, b"0"),
    "a chunk's extension without end": (CHUNKED + b"1;", b"a"),
    "trailers without end": (CHUNKED + b"0\r\n", b"X-Trailer: value\r\n"),
    "an event without end": (CHUNKED + b"ffffffff\r\ndata: ", b"a"),
    "a status line without end": (b"HTTP/1.1 200 ", b"a"),
}


async def _ask(url: str, limit_bytes: int, seconds: float, all_bytes: int = 2**30):
    host, port = url.removeprefix("http://").split(":")
    target = Endpoint(2, (host, int(port)), host, limits=ResponseLimits(limit_bytes, all_bytes))
    link = Link(asyncio.get_running_loop(), target, 5.0)
    connection, exchange, done = Connection(link), Exchange(0, now_ns()), asyncio.Event()
    exchange.on_done = lambda _: done.set()
    await connection.open()
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", exchange)
    until_s = time.monotonic() + 60
    while not done.is_set() and time.monotonic() < until_s:
        why = connection.overdue(now_ns(), int(seconds * 1e9), int(seconds * 1e9))
        if why:
            connection.abort("timeout", why)
        await asyncio.sleep(0.005)
    connection.close()
    rows, n_bytes = [], len(exchange.data)
    for _ in record_steps(
        exchange, EncodedRequest(b"", "p", None, None), PointContext("r", "p", 1, 0, 0, 0, True), rows
    ):
        pass
    assert link.held_bytes == 0
    return rows[0], n_bytes


@pytest.mark.parametrize("name", ENDLESS)
async def test_the_measuring_client_ends_an_endless_answer(name):
    """At its limit on a response; memory stays near that limit, and the row says what happened."""
    begin, piece = ENDLESS[name]
    before = rss_bytes()
    with serving(lambda sock, _: forever(sock, piece, begin)) as url:
        row, n_bytes = await _ask(url, 4 * 2**20, 10.0)

    assert row.status in ("stream_error", "timeout", "truncated", "http_error")
    assert row.error
    assert n_bytes <= 4 * 2**20 + 65536
    assert rss_bytes() - before < 64 * 2**20


@pytest.mark.parametrize("name", ENDLESS)
def test_the_client_beside_the_load_ends_an_endless_answer(name):
    """The same of the client that asks for models and metrics: an error that its callers take for no answer."""
    begin, piece = ENDLESS[name]
    before = rss_bytes()
    with (
        serving(lambda sock, _: forever(sock, piece, begin)) as url,
        bounded_client(url, timeout_s=5.0, max_bytes=2**19) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.get("/v1/models")
    assert rss_bytes() - before < 64 * 2**20


async def test_all_answers_together_have_a_limit_too():
    """Many connections, each below its own limit, cannot fill the memory together; what is over is given back."""
    with serving(lambda sock, _: forever(sock, b"a", OK + b"\r\n")) as url:
        row, n_bytes = await _ask(url, 2**30, 10.0, all_bytes=2**20)

    assert row.error == "responses in flight longer than 1048576 bytes together"
    assert n_bytes <= 2**20 + 65536


@pytest.mark.parametrize("begin", [b"", OK, OK + b"Content-Length: 100000\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_dripping_ends_by_its_time(begin):
    """A byte now and then keeps every read alive, and the whole answer still has an end."""
    to_the_end = []

    def drip(sock, _):
        sock.sendall(begin)
        for _ in range(2000):
            sock.sendall(b"a")
            time.sleep(0.01)
        to_the_end.append(True)

    with serving(drip) as url, bounded_client(url, timeout_s=5.0, total_s=0.3) as client:
        with pytest.raises(httpx.TransportError):
            client.get("/")
        assert not to_the_end


async def test_dripping_headers_end_under_load_too():
    """The measuring client's limit is on the whole request: bytes that come do not renew it."""

    def drip(sock, _):
        sock.sendall(OK)
        for _ in range(2000):
            sock.sendall(b"X")
            time.sleep(0.01)

    with serving(drip) as url:
        row, _ = await _ask(url, 2**20, 0.3)
    assert row.status == "timeout"
    assert row.error == "not finished within 0.3 s"


def test_a_bomb_is_not_unpacked():
    """A compressed answer is refused unread by the control client, and unpacked to the limit of a response, no more."""
    import gzip

    bomb = whole(gzip.compress(b"\0" * 50_000_000), more=b"Content-Encoding: gzip\r\n")
    with serving(lambda sock, _: sock.sendall(bomb)) as url:
        with (
            bounded_client(url) as client,
            pytest.raises(httpx.RemoteProtocolError, match="unrequested content-encoding"),
        ):
            client.get("/v1/models")
        scraper = Scraper(f"{url}/metrics", 0)
        assert "unrequested content-encoding" in (scraper.get().problem or "")
        scraper.close()
        row, _ = asyncio.run(_ask(url, 2**20, 5.0))
    assert (row.status, row.error) == ("stream_error", "decoded response longer than 1048576 bytes")


@pytest.mark.parametrize("more", [b"", b"x" * 5000])
async def test_an_upgrade_that_nobody_asked_for(more):
    """A server that switches protocols is an error of its request at once, not of the program."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + more
    with serving(lambda sock, _: sock.sendall(switch)) as url:
        row, _ = await _ask(url, 2**20, seconds=15)
    assert (row.status, row.http_status) == ("stream_error", 101)


def test_a_million_models_are_cut():
    """A list of models is kept to its first 2,000, and each name to 256 characters."""
    many = b",".join(b'{"id":"%s%d"}' % (b"m" * 400, i) for i in range(5000))
    with (
        serving(lambda sock, _: sock.sendall(whole(b'{"data":[%s]}' % many))) as url,
        bounded_client(url) as client,
    ):
        found = listed_models(client.get("/v1/models"))
    assert found is not None
    assert len(found) == 2000
    assert {len(name) for name in found} == {256}


def test_json_without_bottom_is_no_list_of_models():
    """Nesting deeper than Python's stack is no JSON, and no crash."""
    deep = whole(b'{"data":' + b"[" * 500_000)
    with serving(lambda sock, _: sock.sendall(deep)) as url, bounded_client(url) as client:
        assert listed_models(client.get("/v1/models")) is None


CHARSETS = (
    "zlib", "undefined", "idna", "punycode", "utf-7", "rot13", "hex", "base64", "bz2", "unicode_escape",
    "raw_unicode_escape", "mbcs", "none", "\\xff", "a" * 5000, "utf-8", "latin-1", "UTF-16",
)  # fmt: skip


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_charset_is_no_codec_of_python(charset):
    """A content type names an encoding of text, or its text is read as UTF-8: on every route of a server."""
    kind = b"text/plain; charset=" + charset.encode()
    with serving(lambda sock, _: sock.sendall(whole("vllm\u00e9 1".encode(), kind=kind))) as url:
        with bounded_client(url) as client:
            answer = client.get("/v1/models")
            assert listed_models(answer) is None
            assert recognise(client, answer, None).name == "openai"
            assert server_facts(client, SERVERS["vllm"]) == {}
            assert read_state(client, SERVERS["vllm"]) == ServerState()
            assert (answer.text == "vllm\u00e9 1") is (charset != "latin-1")
        scraper = Scraper(f"{url}/metrics", 0)
        assert scraper.get().text == "vllm\u00e9 1"
        scraper.close()


SMALL = {
    "a trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nX: ", b"a", "chunk sizes or trailers longer than 16384 bytes"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: a\r\n", "chunk sizes or trailers longer than 16384 bytes"),
    "an extension": (CHUNKED + b"5\r\nhello\r\n5;", b"a", "chunk sizes or trailers longer than 16384 bytes"),
    "headers": (OK, b"X: a\r\n", "response headers longer than 131072 bytes"),
    "one header": (OK + b"X: ", b"a", "response headers longer than 131072 bytes"),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "response headers longer than 131072 bytes"),
    "folded headers": (b"HTTP/1.1 200 OK\nX: a\n", b" a\n", "response headers longer than 131072 bytes"),
}


@pytest.mark.parametrize("name", SMALL)
def test_framing_in_small_pieces_is_bounded(name):
    """What is no body ends at its limit, however small its pieces, and no read is fed twice."""
    begin, unit, message = SMALL[name]
    exchange, data = Exchange(0, 0), begin + unit * (200_000 // len(unit))
    exchange.sent_ns = 1
    with pytest.raises(WireError, match=message):
        for i in range(0, len(data), 7):
            exchange.data += data[i : i + 7]
            exchange.ends.append(len(exchange.data))
            exchange.stamps.append(i)
            exchange.user_stamps.append(i)
            exchange.find_end()
            if len(exchange.data) > exchange.due_bytes:
                exchange.grown()
    assert len(exchange.data) < 131072 + 65536 + 14
    assert len(exchange.body_ends) == len(exchange.ends) or name == "an extension"
