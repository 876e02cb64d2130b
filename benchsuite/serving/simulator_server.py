"""The simulator's loop: one thread, raw sockets, a heap of deadlines, one send() per write.

It sleeps in select() until `spin_us` before the next deadline and polls the clock from there. Nothing is formatted on
the way: a write is a bytearray whose stamp hole is overwritten just before its send().
"""

from __future__ import annotations

import gc
import heapq
import select
import selectors
import socket
import struct
from typing import IO

from benchsuite.client import connection
from benchsuite.clock import NS_PER_S, now_ns, realtime_offset_ns
from benchsuite.serving.simulator_config import SimulatorConfig
from benchsuite.serving.simulator_events import STAMP_HOLE, response_id
from benchsuite.serving.simulator_http import HttpError, HttpRequest, error_response, take_request
from benchsuite.serving.simulator_law import first_due_ns
from benchsuite.serving.simulator_metrics import Sent
from benchsuite.serving.simulator_routes import State, answer, decide
from benchsuite.serving.simulator_stream import Connection, Stream
from benchsuite.serving.simulator_wire import plan, refused

_POLL_EVERY_NS = 300_000  # sockets are looked at this often even when deadlines never pause
_BURST = 16  # writes of one stream before the others have their turn
_STAMP_BYTES = len(STAMP_HOLE)


class Server:
    """A simulator on a listening socket (None: refuse everybody). `run` returns when a leash is readable, or ends."""

    def __init__(
        self, config: SimulatorConfig, sock: socket.socket | None, leashes: tuple[IO[bytes] | socket.socket, ...] = ()
    ) -> None:
        self.config = config
        self.state = State(config)
        self.streams = self.state.streams
        self.engine = self.state.engine
        self.stopped = False
        self._heap: list[tuple[int, int, Stream]] = []
        self._order = 0
        self._offset_ns, self._offset_at_ns = realtime_offset_ns(), now_ns()
        self._listener = sock
        self._selector = selectors.DefaultSelector()
        for source in (sock, *leashes):
            if source is not None:
                self._selector.register(source, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Serve until stopped."""
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection would pause every stream; finished streams leave no cycles behind
        try:
            self._loop()
        finally:
            gc.enable()
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, Connection):
                    key.data.sock.close()
            self._selector.close()

    def _loop(self) -> None:
        heap, spin_ns, polled_ns = self._heap, round(self.config.spin_us * 1000), 0
        while not self.stopped:
            now = now_ns()
            due = self._next_due()
            if due is None or due - now > spin_ns:
                timeout_s = 1.0 if due is None else min(1.0, (due - now - spin_ns) / NS_PER_S)
                # select() on the selector's own descriptor sleeps to the microsecond; epoll alone would round to ms.
                select.select([self._selector], [], [], timeout_s)
                self._poll()
                polled_ns = now_ns()
                continue
            if now - polled_ns > _POLL_EVERY_NS:
                self._poll()
                polled_ns = now = now_ns()
            self._step_engine(now)
            while heap and heap[0][0] <= now:
                stream = heapq.heappop(heap)[2]
                stream.queued = False
                self._pump(stream)

    def _next_due(self) -> int | None:
        due = self._heap[0][0] if self._heap else None
        step = self.engine.next_ns if self.engine is not None else None
        return due if step is None else step if due is None else min(due, step)

    def _step_engine(self, now: int) -> None:
        if self.engine is None:
            return
        for at_ns, key in self.engine.advance(now):
            stream = self.streams.get(key)
            if stream is not None:
                stream.credit, stream.credit_ns = stream.credit + 1, at_ns
                self._pump(stream)
        self.state.count_admissions()

    def _poll(self) -> None:
        for key, events in self._selector.select(0):
            if key.data is None:
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self.stopped = True
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(key.data)
            if events & selectors.EVENT_READ:
                self._read(key.data)

    def _arrival_ns(self, ancillary: list[tuple[int, int, bytes]], read_ns: int) -> int:
        """When the request's last bytes came in: by the kernel's stamp, so that our own reading late is no error."""
        if not ancillary or self.engine is not None:  # the engine's steps count from when it could know of the request
            return read_ns
        if read_ns - self._offset_at_ns > NS_PER_S:
            self._offset_ns, self._offset_at_ns = realtime_offset_ns(5), read_ns
        return min(read_ns, connection.realtime_ns(ancillary) - self._offset_ns)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.ask(sock)
            self.state.counters.connections += 1
            self._selector.register(sock, selectors.EVENT_READ, Connection(sock))

    def _read(self, conn: Connection) -> None:
        if conn.sock.fileno() < 0:
            return
        read_ns = now_ns()
        ancillary: list[tuple[int, int, bytes]] = []
        try:
            data, ancillary, _, _ = conn.sock.recvmsg(1 << 18, connection.ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            conn.inbox += data
            self._serve(conn, self._arrival_ns(ancillary, read_ns))
        else:
            self._close(conn)

    def _serve(self, conn: Connection, received_ns: int) -> None:
        while conn.inbox and conn.stream is None and not conn.closing and conn.sock.fileno() >= 0:
            try:
                request = take_request(conn.inbox)
                if request is None:
                    return
                if request.method == "POST" and request.path in ("/v1/chat/completions", "/v1/completions"):
                    self._complete(conn, request, received_ns)
                else:
                    self._say(conn, answer(request, self.state))
            except HttpError as error:
                if error.status in (411, 413, 431) or error.message.startswith("not an HTTP"):
                    conn.closing = True  # what follows in the inbox cannot be told apart
                self._say(conn, error_response(error.status, error.reason, error.message, error.param))

    def _complete(self, conn: Connection, request: HttpRequest, received_ns: int) -> None:
        state = self.state
        sequence, reply, options = decide(request, state)
        instead = refused(reply)
        if instead is not None:
            conn.closing = instead[9:10].isalpha() or not instead or not reply.shape.keep_alive
            state.counters.finished["error"] += 1
            self._say(conn, instead)
            return
        sent = Sent(response_id(sequence, received_ns), received_ns, reply.input_tokens)
        ttft_s = options.ttft_s + self.config.law.later_s(sequence)
        first_ns = first_due_ns(received_ns, ttft_s, options.itl_s, options.sync)
        stream = Stream(conn, plan(reply), sent, sequence, None if self.engine else first_ns, options)
        conn.stream = self.streams[sequence] = stream
        state.counters.responses.append(sent)
        if self.engine is None:
            state.counters.admit(sent, received_ns)
        else:
            self._step_engine(received_ns)  # steps that ended before the request came must not see it
            arguments = (reply.input_tokens, reply.output_tokens, stream.plan.steps, reply.cached_tokens)
            self.engine.arrive(sequence, received_ns, *arguments)
            state.count_admissions()
        self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send what is due of a stream, and put it back on the heap for the rest."""
        if stream.queued or stream.blocked:
            return
        due: int | None = 0
        for _ in range(_BURST):
            due = stream.due_ns()
            if due is None:
                return
            if due > now_ns():
                break
            if not self._send(stream, due):
                return
        stream.queued = True
        self._order += 1
        heapq.heappush(self._heap, (due or 0, self._order, stream))

    def _send(self, stream: Stream, due: int) -> bool:
        """One send(). False when the stream is over, gone or blocked."""
        conn = stream.conn
        if stream.conn.stream is not stream:
            return False
        data: bytes | bytearray = stream.rest or stream.data
        stamp_ns = now_ns()
        if not stream.rest and stream.stamp_at:
            stamp = b"%019d" % stamp_ns
            for at in stream.stamp_at:
                data[at : at + _STAMP_BYTES] = stamp  # type: ignore[index]
        first_piece, size = not stream.rest, stream.shape.split_bytes
        if size is not None and stream.tokens:
            stream.rest, stream.rest_ns = bytes(data[size:]), stamp_ns + round(stream.shape.split_gap_s * NS_PER_S)
            data = data[:size]
        try:
            taken = conn.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._close(conn)
            return False
        if taken < len(data):
            conn.outbox += data[taken:]
            stream.blocked = True
            self._selector.modify(conn.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, conn)
        if first_piece and stream.tokens:
            self.state.count_write(stream.sent, stamp_ns, due, stream.tokens)
        if stream.rest:
            return not stream.blocked
        stream.steps_done += stream.steps
        stream.credit -= stream.steps
        stream.left -= 1
        if stream.left == 0 and not stream.load(stream.index + 1, stamp_ns):
            self._finish(stream)
            return False
        return not stream.blocked

    def _finish(self, stream: Stream) -> None:
        conn = stream.conn
        self._forget(stream, stream.plan.finished)
        if stream.plan.end == "reset":
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.outbox.clear()
        if stream.plan.end != "keep":
            conn.closing = True
            if not conn.outbox:
                self._close(conn)
        elif conn.inbox:
            self._serve(conn, now_ns())

    def _forget(self, stream: Stream, reason: str) -> None:
        now = now_ns()
        stream.conn.stream = None
        del self.streams[stream.key]
        self.state.counters.finish(stream.sent, reason, now)
        if self.engine is not None and stream.steps_done < stream.plan.steps:
            self._step_engine(now)
            self.engine.cancel(stream.key, now)
            self.state.count_admissions()

    def _say(self, conn: Connection, data: bytes) -> None:
        conn.outbox += data
        self._flush(conn)

    def _flush(self, conn: Connection) -> None:
        if conn.sock.fileno() < 0:
            return
        try:
            while conn.outbox:
                del conn.outbox[: conn.sock.send(conn.outbox)]
        except BlockingIOError:
            self._selector.modify(conn.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, conn)
            return
        except OSError:
            self._close(conn)
            return
        self._selector.modify(conn.sock, selectors.EVENT_READ, conn)
        if conn.stream is not None and conn.stream.blocked:
            conn.stream.blocked = False
            self._pump(conn.stream)
        elif conn.closing:
            self._close(conn)

    def _close(self, conn: Connection) -> None:
        if conn.sock.fileno() >= 0:
            self._selector.unregister(conn.sock)
            conn.sock.close()
        if conn.stream is not None:
            self._forget(conn.stream, "abort")
