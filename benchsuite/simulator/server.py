"""An OpenAI-compatible server whose latencies are known on paper; every chunk carries its true send time.

It runs in a process of its own, so that its pacing and the client's do not share an interpreter. Every chunk carries
the server's CLOCK_MONOTONIC ns just before its send() in `system_fingerprint`; the response id is
`sim-<sequence>-<ns when the request was read>`. /stats gives the same for all responses.

One thread, raw sockets, a heap of deadlines, one send() per write. It sleeps in select() until `spin_us` before the
next deadline and polls the clock from there. Nothing is formatted on the way: a write is a bytearray whose time hole is
overwritten just before its send().
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import random
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import IO, TYPE_CHECKING, Any

from benchsuite.clock import (
    ANCILLARY_BYTES,
    NS_PER_S,
    StampClock,
    kernel_timestamp_ns,
    now_ns,
    request_kernel_timestamps,
)
from benchsuite.errors import EngineError, os_error_as
from benchsuite.serving.process import prctl
from benchsuite.simulator import responses
from benchsuite.simulator.config import Fault, ResponseShape, SimulatorConfig
from benchsuite.simulator.engine import BatchEngine, PrefixCache
from benchsuite.simulator.responses import TIME_HOLE, HttpError, HttpRequest, ResponsePlan, ScheduledWrite

if TYPE_CHECKING:
    from benchsuite.simulator.answers import Answers

_POLL_EVERY_NS = 300_000  # sockets are looked at this often even when deadlines never pause
_BURST = 16  # writes of one stream before the others have their turn
_TIME_BYTES = len(TIME_HOLE)
_PR_SET_TIMERSLACK = 29
_COMPLETIONS = ("/v1/chat/completions", "/v1/completions")

_KEPT_RESPONSES = 50_000
_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 240.0)
_HISTOGRAMS = (
    "time_to_first_token", "inter_token_latency", "request_queue_time", "request_prefill_time", "request_decode_time",
    "e2e_request_latency",
)  # fmt: skip


_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that answers. base_url has no /v1."""

    base_url: str
    pid: int
    host: str
    port: int


@contextlib.contextmanager
def simulator(config: SimulatorConfig | None = None) -> Iterator[RunningSimulator]:
    """A simulator in a process of its own, as long as the block lasts or this process lives, whichever ends first.

    Raises EngineError when it does not start.
    """
    config = config or SimulatorConfig()
    command = [sys.executable, "-m", "benchsuite.simulator.server", config.model_dump_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise EngineError("the simulator did not start", given=command[-1], hint="its message is on stderr")
            address = json.loads(line)
            yield RunningSimulator(address["base_url"], process.pid, config.host, address["port"])
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()


def serve(config: SimulatorConfig, parent: IO[bytes] | None = None) -> None:
    """Listen, print {"port": ..., "base_url": ...} as one line of JSON, and serve until SIGTERM or SIGINT.

    parent: a pipe whose end ends the simulator too. Raises EngineError when the port is taken or `parent` is no pipe.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with os_error_as(EngineError, "the simulator cannot bind its port", f"{config.host}:{config.port}"):
        sock.bind((config.host, config.port))
    if not config.refuse:
        sock.listen(4096)
    sock.setblocking(False)
    port = sock.getsockname()[1]
    server = Server(config, None if config.refuse else sock, parent)
    print(json.dumps({"port": port, "base_url": f"http://{config.host}:{port}"}), flush=True)
    prctl(_PR_SET_TIMERSLACK, 1)  # wake-ups of this thread to the microsecond instead of up to 50 us late
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt
    with sock, contextlib.suppress(KeyboardInterrupt):
        server.run()


def drawn_fault(config: SimulatorConfig, sequence: int) -> Fault | None:
    """The fault of the n-th request: the first rule whose own draw falls below its probability."""
    if not config.faults:
        return None
    draw = random.Random(config.seed * 1_000_003 + sequence)
    return next((fault for fault in config.faults if draw.random() < fault.probability), None)


class _Histogram:
    def __init__(self) -> None:
        self.counts, self.sum_s = [0] * (len(_BOUNDS_S) + 1), 0.0

    def observe_ns(self, value_ns: int) -> None:
        value_s = value_ns / NS_PER_S
        self.counts[bisect_left(_BOUNDS_S, value_s)] += 1
        self.sum_s += value_s


@dataclass(slots=True)
class SendTimes:
    """The truth about one response, CLOCK_MONOTONIC ns."""

    response_id: str
    received_ns: int  # when its request was read
    input_tokens: int
    admitted_ns: int | None = None  # when it was given a slot, None while it waits
    sent_ns: array[int] = field(default_factory=lambda: array("q"))  # when each token-bearing write was sent
    due_ns: array[int] = field(default_factory=lambda: array("q"))  # when each was due
    output_tokens: int = 0
    finished: str | None = None  # None while it runs, else length, stop, error or abort

    def row(self) -> dict[str, Any]:
        """As JSON; ttft_ns is None before the first token."""
        row = {name: getattr(self, name) for name in ("received_ns", "input_tokens", "output_tokens", "finished")}
        ttft_ns = self.sent_ns[0] - self.received_ns if self.sent_ns else None
        return {"id": self.response_id, "ttft_ns": ttft_ns} | row | {
            "sent_ns": self.sent_ns.tolist(), "due_ns": self.due_ns.tolist(),
        }  # fmt: skip


class SimulatorMetrics:
    """Everything counted since the start or the last reset, as vLLM's metrics.

    Counted in plain numbers and written out by hand: prometheus_client's counters and histograms take 3 times as long a
    count, and its page 30 times as long, while no stream is served.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.responses: deque[SendTimes] = deque(maxlen=_KEPT_RESPONSES)
        self.reset()

    def reset(self) -> None:
        """All counts to 0. Responses in flight go on being counted from here."""
        self.responses.clear()
        self.prompt_tokens = self.generation_tokens = self.requests = self.connections = 0
        self.cache_queries_tokens = self.cache_hits_tokens = 0
        self.finished = dict.fromkeys(("stop", "length", "abort", "error"), 0)
        self._histograms = {name: _Histogram() for name in _HISTOGRAMS}

    def admit(self, times: SendTimes, at_ns: int) -> None:
        times.admitted_ns = at_ns
        self._histograms["request_queue_time"].observe_ns(at_ns - times.received_ns)

    def write(self, times: SendTimes, sent_ns: int, due_ns: int, tokens: int) -> None:
        if not times.sent_ns:
            self.prompt_tokens += times.input_tokens
            self._histograms["time_to_first_token"].observe_ns(sent_ns - times.received_ns)
            if times.admitted_ns is not None:
                self._histograms["request_prefill_time"].observe_ns(sent_ns - times.admitted_ns)
        times.sent_ns.append(sent_ns)
        times.due_ns.append(due_ns)
        times.output_tokens += tokens
        self.generation_tokens += tokens

    def finish(self, times: SendTimes, reason: str, now_ns: int) -> None:
        """A response ended; its gaps are counted now."""
        times.finished = reason
        self.finished[reason] += 1
        self._histograms["e2e_request_latency"].observe_ns(now_ns - times.received_ns)
        if times.sent_ns:
            self._histograms["request_decode_time"].observe_ns(times.sent_ns[-1] - times.sent_ns[0])
        observe_ns = self._histograms["inter_token_latency"].observe_ns
        for before_ns, at_ns in pairwise(times.sent_ns):
            observe_ns(at_ns - before_ns)

    def exposition(self, running: int, waiting: int, kv_usage_ratio: float) -> bytes:
        """The text of /metrics, under vLLM's names."""
        labels = f'engine="0",model_name={json.dumps(self.model, ensure_ascii=False)}'
        lines = []
        for kind, name, value in (
            ("gauge", "num_requests_running", running),
            ("gauge", "num_requests_waiting", waiting),
            ("gauge", "kv_cache_usage_perc", kv_usage_ratio),
            ("counter", "prompt_tokens_total", self.prompt_tokens),
            ("counter", "generation_tokens_total", self.generation_tokens),
            ("counter", "prefix_cache_queries_total", self.cache_queries_tokens),
            ("counter", "prefix_cache_hits_total", self.cache_hits_tokens),
        ):
            lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{labels}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason, count in self.finished.items():
            lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}')
        for name, histogram in self._histograms.items():
            name, totals = f"vllm:{name}_seconds", list(accumulate(histogram.counts))
            lines.append(f"# TYPE {name} histogram")
            for le, n in zip((*_BOUNDS_S, "+Inf"), totals, strict=True):
                lines.append(f'{name}_bucket{{{labels},le="{le}"}} {n}')
            lines += [f"{name}_count{{{labels}}} {totals[-1]}", f"{name}_sum{{{labels}}} {histogram.sum_s}"]
        return "\n".join([*lines, ""]).encode()


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted socket: bytes read and bytes still to be sent, and the stream that it is being given."""

    sock: socket.socket
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    stream: Stream | None = None
    blocked: bool = False  # it takes no more for now
    closing: bool = False


@dataclass(slots=True, eq=False)
class Stream:
    """The place in a plan."""

    conn: Connection
    plan: ResponsePlan
    times: SendTimes
    key: int
    first_ns: int | None  # when chunk 0 of a paced stream is due; None: the engine gives credits, one per chunk
    itl_ns: int
    shape: ResponseShape
    credit: int = 0
    credit_ns: int = 0  # when the last credit was given
    steps_done: int = 0
    hold_ns: int = 0
    rest: bytes = b""  # what is left of a write that is sent in pieces
    rest_ns: int = 0
    queued: bool = False
    index: int = -1
    write: ScheduledWrite = field(init=False)  # the next one
    data: bytearray = field(init=False)  # of it, with the response's id filled in
    left: int = 0  # how often it is still to be sent

    def load(self, now_ns: int) -> bool:
        """Go on to the next write; False when there is none."""
        self.index += 1
        if self.index == len(self.plan.writes):
            return False
        self.write = write = self.plan.writes[self.index]
        self.left, response_id = write.repeat, self.times.response_id.encode()
        self.data = bytearray(write.data.replace(responses.ID_HOLE, response_id))
        if write.stall_s and self.first_ns is not None:
            self.first_ns += round(write.stall_s * NS_PER_S)
        elif write.stall_s:
            self.hold_ns = now_ns + round(write.stall_s * NS_PER_S)
        return True

    def due_ns(self) -> int | None:
        """When the next write is due; 0 is at once, None is when the engine says."""
        if self.rest:
            return self.rest_ns
        write = self.write
        if write.at_s is not None:
            return self.times.received_ns + round(write.at_s * NS_PER_S)
        if write.steps == 0:
            return 0
        if self.first_ns is not None:
            return self.first_ns + (self.steps_done + write.steps - 1) * self.itl_ns
        return None if self.credit < write.steps else max(self.credit_ns, self.hold_ns)


class Server:
    """A simulator on a listening socket (None: refuse everybody). `run` returns when `parent` is readable."""

    def __init__(self, config: SimulatorConfig, sock: socket.socket | None, parent: IO[bytes] | None = None) -> None:
        self.config = config
        self.metrics = SimulatorMetrics(config.model)
        self.engine = BatchEngine(config.latency, self._admit) if config.latency.slots is not None else None
        self.prefixes = PrefixCache()
        self.streams: dict[int, Stream] = {}  # the responses in flight, by sequence number
        self.stopped = False
        self.answers: Answers | None = None
        if (planted := config.answers) is not None:
            from benchsuite.input_files import read_workload
            from benchsuite.request_spec import WorkloadSpec
            from benchsuite.simulator.answers import Answers  # and numpy

            wanted = WorkloadSpec(source=planted.workload, requests=planted.requests)
            self.answers = Answers(planted, read_workload(wanted, planted.random_seed).prompts)
        self._created_s = int(time.time())
        self._sequence = 0
        self._heap: list[tuple[int, int, Stream]] = []
        self._order = 0
        self._clock = StampClock()
        self._listener = sock
        self._selector = selectors.DefaultSelector()
        if sock is not None:
            self._selector.register(sock, selectors.EVENT_READ, None)
        try:
            if parent is not None:
                self._selector.register(parent, selectors.EVENT_READ, None)
        except PermissionError:  # epoll's word for a file or /dev/null
            raise EngineError("the simulator can wait for the end of a pipe only", given="standard input") from None

    def run(self) -> None:
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
        for at_ns, key in self.engine.advance(now) if self.engine is not None else ():
            stream = self.streams.get(key)
            if stream is not None:
                stream.credit, stream.credit_ns = stream.credit + 1, at_ns
                self._pump(stream)

    def _admit(self, key: int, at_ns: int) -> None:
        if key in self.streams:
            self.metrics.admit(self.streams[key].times, at_ns)

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
                if key.data.stream is not None:
                    self._pump(key.data.stream)
            if events & selectors.EVENT_READ:
                self._read(key.data)

    def _arrival_ns(self, ancillary: list[tuple[int, int, bytes]], read_ns: int) -> int:
        """When the request's last bytes came in: by the kernel's stamp, so that our own reading late is no error."""
        if not ancillary or self.engine is not None:  # the engine's steps count from when it could know of the request
            return read_ns
        clock, steps = self._clock, self._clock.steps
        clock.look()
        stamp_ns = kernel_timestamp_ns(ancillary) - clock.offset_ns
        holds = clock.steps == steps and clock.usable and read_ns - NS_PER_S < stamp_ns < read_ns
        return stamp_ns if holds else read_ns

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request_kernel_timestamps(sock)
            self.metrics.connections += 1
            self._selector.register(sock, selectors.EVENT_READ, Connection(sock))

    def _read(self, conn: Connection) -> None:
        if conn.sock.fileno() < 0:
            return
        read_ns = now_ns()
        ancillary: list[tuple[int, int, bytes]] = []
        try:
            data, ancillary, _, _ = conn.sock.recvmsg(1 << 18, ANCILLARY_BYTES)
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
                request = responses.take_request(conn.inbox)
                if request is None:
                    return
                if request.method == "POST" and request.path in _COMPLETIONS:
                    self._complete(conn, request, received_ns)
                else:
                    self._flush(conn, self._plain_response(request))
            except HttpError as error:
                if error.status in (411, 413, 431) or error.message.startswith("not an HTTP"):
                    conn.closing = True  # what follows in the inbox cannot be told apart
                self._flush(conn, responses.error_response(error.status, error.message, error.param))

    def _plain_response(self, request: HttpRequest) -> bytes:
        """The whole response of every route but the completions."""
        match request.method, request.path:
            case "GET", "/health":
                return responses.http_response(b"", "text/plain")
            case "GET", "/v1/models":
                card = {"id": self.config.model, "object": "model", "created": self._created_s}
                card |= {"owned_by": "benchsuite", "max_model_len": self.config.max_model_len}
                return responses.json_response({"object": "list", "data": [card]})
            case "GET", "/metrics":
                waiting, limit = len(self.engine.waiting) if self.engine else 0, self.config.latency.kv_tokens
                kv_usage_ratio = self.engine.kv_used_tokens / limit if self.engine and limit else 0.0
                text = self.metrics.exposition(len(self.streams) - waiting, waiting, kv_usage_ratio)
                return responses.http_response(text, "text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/stats":
                rows = {} if "summary" in request.query else {"responses": [t.row() for t in self.metrics.responses]}
                counts = {"requests": self.metrics.requests, "connections": self.metrics.connections}
                return responses.json_response({"clock": "CLOCK_MONOTONIC"} | counts | rows)
            case "POST", "/reset" | "/reset_prefix_cache":
                if request.path == "/reset":
                    self.metrics.reset()
                self.prefixes.seen.clear()
                return responses.http_response(b"", "text/plain")
        status, detail = (405, "Method Not Allowed") if request.path in _COMPLETIONS else (404, "Not Found")
        return responses.json_response({"detail": detail}, status)

    def _complete(self, conn: Connection, request: HttpRequest, received_ns: int) -> None:
        config, metrics, sequence = self.config, self.metrics, self._sequence
        self._sequence += 1
        metrics.requests += 1
        fault = drawn_fault(config, sequence)
        asked = responses.read_request(request, config, fault, self._created_s, self.answers)
        response, input_tokens = asked.response, asked.response.input_tokens
        if config.prefix_cache:
            response = replace(response, cached_tokens=self.prefixes.cached_tokens(asked.prompt, asked.cache_salt))
            metrics.cache_queries_tokens += input_tokens
            metrics.cache_hits_tokens += response.cached_tokens
        instead = responses.instead_of_headers(response)
        if instead is not None:
            conn.closing = instead[9:10].isalpha() or not instead or not response.shape.keep_alive
            metrics.finished["error"] += 1
            self._flush(conn, instead)
            return
        times = SendTimes(responses.response_id(sequence, received_ns), received_ns, input_tokens)
        first_ns = asked.latency.first_due_ns(received_ns, sequence) if self.engine is None else None
        itl_ns = round(asked.latency.itl_s * NS_PER_S)
        stream = Stream(conn, responses.plan(response), times, sequence, first_ns, itl_ns, response.shape)
        stream.load(received_ns)
        conn.stream = self.streams[sequence] = stream
        metrics.responses.append(times)
        if self.engine is None:
            metrics.admit(times, received_ns)
        else:
            self._step_engine(received_ns)  # steps that ended before the request came must not see it
            tokens = (input_tokens, response.output_tokens, stream.plan.steps, response.cached_tokens)
            self.engine.arrive(sequence, received_ns, *tokens)
        self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send what is due of a stream, and put it back on the heap for the rest."""
        if stream.queued or stream.conn.blocked:
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
        conn, write, first_piece = stream.conn, stream.write, not stream.rest
        if conn.stream is not stream:
            return False
        data: bytes | bytearray = stream.rest or stream.data
        sent_ns = now_ns()
        if first_piece and write.time_at:
            sent_at = b"%019d" % sent_ns
            for at in write.time_at:
                data[at : at + _TIME_BYTES] = sent_at  # type: ignore[index]
        size = stream.shape.split_bytes
        if size is not None and write.tokens:
            stream.rest, stream.rest_ns = bytes(data[size:]), sent_ns + round(stream.shape.split_gap_s * NS_PER_S)
            data = data[:size]
        if not self._flush(conn, data):
            return False
        if first_piece and write.tokens:
            self.metrics.write(stream.times, sent_ns, due, write.tokens)
        if stream.rest:
            return not conn.blocked
        stream.steps_done += write.steps
        stream.credit -= write.steps
        stream.left -= 1
        if stream.left == 0 and not stream.load(sent_ns):
            self._finish(stream)
            return False
        return not conn.blocked

    def _finish(self, stream: Stream) -> None:
        conn = stream.conn
        self._forget(stream, stream.plan.finished)
        if stream.plan.end == "reset":
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.outbox.clear()
        if stream.plan.end != "keep":
            conn.closing = True
            self._flush(conn)
        elif conn.inbox:
            self._serve(conn, now_ns())

    def _forget(self, stream: Stream, reason: str) -> None:
        now = now_ns()
        stream.conn.stream = None
        del self.streams[stream.key]
        self.metrics.finish(stream.times, reason, now)
        if self.engine is not None and stream.steps_done < stream.plan.steps:
            self._step_engine(now)
            self.engine.cancel(stream.key, now)

    def _flush(self, conn: Connection, data: bytes | bytearray = b"") -> bool:
        """Send what waits to be sent, and `data` after it; False when the connection is gone."""
        conn.outbox += data
        try:
            while conn.outbox:
                del conn.outbox[: conn.sock.send(conn.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._close(conn)
            return False
        if conn.blocked != bool(conn.outbox):
            conn.blocked = not conn.blocked
            self._selector.modify(conn.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE * conn.blocked), conn)
        if conn.closing and conn.stream is None and not conn.blocked:
            self._close(conn)
        return True

    def _close(self, conn: Connection) -> None:
        if conn.sock.fileno() >= 0:
            self._selector.unregister(conn.sock)
            conn.sock.close()
        if conn.stream is not None:
            self._forget(conn.stream, "abort")


if __name__ == "__main__":
    serve(SimulatorConfig.model_validate_json(sys.argv[1]), sys.stdin.buffer)
