"""The measuring client's sockets: one kept-alive HTTP/1.1 connection per virtual user, stamped by the kernel.

Every read is stamped twice, by the kernel (when the bytes came in) and by us (when we got to them), before anything
looks at the bytes. While a response runs, only its end is looked for; the parsing is `request.py`'s, after the end.
A busy event loop therefore delays our own stamp, never the kernel's: their difference is this client's lag.

This module is the only one that reads the clock for a request. It knows HTTP/1.1 framing and TLS records; it does not
know SSE, JSON, prompts or results.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import socket
import ssl
import termios
from array import array

from benchsuite.client.http import COMPLETE, HELD_BYTES_PER_READ, Endpoint, Exchange, WireError
from benchsuite.clock import (
    ANCILLARY_BYTES,
    NS_PER_S,
    StampClock,
    kernel_timestamp_ns,
    now_ns,
    request_kernel_timestamps,
)
from benchsuite.limits import most
from benchsuite.records import Status

_READ_BYTES = 65536
_SEND_BYTES = 65536  # at a time: a megabyte in one call would keep the other streams waiting

_AT_ONCE_NS = 100_000_000
_LINGER_S = 0.1  # how long the end of a response is waited for behind the end mark of its stream
# without a byte behind a finish_reason: the stream is complete without its end mark
_QUIET_NS = most("silent_end_s") * NS_PER_S
SEEN_TO_LINGER = 3  # responses in a row that did not end within that: from then on no other is waited for
_IDLE_TOO_LONG = re.compile(rb"\s*HTTP/1\.\d 408 ")  # what some proxies say when they close an idle connection
_NO_BYTES = bytes(4)  # an int of none
_NO_ANCILLARY: list[tuple[int, int, bytes]] = []


class Link:
    """What all connections of this process to one endpoint share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, connect_timeout_s: float) -> None:
        self.loop, self.endpoint, self.connect_timeout_s = loop, endpoint, connect_timeout_s
        self.tls: ssl.SSLContext | None = None
        if endpoint.tls:
            self.tls = ssl.create_default_context()
            if endpoint.insecure:
                self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.clock = StampClock()
        self.opened = 0
        self.unasked = 0  # connections on which the server spoke before it was asked
        self.held_bytes = 0
        self.closes_after_response = False  # seen to close kept-alive connections: each request gets a fresh one
        self.lingering = 0  # responses in a row that stayed open behind their stream's end mark
        self._turn_ns = 0

    def turn_ns(self) -> int:
        """When the loop's present turn began to read: the stamp of every read of the turn, where the kernel gives none.

        What is read in a turn was there when it began; the later reads of a long turn need not wait for the earlier.
        """
        if not self._turn_ns:
            self._turn_ns = now_ns()
            self.loop.call_soon(self._end_turn)
        return self._turn_ns

    def _end_turn(self) -> None:
        self._turn_ns = 0


class Connection:
    """One virtual user's connection: at most one exchange at a time, kept alive between them.

    A server may close a kept-alive connection at any time, also in the moment in which we send. A request that fails
    so on a *reused* connection before the first byte of its response is sent once more on a fresh one
    (`Exchange.retries` counts it); so is one before which the server spoke unasked. A server that is seen to close
    after its responses, whatever its headers promise, gets a fresh connection for every request from then on, so that
    such retries do not recur.
    """

    __slots__ = (
        "_clock", "_closed_by_tls", "_exchange", "_incoming", "_lingering", "_link", "_loop", "_outgoing", "_sock",
        "_ssl", "_stamping", "_unsent", "free_ns", "kept",
    )  # fmt: skip

    def __init__(self, link: Link) -> None:
        self._link, self._loop, self._clock = link, link.loop, link.clock
        self._sock: socket.socket | None = None
        self._ssl: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._exchange: Exchange | None = None
        self._unsent: memoryview | None = None
        self._stamping = False
        self._closed_by_tls = False  # by a close_notify, which the end of the connection may never follow
        self._lingering: asyncio.TimerHandle | None = None
        self.free_ns = 0  # when its last exchange ended; 0: none yet
        self.kept = False  # the present connection was there before the exchange: the server may have closed it since

    @property
    def is_open(self) -> bool:
        """True while there is a connection that may be reused."""
        return self._sock is not None

    async def open(self) -> None:
        """Connect (and shake hands). Raises WireError(connect_error or timeout)."""
        self.close()
        endpoint, tls = self._link.endpoint, self._link.tls
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stamping = endpoint.kernel_stamps and self._clock.usable and request_kernel_timestamps(sock)
            async with asyncio.timeout(self._link.connect_timeout_s):
                await self._loop.sock_connect(sock, endpoint.address)
                if tls is not None:
                    await self._handshake(sock, tls)
        except BaseException as error:
            sock.close()
            self._ssl = self._incoming = self._outgoing = None
            self.free_ns = now_ns()
            if isinstance(error, TimeoutError):
                raise WireError("timeout", f"no connection within {self._link.connect_timeout_s:g} s") from None
            if isinstance(error, OSError):
                raise WireError("connect_error", _describe(error)) from None
            raise
        self._sock = sock
        self.kept = False
        self._link.opened += 1
        self._loop.add_reader(sock.fileno(), self._readable)

    async def _handshake(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing, self._closed_by_tls = ssl.MemoryBIO(), ssl.MemoryBIO(), False
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._link.endpoint.host)
        while True:
            try:
                self._ssl.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            if self._outgoing.pending:
                await self._loop.sock_sendall(sock, self._outgoing.read())
            if done:
                return
            received = await self._loop.sock_recv(sock, _READ_BYTES)
            if not received:
                raise ConnectionResetError("the server closed the connection during the TLS handshake")
            self._incoming.write(received)

    def close(self) -> None:
        """Close the connection, if there is one; an exchange in flight is not ended."""
        sock, self._sock = self._sock, None
        self._ssl = self._incoming = self._outgoing = None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            if self._unsent is not None:
                self._loop.remove_writer(sock.fileno())
                self._unsent = None
            sock.close()

    # sending
    def send(self, request: bytes, exchange: Exchange) -> None:
        """Hand `request` to the socket now, stamped just before. Needs an open, idle connection."""
        assert self._sock is not None
        exchange.reused = self.kept
        exchange.limits = limits = self._link.endpoint.limits
        exchange.due_bytes = min(exchange.due_bytes, limits.response_bytes)
        self._exchange = exchange
        if self._ended_or_unasked():
            return
        if self._ssl is not None:
            assert self._outgoing is not None
            self._ssl.write(request)
            request = self._outgoing.read()
        exchange.sent_ns = exchange.last_ns = now_ns()
        try:
            n = self._sock.send(request if len(request) <= _SEND_BYTES else request[:_SEND_BYTES])
        except BlockingIOError:
            n = 0
        except OSError as error:
            self._fail(error)
            return
        if n < len(request):
            self._unsent = memoryview(request)[n:]
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def _ended_or_unasked(self) -> bool:
        """True if this connection is no good for the exchange, which then has ended: what lies in its socket before a
        request was sent is no answer to it, nor would what follows be."""
        assert self._sock is not None
        if fcntl.ioctl(self._sock, termios.FIONREAD, _NO_BYTES) == _NO_BYTES:
            return False
        try:
            received = self._sock.recv(_READ_BYTES)
            if self._ssl is not None:
                received = self._decrypt(received)
                if not received and not self._closed_by_tls:  # session tickets, key updates
                    return False
        except OSError as error:
            self._fail(error)
            return True
        self._ended_by_server(now_ns(), received)
        return True

    def _writable(self) -> None:
        assert self._sock is not None
        assert self._unsent is not None
        try:
            n = self._sock.send(self._unsent[:_SEND_BYTES])
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        self._unsent = self._unsent[n:]
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._sock.fileno())

    # receiving: the hot path
    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            if self._stamping:
                received, ancillary, _, _ = sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            else:
                received, ancillary = sock.recv(_READ_BYTES), _NO_ANCILLARY
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        user_ns = now_ns()
        exchange = self._exchange
        if received and exchange is None and self._ssl is not None:
            # TLS itself speaks on idle connections: session tickets, key updates
            try:
                received = self._decrypt(received)
                if not received and not self._closed_by_tls:
                    return
            except ssl.SSLError:
                pass
        if not received or exchange is None:
            self._ended_by_server(user_ns, received)
            return
        if ancillary:
            stamp_ns = kernel_timestamp_ns(ancillary) - self._clock.offset_ns
            if not exchange.last_ns <= stamp_ns <= user_ns:  # no time at which these bytes can have come
                exchange.notes.add("kernel_stamps_refused")
                stamp_ns = user_ns
            exchange.last_ns = stamp_ns
        else:
            exchange.kernel_stamped = False
            stamp_ns = user_ns = self._link.turn_ns()
        if self._ssl is not None:
            try:
                received = self._decrypt(received)
            except ssl.SSLError as error:
                self._fail(error)
                return
            if self._closed_by_tls:  # heard after the data that came with it
                self._loop.call_soon(self._heard_tls_close, sock)
            if not received:
                return
        exchange.stamps.append(stamp_ns)
        exchange.user_stamps.append(user_ns)
        data = exchange.data
        data += received
        exchange.ends.append(len(data))
        self._link.held_bytes += len(received) + HELD_BYTES_PER_READ
        try:
            complete = exchange.find_end()
            if len(data) > exchange.due_bytes:
                exchange.grown()
            if self._link.held_bytes > (limit := exchange.limits.held_bytes):
                raise WireError("stream_error", f"responses in flight longer than {limit} bytes together")
        except WireError as error:
            self._finish(exchange, error)
            return
        if complete:
            if complete == COMPLETE:
                self._finish(exchange, None)
            elif self._link.lingering >= SEEN_TO_LINGER:
                self._end_at_mark(exchange, "body_lingers")
            elif self._lingering is None:  # the stream is complete: its response has a moment to be so too
                self._lingering = self._loop.call_later(_LINGER_S, self._end_at_mark, exchange, "body_lingers")

    def _heard_tls_close(self, sock: socket.socket) -> None:
        if self._sock is sock:
            self._ended_by_server(now_ns(), b"")

    def _end_at_mark(self, exchange: Exchange, note: str) -> None:
        """Go on without the end of a response whose stream is complete, and without its connection."""
        exchange.notes.add(note)
        exchange.keep_alive, exchange.closed_ns = False, exchange.closed_ns or exchange.marked_ns
        self._link.lingering += note == "body_lingers"
        self._finish(exchange, None)

    def _decrypt(self, received: bytes) -> bytes:
        assert self._ssl is not None
        assert self._incoming is not None
        self._incoming.write(received)
        plain = []
        with contextlib.suppress(ssl.SSLWantReadError):
            try:
                while piece := self._ssl.read(_READ_BYTES):
                    plain.append(piece)
                self._closed_by_tls = True
            except ssl.SSLZeroReturnError:
                self._closed_by_tls = True
        return b"".join(plain)

    def _ended_by_server(self, user_ns: int, unasked: bytes) -> None:
        """The server closed, or spoke out of turn: what it said before it was asked."""
        exchange = self._exchange
        if unasked.strip() and not _IDLE_TOO_LONG.match(unasked):
            self._link.unasked += 1
        if exchange is None:
            if not unasked:
                self._learn_if_closed_at_once(user_ns)
            self.close()
        elif unasked:
            exchange.stamps, exchange.user_stamps, exchange.ends = (array("q", [n]) for n in (user_ns, user_ns, 0))
            self._link.held_bytes += exchange.held_bytes
            words = "the server sent bytes before the request"
            self._finish(exchange, WireError("stream_error", words, stale=self.kept))
        elif exchange.by_close and self._ssl is not None and not self._closed_by_tls:
            self._finish(exchange, WireError("truncated", "the connection ended without TLS's close_notify"))
        elif exchange.by_close:
            exchange.closed_ns = user_ns
            self._finish(exchange, None)
        else:
            when = "within its" if exchange.stamps else "before a"
            self._broken_off("truncated", f"the server closed the connection {when} response")

    def _fail(self, error: OSError) -> None:
        self._broken_off("stream_error", _describe(error))

    def _broken_off(self, status: Status, message: str) -> None:
        exchange = self._exchange
        if exchange is None:
            self.close()
        elif exchange.marked_ns:
            self._end_at_mark(exchange, "last_chunk_missing")
        elif exchange.stamps:
            self._finish(exchange, WireError(status, message))
        else:
            self._learn_if_closed_at_once(exchange.sent_ns or now_ns())
            self._finish(exchange, WireError("stream_error", message, stale=self.kept))

    def _learn_if_closed_at_once(self, at_ns: int) -> None:
        # A server that closes idle connections after some seconds keeps its word; one that closes right behind a
        # response will do so after every response.
        if self.kept and at_ns - self.free_ns < _AT_ONCE_NS:
            self._link.closes_after_response = True

    def _finish(self, exchange: Exchange, error: WireError | None) -> None:
        self._exchange = None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if error is None and "body_lingers" not in exchange.notes:
            self._link.lingering = 0
        self._link.held_bytes -= exchange.held_bytes
        self.kept = True
        self.free_ns = now_ns()
        exchange.error = error
        if not exchange.closed_ns:
            exchange.closed_ns = exchange.stamps[-1] if error is None else self.free_ns
        unsent = self._unsent is not None  # answered before it had all: the rest would run into the next request
        done_with = not exchange.keep_alive or exchange.by_close or self._link.closes_after_response
        if error is not None or unsent or done_with:
            self.close()
        if exchange.on_done is not None:
            exchange.on_done(exchange)

    def abort(self, status: Status, message: str) -> None:
        """End the exchange in flight, if any, as `status`; the connection is closed."""
        exchange = self._exchange
        if exchange is None:
            self.close()
        elif exchange.marked_ns:
            self._end_at_mark(exchange, "body_lingers")
        else:
            exchange.closed_ns = now_ns()
            self._finish(exchange, WireError(status, message))

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None:
        """Why the exchange in flight should be given up, or None. Limits in ns: without any byte, in all.

        Reads first what the loop did not report: uvloop forgets a socket whose reset came together with data.
        """
        exchange, seen = self._exchange, -1
        while exchange is not None and self._exchange is exchange and len(exchange.stamps) > seen:
            seen = len(exchange.stamps)
            self._readable()
        exchange = self._exchange
        if exchange is None:
            return None
        quiet_ns = at_ns - exchange.user_stamps[-1] if exchange.user_stamps else 0
        if quiet_ns > min(_QUIET_NS, idle_ns) and exchange.has_finished() and exchange.between_chunks():
            exchange.closed_ns = at_ns  # its user has waited for the server until now
            self._end_at_mark(exchange, "silent_end")
            return None
        return exchange.overdue(at_ns, idle_ns, whole_ns)


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {error.strerror or error}"
