"""The measuring sockets against a peer that the test plays itself, byte by byte, on the loopback.

The test and the client share one event loop: what the peer sends is read when the test awaits, so nothing races.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from benchsuite.client import connection as wire
from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.clock import now_ns
from benchsuite.limits import ResponseLimits

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\n"
COUNTED = OK + b"Content-Length: 5\r\n\r\nhello"


async def until(true: Callable[[], object]) -> None:
    """Let the client read until something holds; a bug ends the wait after a minute."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0)


class Stage:
    """A listener that the test answers for, and one connection of the client."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None = None, **endpoint: object) -> None:
        self.listener = listener
        address = listener.getsockname()
        self.link = Link(asyncio.get_running_loop(), Endpoint(socket.AF_INET, address, "127.0.0.1", **endpoint), 5.0)
        self.link.tls = tls
        self.connection = Connection(self.link)
        self.ended: list[Exchange] = []

    async def open(self) -> socket.socket:
        """Connect; the peer's end."""
        await self.connection.open()
        return self.accept()

    def accept(self) -> socket.socket:
        peer, _ = self.listener.accept()
        peer.settimeout(60)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def ask(self, request: bytes = REQUEST) -> Exchange:
        """Send a request."""
        exchange = Exchange(len(self.ended), now_ns())
        exchange.on_done = self.ended.append
        self.connection.send(request, exchange)
        return exchange

    async def answer(self, peer: socket.socket, *pieces: bytes) -> Exchange:
        """Ask, and answer in pieces that are each read before the next is sent; the exchange, which must end."""
        exchange = self.ask()
        peer.recv(len(REQUEST), socket.MSG_WAITALL)
        for piece in pieces:
            sent = len(exchange.data) + len(piece)
            peer.sendall(piece)
            await until(lambda: len(exchange.data) >= sent or exchange.error)  # noqa: B023
        await until(lambda: exchange in self.ended)
        return exchange


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


def body_of(exchange: Exchange) -> bytes:
    """The body, its framing taken off."""
    exchange.feed()
    return bytes(exchange.body)


def failure(exchange: Exchange) -> tuple[str, str]:
    assert exchange.error is not None
    return exchange.error.status, exchange.error.message


# framing
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "counted": (COUNTED, b"hello"),
    "counted, nothing": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "chunked, nothing": (CHUNKED + b"0\r\n\r\n", b""),
    "chunked, two": (CHUNKED + b"5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n", b"hello, world!!!"),
    "chunk extensions": (CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
    "zeros": (CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", b"hello"),
    "CR LF inside": (CHUNKED + b"c\r\ndata: {}\r\n\r\n\r\n0\r\n\r\n", b"data: {}\r\n\r\n"),
    "header case": (OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "100 before": (b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED, b"hello"),
    "103 before": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + COUNTED, b"hello"),
    "identity": (OK + b"Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "error with body": (b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
}  # fmt: skip


@pytest.mark.parametrize(("response", "body"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("by_byte", [False, True])
async def test_framing(listener, response, body, by_byte):
    """A response ends with its last byte, not before, in one read or in one read a byte; the connection is kept."""
    stage = Stage(listener)
    peer = await stage.open()
    with peer:
        pieces = [response[i : i + 1] for i in range(len(response))] if by_byte else [response]
        exchange = await stage.answer(peer, *pieces)
        assert (exchange.error, body_of(exchange)) == (None, body)
        assert len(exchange.data) == len(response)
        assert stage.connection.is_open
        assert list(exchange.ends) == (list(range(1, len(response) + 1)) if by_byte else [len(response)])
        assert exchange.closed_ns == exchange.stamps[-1]
        assert len(exchange.stamps) == len(exchange.user_stamps) == len(exchange.body_ends)
    stage.connection.close()


@pytest.mark.parametrize("head", [OK + b"\r\n", b"HTTP/1.0 200 OK\r\n\r\n", OK + b"Connection: close\r\n\r\n"])
async def test_until_close(listener, head):
    """A response without length ends when the connection does, and that is no error."""
    stage = Stage(listener)
    peer = await stage.open()
    exchange = stage.ask()
    peer.recv(len(REQUEST), socket.MSG_WAITALL)
    peer.sendall(head + b"hel")
    await until(lambda: exchange.data.endswith(b"hel"))
    assert stage.ended == []
    peer.sendall(b"lo")
    peer.close()
    await until(lambda: stage.ended)
    assert (exchange.error, body_of(exchange), stage.connection.is_open) == (None, b"hello", False)
    assert exchange.closed_ns >= exchange.stamps[-1]


async def test_headers_stamp(listener):
    """headers_ns is the stamp of the read that brought the final headers' end, not an interim response's."""
    stage = Stage(listener)
    with await stage.open() as peer:
        pieces = [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 5", b"\r\n\r\n", b"hello"]
        exchange = await stage.answer(peer, *pieces)
        assert exchange.headers_ns == exchange.stamps[2]
    stage.connection.close()


async def test_stamps(listener):
    """Sent, then received by the kernel, then by us: stamps never run backwards."""
    stage = Stage(listener)
    with await stage.open() as peer:
        exchange = await stage.answer(peer, *(bytes([byte]) for byte in COUNTED))
    stamps, ours = list(exchange.stamps), list(exchange.user_stamps)
    assert all(kernel <= user for kernel, user in zip(stamps, ours, strict=True))
    assert stamps == sorted(stamps)
    assert ours == sorted(ours)
    assert exchange.sent_ns <= stamps[0]
    stage.connection.close()


async def test_without_kernel_stamps(listener):
    """Where the kernel does not stamp, ours stand in, and the exchange says so."""
    stage = Stage(listener, kernel_stamps=False)
    with await stage.open() as peer:
        exchange = await stage.answer(peer, COUNTED)
    assert (list(exchange.stamps), exchange.kernel_stamped) == (list(exchange.user_stamps), False)
    stage.connection.close()


# connections
async def test_keep_alive(listener):
    """One connection carries one exchange after the other, and says which were not its first."""
    stage = Stage(listener)
    with await stage.open() as peer:
        first = await stage.answer(peer, COUNTED)
        second = await stage.answer(peer, CHUNKED + b"0\r\n\r\n")
        assert (first.reused, second.reused, stage.connection.kept, stage.link.opened) == (False, True, True, 1)
        assert stage.connection.free_ns >= second.closed_ns
    stage.connection.close()


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b"connection: Close, x\r\n"])
async def test_connection_close_is_heeded(listener, head):
    """After `Connection: close` the connection is not used again, and nothing is learned from that."""
    stage = Stage(listener)
    with await stage.open() as peer:
        exchange = await stage.answer(peer, OK + head + b"Content-Length: 5\r\n\r\nhello")
        assert (exchange.error, stage.connection.is_open, stage.link.closes_after_response) == (None, False, False)


@pytest.mark.parametrize(("at_once_ns", "learned"), [(10**18, True), (-(10**18), False)])
async def test_a_server_that_closes_behind_its_response(listener, monkeypatch, at_once_ns, learned):
    """A server that closes right behind a response is learned; one that closes an idle connection later is not."""
    monkeypatch.setattr(wire, "_AT_ONCE_NS", at_once_ns)
    stage = Stage(listener)
    with await stage.open() as peer:
        await stage.answer(peer, COUNTED)
    await until(lambda: not stage.connection.is_open)
    assert stage.link.closes_after_response is learned
    with await stage.open() as peer:
        await stage.answer(peer, COUNTED)
        assert stage.connection.is_open is not learned
    stage.connection.close()


async def test_a_stale_connection_is_worth_another_try(listener):
    """A reused connection that ends before a byte is stale; a fresh one, or one within a response, is not."""
    stage = Stage(listener)
    with await stage.open() as peer:
        await stage.answer(peer, COUNTED)
        exchange = stage.ask()
    await until(lambda: len(stage.ended) == 2)
    assert (exchange.error.status, exchange.error.stale, exchange.reused) == ("stream_error", True, True)
    assert not stage.connection.is_open
    with await stage.open():
        exchange = stage.ask()
    await until(lambda: len(stage.ended) == 3)
    assert (exchange.error.status, exchange.error.stale) == ("stream_error", False)


async def test_reset_on_a_stale_connection(listener):
    """A reset before the first byte of a reused connection is stale too."""
    stage = Stage(listener)
    peer = await stage.open()
    await stage.answer(peer, COUNTED)
    exchange = stage.ask()
    reset(peer)
    await until(lambda: len(stage.ended) == 2)
    assert (exchange.error.status, exchange.error.stale) == ("stream_error", True)


async def test_bytes_out_of_turn_close_an_idle_connection(listener):
    """A server that speaks unasked cannot be trusted to answer the next request: the connection is dropped."""
    stage = Stage(listener)
    with await stage.open() as peer:
        await stage.answer(peer, COUNTED)
        peer.sendall(b"HTTP/1.1 408 Timeout\r\n\r\n")
        await until(lambda: not stage.connection.is_open)
        assert stage.link.closes_after_response is False


async def test_a_long_request(listener):
    """A request that no socket takes at once is sent in pieces, every byte of it."""
    stage = Stage(listener)
    with await stage.open() as peer:
        request = REQUEST + bytes(8_000_000)
        exchange = stage.ask(request)
        got = bytearray()
        peer.setblocking(False)

        def drained() -> bool:
            with contextlib.suppress(BlockingIOError):
                got.extend(peer.recv(1 << 20))
            return len(got) == len(request)

        await until(drained)
        assert got == request
        peer.sendall(COUNTED)
        await until(lambda: stage.ended)
        assert (exchange.error, stage.connection.is_open) == (None, True)
    stage.connection.close()


async def test_an_answer_before_the_request_is_out(listener):
    """A server that answers before it has the whole request is heard, but its connection is not used again."""
    stage = Stage(listener)
    with await stage.open() as peer:
        exchange = stage.ask(REQUEST + bytes(8_000_000))
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: stage.ended)
        assert (exchange.status, exchange.error, stage.connection.is_open) == (413, None, False)


MARK = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
IN_CHUNK = {
    "an end mark": (MARK, b"more\n\n"),
    "what looks like the last chunk": (MARK + b": \r\n0\r\n\r\n", b"data: [DONE]\n\n"),
    "a last chunk and trailers": (b"\r\n0\r\nA: b\r\n\r\n", b"more"),
    "a whole response": (b"\r\n0\r\n\r\n", COUNTED + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize(("first", "rest"), IN_CHUNK.values(), ids=IN_CHUNK)
@pytest.mark.parametrize("spelling", [b"%x\r\n", b"%x \r\n"])  # as the strict parser reads it, and as the loose one
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_what_stands_in_a_chunk_ends_nothing(listener, first, rest, spelling, interim):
    """The sizes of the chunks say where a response ends; what a chunk holds is body, and none of it is the next
    response. Its connection is good for the next request."""
    stage = Stage(listener)
    with await stage.open() as peer:
        exchange = stage.ask()
        peer.recv(len(REQUEST), socket.MSG_WAITALL)
        peer.sendall(interim + OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await until(lambda: exchange.status == 200)
        peer.sendall(spelling % (len(first) + len(rest)) + first)
        await until(lambda: exchange.data.endswith(first))
        assert not stage.ended
        assert stage.connection._lingering is None
        assert stage.connection.overdue(exchange.user_stamps[-1] + 6 * 10**9, 10**13, 10**13) is None
        assert not stage.ended
        peer.sendall(rest + b"\r\n0\r\n\r\n")
        await until(lambda: stage.ended)
        assert (exchange.error, body_of(exchange), stage.connection.is_open) == (None, first + rest, True)
        assert body_of(await stage.answer(peer, COUNTED)) == b"hello"
    stage.connection.close()


EARLY = "the server sent bytes before the request"
UNASKED = {
    "the next response": (COUNTED, 1),
    "garbage": (b"garbage", 1),
    "a line end too many": (b"\r\n", 0),
    "what a proxy says of an idle connection": (b"HTTP/1.1 408 Request Time-out\r\n\r\n", 0),
}


@pytest.mark.parametrize(("early", "counted"), UNASKED.values(), ids=UNASKED)
@pytest.mark.parametrize("reused", [True, False])
async def test_what_came_before_the_request(listener, early, counted, reused):
    """It is no answer: nothing is sent on that connection, which is closed. A reused one is worth another try."""
    stage = Stage(listener)
    with await stage.open() as peer:
        if reused:
            await stage.answer(peer, COUNTED)
        stage.link.loop.remove_reader(stage.connection._sock.fileno())  # the loop has had no turn to read it
        peer.sendall(early)
        exchange = stage.ask()
        assert stage.ended[-1:] == [exchange]
        assert (failure(exchange), exchange.error.stale) == (("stream_error", EARLY), reused)
        assert exchange.sent_ns == 0
        assert (stage.connection.is_open, stage.link.unasked, stage.link.held_bytes) == (False, counted, 0)
        assert peer.recv(65536) == b""


# failures
def reset(peer: socket.socket) -> None:
    """Close with RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


CUT = "the server closed the connection within its response"
BROKEN = {
    "closed before a byte": (b"", "stream_error", "the server closed the connection before a response"),
    "closed in the headers": (OK + b"Content-Le", "truncated", CUT),
    "closed in a counted body": (COUNTED[:-1], "truncated", CUT),
    "closed in a chunk": (CHUNKED + b"5\r\nhel", "truncated", CUT),
    "closed before the last chunk": (CHUNKED + b"5\r\nhello\r\n", "truncated", CUT),
    "closed in the last chunk": (CHUNKED + b"5\r\nhello\r\n0\r\n", "truncated", CUT),
    "garbage": (b"garbage in place of a status line\r\n\r\n", "stream_error", "not an HTTP/1.1 response: "),
    "another protocol": (b"SSH-2.0-OpenSSH_9\r\n", "stream_error", "not an HTTP/1.1 response: "),
    "endless headers": (OK + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(140)), "stream_error",
                        "response headers longer than 131072 bytes"),
    "brotli": (OK + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\n", "stream_error",
               "content-encoding 'br', though identity was requested"),
    "length of words": (OK + b"Content-Length: five\r\n\r\n", "stream_error", ""),
    "too long": (OK + b"Content-Length: 9000\r\n\r\n" + bytes(3000), "stream_error", "response longer than 2000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("response", "status", "message"), BROKEN.values(), ids=BROKEN)
async def test_broken_responses(listener, response, status, message):
    """A response that breaks off or is none ends its exchange with a word on why, and its connection."""
    limit_bytes = 2000 if message.startswith("response longer") else 1 << 20
    stage = Stage(listener, limits=ResponseLimits(limit_bytes))
    peer = await stage.open()
    exchange = stage.ask()
    peer.recv(len(REQUEST), socket.MSG_WAITALL)
    with contextlib.suppress(ConnectionError):
        peer.sendall(response)
    peer.close()
    await until(lambda: stage.ended)
    assert stage.ended == [exchange]
    assert exchange.error.status == status
    assert exchange.error.message.startswith(message)
    assert not stage.connection.is_open


@pytest.mark.parametrize("chunk", [b"-5\r\nhello\r\n", b"xyz\r\nhello\r\n", b"ffffffffffffffffff\r\n"])
async def test_chunk_sizes_that_are_none(listener, chunk):
    """A chunk size that is no number is an error of the stream, found at the latest when its end is looked for."""
    stage = Stage(listener)
    with await stage.open() as peer:
        exchange = stage.ask()
        peer.sendall(CHUNKED + chunk + b"X\r\n\r\n")
        await until(lambda: stage.ended)
        assert failure(exchange)[0] == "stream_error"
        assert failure(exchange)[1].startswith("not an HTTP/1.1 response: ")


async def test_reset_within_a_response(listener):
    """A reset within a response is an error of the stream, with the system's word for it."""
    stage = Stage(listener)
    peer = await stage.open()
    exchange = stage.ask()
    peer.recv(len(REQUEST), socket.MSG_WAITALL)
    peer.sendall(CHUNKED + b"5\r\nhello\r\n")
    await until(lambda: exchange.stamps)
    reset(peer)
    await until(lambda: stage.ended)
    assert failure(exchange) == ("stream_error", "ConnectionResetError: Connection reset by peer")


async def test_abort(listener):
    """An exchange that is given up ends once, as what it was given up for, and its connection is closed."""
    stage = Stage(listener)
    with await stage.open():
        exchange = stage.ask()
        stage.connection.abort("cancelled", "the run was stopped")
        stage.connection.abort("cancelled", "again")
        assert stage.ended == [exchange]
        assert failure(exchange) == ("cancelled", "the run was stopped")
        assert exchange.closed_ns > exchange.sent_ns
        assert not stage.connection.is_open


async def test_a_finished_stream_without_end(listener):
    """A stream that is silent behind its finish_reason has ended there; one whose choice goes on has not."""
    ended = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    goes_on = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'
    for body, over in ((goes_on, False), (goes_on + ended, True), (ended + goes_on, False)):
        stage = Stage(listener)
        with await stage.open() as peer:
            exchange = stage.ask()
            peer.sendall(OK + b"Content-Type: text/event-stream\r\n\r\n" + body)
            await until(lambda: exchange.data.endswith(body))  # noqa: B023
            at_ns = exchange.user_stamps[-1] + 5 * 10**9
            assert stage.connection.overdue(at_ns, 10**12, 10**12) is None
            assert not stage.ended
            assert stage.connection.overdue(at_ns + 1, 10**12, 10**12) is None
            assert stage.ended == [exchange] * over
            if over:
                assert (exchange.error, exchange.closed_ns, stage.link.lingering) == (None, at_ns + 1, 0)
                assert exchange.notes == {"silent_end"}
        stage.connection.close()


async def test_overdue(listener):
    """A request is overdue after so long without a byte, or so long in all, and not a nanosecond before."""
    stage = Stage(listener)
    with await stage.open() as peer:
        assert stage.connection.overdue(10**19, 0, 0) is None
        exchange = stage.ask()
        sent, overdue = exchange.sent_ns, stage.connection.overdue
        assert overdue(sent + 2 * 10**9, 2 * 10**9, 10**12) is None
        assert overdue(sent + 2 * 10**9 + 1, 2 * 10**9, 10**12) == "no byte for 2 s"
        assert overdue(sent + 3 * 10**9 + 1, 10**12, 3 * 10**9) == "not finished within 3 s"
        peer.sendall(CHUNKED)
        await until(lambda: exchange.stamps)
        assert overdue(exchange.user_stamps[-1] + 2 * 10**9, 2 * 10**9, 10**12) is None
        assert overdue(exchange.user_stamps[-1] + 2 * 10**9 + 1, 2 * 10**9, 10**12) == "no byte for 2 s"
    stage.connection.close()


@pytest.mark.parametrize("loop_tells", [True, False])
async def test_a_reset_together_with_data(listener, loop_tells):
    """Data and a reset that come in one are both seen, also by a loop that tells of the data only, as uvloop does."""
    stage = Stage(listener)
    peer = await stage.open()
    exchange = stage.ask()
    peer.recv(len(REQUEST), socket.MSG_WAITALL)
    if not loop_tells:
        stage.link.loop.remove_reader(stage.connection._sock.fileno())
    peer.sendall(CHUNKED + b"5\r\nhello\r\n")
    reset(peer)
    if not loop_tells:
        assert stage.connection.overdue(now_ns(), 10**18, 10**18) is None
    await until(lambda: stage.ended)
    assert failure(exchange) == ("stream_error", "ConnectionResetError: Connection reset by peer")
    assert body_of(exchange) == b"hello"


async def test_no_connection(listener):
    """A port where nobody listens is a connect_error."""
    stage = Stage(listener)
    listener.close()
    with pytest.raises(WireError) as failed:
        await stage.connection.open()
    assert failed.value.status == "connect_error"
    assert failed.value.message.startswith("ConnectionRefusedError: ")
    assert not stage.connection.is_open


# TLS
@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


async def secure(stage: Stage, certificate) -> ssl.SSLSocket:
    """Connect over TLS; the peer's end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    accepting = asyncio.create_task(asyncio.to_thread(lambda: context.wrap_socket(stage.accept(), server_side=True)))
    try:
        await stage.connection.open()
    finally:
        await asyncio.wait([accepting])
        accepting.exception()  # looked at, so that asyncio does not complain: the client's word is the one that counts
    return accepting.result()


def trusting(certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


async def test_tls(listener, certificate):
    """Over TLS a response is the same, and its reads are stamped as any others."""
    stage = Stage(listener, tls=trusting(certificate))
    with await secure(stage, certificate) as peer:
        for framing in (COUNTED, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"):
            exchange = stage.ask()
            assert peer.recv(65536) == REQUEST
            peer.sendall(framing)
            await until(lambda: exchange in stage.ended)  # noqa: B023
            assert (exchange.error, body_of(exchange)) == (None, b"hello")
            assert all(k <= u for k, u in zip(exchange.stamps, exchange.user_stamps, strict=True))
        assert (stage.link.opened, exchange.reused) == (1, True)
    stage.connection.close()


async def test_tls_session_tickets_close_nothing(listener, certificate):
    """What TLS itself sends on an idle connection, such as session tickets, is not the server out of turn."""
    stage = Stage(listener, tls=trusting(certificate))
    with await secure(stage, certificate) as peer:
        for _ in range(50):
            await asyncio.sleep(0)
        assert stage.connection.is_open
        exchange = await stage_answer(stage, peer)
        assert exchange.error is None
    stage.connection.close()


async def stage_answer(stage: Stage, peer: ssl.SSLSocket) -> Exchange:
    """One exchange over TLS."""
    exchange = stage.ask()
    peer.recv(65536)
    peer.sendall(COUNTED)
    await until(lambda: exchange in stage.ended)
    return exchange


TLS_ENDS = {
    "close_notify": (OK + b"\r\nhello", True, None),
    "close_notify, chunks": (CHUNKED + b"5\r\nhello\r\n", True, "truncated"),
    "close_notify within a chunk": (CHUNKED + b"9\r\nhello", True, "truncated"),
    "close_notify within a counted body": (COUNTED[:-1], True, "truncated"),
    "a close without it": (OK + b"\r\nhello", False, "truncated"),
    "a close without it behind a whole response": (COUNTED, False, None),
}


@pytest.mark.parametrize(("response", "notify", "status"), TLS_ENDS.values(), ids=TLS_ENDS)
async def test_how_tls_ends(listener, certificate, response, notify, status):
    """A close_notify is an end, whether or not the connection ends with it; an end without one may hide a cut."""
    stage = Stage(listener, tls=trusting(certificate))
    with await secure(stage, certificate) as peer:
        exchange = stage.ask()
        peer.recv(65536)
        peer.sendall(response)
        if notify:
            await until(lambda: exchange.data)
            with contextlib.suppress(ssl.SSLError, OSError):
                peer.setblocking(False)
                peer.unwrap()
        else:
            socket.socket(fileno=peer.detach()).close()
        await until(lambda: stage.ended)
        assert (exchange.error and exchange.error.status) == status
        await until(lambda: not stage.connection.is_open)


async def test_tls_that_breaks(listener, certificate):
    """Bytes that are no TLS record end the exchange at once."""
    stage = Stage(listener, tls=trusting(certificate))
    with await secure(stage, certificate) as peer:
        exchange = stage.ask()
        peer.recv(65536)
        with socket.socket(fileno=peer.fileno()) as raw:
            raw.sendall(b"this is no TLS record at all")
            raw.detach()
        await until(lambda: stage.ended)
        assert failure(exchange)[0] == "stream_error"
        assert failure(exchange)[1].startswith("SSLError: ")


async def test_an_untrusted_certificate_is_refused(listener, certificate):
    """A certificate that nobody vouches for is a connect_error that says so."""
    stage = Stage(listener, tls=ssl.create_default_context())
    with pytest.raises(WireError) as failed:
        await secure(stage, certificate)
    assert (failed.value.status, failed.value.message) == (
        "connect_error",
        "TLS certificate not trusted: self-signed certificate",
    )


async def test_tls_against_plain_http(listener):
    """A server that answers a TLS handshake in plain text is a connect_error, not a crash."""
    stage = Stage(listener, tls=ssl.create_default_context())
    opening = asyncio.create_task(stage.connection.open())
    with await asyncio.to_thread(stage.accept) as peer:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(WireError) as failed:
            await opening
    assert failed.value.status == "connect_error"
    assert failed.value.message.startswith("SSLError: ")


async def test_a_handshake_that_is_cut(listener):
    """A server that hangs up in the handshake is a connect_error."""
    stage = Stage(listener, tls=ssl.create_default_context())
    opening = asyncio.create_task(stage.connection.open())
    (await asyncio.to_thread(stage.accept)).close()
    with pytest.raises(WireError) as failed:
        await opening
    assert failed.value.status == "connect_error"


async def test_a_handshake_that_is_not_answered(listener):
    """A handshake that nobody answers is a timeout."""
    stage = Stage(listener, tls=ssl.create_default_context())
    stage.link.connect_timeout_s = 0.05
    with pytest.raises(WireError) as failed:
        await stage.connection.open()
    assert (failed.value.status, failed.value.message) == ("timeout", "no connection within 0.05 s")
