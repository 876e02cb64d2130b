"""The virtual users of one point in one process: a closed loop with zero think time.

Each user owns one connection and takes the next index of a shared cursor the moment its last response ended. Callbacks,
not tasks: the next request leaves in the same turn of the loop in which the last response was completed; parsing and
rows come after, in slices of half a millisecond, so that no stream waits for another one's bookkeeping.

Users may have different endpoints, and a second one to turn to when theirs refuses a request.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.request import BodyPlan, EncodedRequest, PointContext, record_steps
from benchsuite.client.stream import StreamFacts, stream_steps
from benchsuite.clock import now_ns
from benchsuite.records import RequestRecord, Status
from benchsuite.telemetry.host import CpuMark, Histogram, open_descriptors, rss_bytes

if TYPE_CHECKING:  # a measuring process reads no spec, and with its own sockets carries no other HTTP library
    from benchsuite.client.reference_clients import TaskDriver
    from benchsuite.spec import TimeoutSpec

    Driver = Connection | TaskDriver  # what a virtual user sends through, one exchange at a time


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the server turned out to be."""

    plan: BodyPlan  # how a prompt becomes its request
    endpoints: tuple[Endpoint, ...]  # the servers under test, in the order of the spec, all of one kind
    closes_after_response: bool
    body_lingers: bool  # a response stays open behind the end of its stream
    facts: dict[str, Any]  # for the manifest
    fallback: Preflight | None = None  # the API for what they refuse
    request_s: float | None = None  # what a request of asked_output_tokens takes alone, by the probe's times


_SEARCHED_BYTES, _SEARCHED_STEPS = 65536, 8  # of a response whose first token is late


def _has_token(exchange: Exchange) -> bool:
    """True if a token came among what was received. Headers, roles, comments and pings are none."""
    try:
        exchange.feed()
    except WireError:  # no HTTP; its row will say so
        return False

    decoding, facts = exchange.body_steps(), StreamFacts()
    try:
        for _ in range(_SEARCHED_STEPS):
            next(decoding)
    except StopIteration as end:
        body, ends = end.value
        steps = stream_steps(facts, body[:_SEARCHED_BYTES], ends, exchange.stamps, ndjson=exchange.ndjson)
        return any(facts.token_ns for _ in steps)
    return True  # compressed, and too much to look for one


def abort_if_overdue(
    driver: Driver, exchange: Exchange | None, at_ns: int, limits: tuple[int, int, int], *, streaming: bool
) -> None:
    """Give up the driver's request, of `exchange`, if it is overdue. limits: of `limits_ns`."""
    idle_ns, request_ns, first_token_ns = limits
    why = driver.overdue(at_ns, idle_ns, request_ns)  # which may find that it has ended
    if why is not None:
        driver.abort("timeout", why)
    elif streaming and exchange is not None and exchange.sent_ns and not (exchange.closed_ns or exchange.token_seen):
        late = at_ns - exchange.sent_ns > first_token_ns
        exchange.token_seen = late and _has_token(exchange)
        if late and not exchange.token_seen:
            driver.abort("timeout", f"no token for {first_token_ns / 1e9:g} s")


def limits_ns(timeouts: TimeoutSpec) -> tuple[int, int, int]:
    """When a request is given up: without any byte, in all, without a token.

    A first token may take as long as any silence unless the spec says otherwise.
    """
    first_token_s = timeouts.idle_s if timeouts.first_token_s is None else timeouts.first_token_s
    return int(timeouts.idle_s * 1e9), int(timeouts.request_s * 1e9), int(first_token_s * 1e9)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one virtual user sends through."""

    driver: Driver
    link: Link  # the endpoint's
    requests: Sequence[EncodedRequest]
    context: PointContext  # what all rows share
    fallback: Slot | None = None  # where a request goes that the endpoint refuses
    refuses: Callable[[Exchange], bool] = lambda _: False  # whether an exchange that ended is a refusal
    full: Callable[[], bool] = lambda: False  # whether not even to try the endpoint


@dataclass(slots=True)
class ClientState:
    """How this process fared while the point ran. None: the system does not say."""

    read_lag: Histogram = field(default_factory=Histogram)
    loop_lag: Histogram = field(default_factory=Histogram)
    dispatch_lag: Histogram = field(default_factory=Histogram)
    n_reads: int = 0
    merged_reads: int = 0
    n_chunks: int = 0
    cpu_s: float = 0.0
    parse_s: float = 0.0  # CPU seconds spent on finished responses, from their bytes to their rows in the sink
    wall_s: float = 0.0
    cpu_share_max_1s: float = 0.0  # most CPU seconds over wall seconds in any second
    steal_s: float | None = None
    run_queue_wait_s: float | None = None  # for how long it was ready to run and other processes had the CPU
    clock_steps: int = 0
    clock_contradictions: int = 0  # the kernel's stamps left a wall clock that stood
    connections_opened: int = 0
    unasked_responses: int = 0  # connections on which the server spoke before it was asked
    fallback_tries: int = 0  # requests that their endpoint refused and that went on to the fallback
    fallback_skips: int = 0  # that went there untried
    rss_start_bytes: int | None = None
    rss_end_bytes: int | None = None
    fds_start: int | None = None  # open file descriptors before the first connection
    fds_end: int | None = None  # and after the last
    n_issued: int = 0  # requests of an open loop that were due, those outside the window too
    n_measured: int = 0  # within it
    n_dropped: int = 0  # not sent, since --max-in-flight others were open
    n_waited: int = 0  # sent late for that reason
    back_offs: int = 0  # pauses of users whose request no server was there for
    back_off_s: float = 0.0


# where no server is there, a user waits before its next request: twice as long each time, 256 requests a minute at most
_BACK_OFF_S, _MOST_BACK_OFF_S = 0.02, 0.25
# what a user's task may raise after its point was aborted
CANCELLED = WireError("cancelled", "the run was stopped")


class VirtualUser:
    """Sends one request after the other. driver: that of the request in flight, its own between requests."""

    __slots__ = (
        "_back_off_timer", "_current", "_exchange", "_first_sent_ns", "_load", "_slot", "_task", "_unanswered",
        "driver",
    )  # fmt: skip

    def __init__(self, load: PointLoad, slot: Slot) -> None:
        self._load, self._slot, self._current, self.driver = load, slot, slot, slot.driver
        self._first_sent_ns = 0
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._unanswered = 0  # requests in a row that no server was there for
        self._back_off_timer: asyncio.TimerHandle | None = None

    @property
    def slot(self) -> Slot:
        """What it sends through."""
        return self._slot

    def next(self, free_ns: int) -> None:
        """Take the next request and send it; leave when there is none."""
        taken = self._load.take(free_ns)
        if taken is None:
            self._load.left(self)
        else:
            self.begin(Exchange(*taken))

    def serve(self, slot: Slot) -> None:
        """From now on what it sends through its own connection is of this slot, of the same endpoint."""
        if self._slot.context is not slot.context:
            self._slot = replace(self._slot, requests=slot.requests, context=slot.context)
            self._current = self._slot

    def begin(self, exchange: Exchange, wire: bytes | None = None) -> None:
        """Send the request, which is due now: late where its user was not free, or its process busy. wire: its bytes
        for the user's own endpoint, if they are made."""
        self._exchange = exchange
        exchange.on_done = self._ended
        fallback = self._slot.fallback
        if fallback is not None and self._slot.full():
            self._load.state.fallback_skips += 1
            self._current, self.driver, wire = fallback, fallback.driver, None
        self._send(exchange, wire)

    def _send(self, exchange: Exchange, wire: bytes | None = None) -> None:
        if self.driver.is_open and self._load.pause is None:
            self.driver.send(wire or self._current.requests[exchange.index].wire, exchange)
        else:
            self._task = self._load.loop.create_task(self._send_when_ready(exchange))
            self._task.add_done_callback(partial(self._never_began, exchange))

    def _never_began(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        # a task that is cancelled before its first step runs no line of its own: its request is a row all the same
        if task.cancelled():
            self._task = None
            exchange.error = CANCELLED
            self._ended(exchange)

    async def _send_when_ready(self, exchange: Exchange) -> None:
        """Wait for the rate's leave and for a connection, then send."""
        load = self._load
        try:
            if load.pause is not None and not self._first_sent_ns:  # a refused request goes on at once
                await load.pause()
                if load.stopping:
                    raise CANCELLED
            if not self.driver.is_open:
                await self.driver.open()
        except WireError as error:
            exchange.error = error
        except asyncio.CancelledError:
            exchange.error = CANCELLED
        self._task = None
        if exchange.error is not None:
            exchange.closed_ns = self.driver.free_ns
            self._ended(exchange)
        else:
            self.driver.send(self._current.requests[exchange.index].wire, exchange)

    def _ended(self, exchange: Exchange) -> None:
        load, slot, fallback = self._load, self._current, self._slot.fallback
        if exchange.error is not None and exchange.error.stale and exchange.retries == 0:
            exchange.reset_for_retry()
            self._send(exchange)
            return
        free_ns = self.driver.free_ns
        if fallback is not None:
            if slot is not fallback and slot.refuses(exchange):  # the same request goes to the fallback, now
                load.state.fallback_tries += 1
                self._first_sent_ns = exchange.sent_ns
                exchange.retries, exchange.error, exchange.closed_ns = 0, None, 0
                exchange.reset()
                self._current, self.driver = fallback, fallback.driver
                self._send(exchange)
                return
            if self._first_sent_ns:  # for the user the request began with the try that was refused
                exchange.sent_ns, self._first_sent_ns = self._first_sent_ns, 0
            self._current, self.driver = self._slot, self._slot.driver
        self._exchange = None
        load.finished(exchange, slot)
        error = exchange.error  # of no server: no connection, or one that ended before a byte of a response
        absent = error is not None and not exchange.stamps and error.status in ("connect_error", "stream_error")
        if load.stopping or not absent or not load.backs_off:
            self._unanswered = 0
            self.next(free_ns or now_ns())
            return
        # a server that is not there fails thousands of requests a second, and none of them measures it
        pause_s = min(_BACK_OFF_S * 2**self._unanswered, _MOST_BACK_OFF_S)
        self._unanswered = min(self._unanswered + 1, 16)
        load.state.back_offs += 1
        load.state.back_off_s += pause_s
        self._back_off_timer = load.loop.call_later(pause_s, self._after_back_off)

    def _after_back_off(self) -> None:
        self._back_off_timer = None
        self.next(now_ns())  # it was not free before

    def watch(self, at_ns: int, limits: tuple[int, int, int]) -> None:
        """Give up the request in flight if it is overdue; one that waits for its connection has that one's limit."""
        exchange = None if self._task else self._exchange
        abort_if_overdue(self.driver, exchange, at_ns, limits, streaming=self._current.context.streaming)

    def abort(self, status: Status, message: str) -> None:
        """Give up what is in flight, also a connection that is being made."""
        if self._back_off_timer is not None:
            self._back_off_timer.cancel()
            self._back_off_timer = None
            self._load.left(self)
        elif self._task is not None:
            self._task.cancel()
        else:
            self.driver.abort(status, message)


_SHORT_BYTES = 2048  # an error is shorter than this; a longer stream is not searched for one


def is_refusal(statuses: Collection[int], exchange: Exchange) -> bool:
    """True if the server refused the request with one of these HTTP statuses.

    Text Generation Inference reports its overload inside a stream with status 200: that is its 429.
    """
    if exchange.error is not None and exchange.error.status in ("timeout", "cancelled", "connect_error"):
        return False
    if exchange.status in statuses:
        return True
    if 429 not in statuses or exchange.status != 200 or len(exchange.data) > _SHORT_BYTES:
        return False
    return b"overloaded" in exchange.data and b'"error"' in exchange.data


_TICK_NS = 10_000_000
_MIN_BACKLOG = 64
_LAGS_PER_REQUEST = 32
_PARSE_SLICE_NS, _BACKLOG_SLICE_NS, _WATCH_SLICE_NS = 500_000, 50_000_000, 20_000_000
_WATCH_EVERY_TICKS = 10
_LISTEN_S = 0.01  # after the last response: a server that answers one ahead has an answer left
_SECOND_EVERY_TICKS = 100


class Sink(Protocol):
    """Where finished rows go; `tick` is called every 10 ms."""

    def append(self, row: RequestRecord) -> None: ...

    def tick(self, at_ns: int) -> None: ...


class PointLoad:
    """Runs one point's users to the end of the cursor. stop() drains; abort() gives up what is in flight.

    slots: one a user. limits: of `limits_ns`. pause: awaited before each request, where a rate is capped; None sends at
    once. To be made inside the loop that runs it.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        take: Callable[[], int | None],
        limits: tuple[int, int, int],
        sink: Sink,
        pause: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._slots = [*slots, *(slot.fallback for slot in slots if slot.fallback is not None)]
        self._links = list(dict.fromkeys(slot.link for slot in self._slots))
        self._sink = sink
        self._limits = limits
        self._take = take
        self.stopping = False
        self.pause = pause
        self._users = [VirtualUser(self, slot) for slot in slots]
        self._unwatched: list[VirtualUser] = []
        self._busy = 0
        self._backlog = max(_MIN_BACKLOG, 2 * len(self._users))
        self._finished: deque[tuple[Exchange, Slot, int]] = deque()  # and the bytes that it holds
        self._parsing: Iterator[None] | None = None
        self._rows: list[RequestRecord] = []
        self._drain_scheduled = False
        self._done: asyncio.Event = asyncio.Event()
        self._error: Exception | None = None
        self._due_ns = 2**62  # when the next request leaves, where that is known
        self.state = ClientState(fds_start=open_descriptors())

    async def connect(self) -> None:
        """Open every user's connection before the start, so that all can send at once. Failures show as rows later.

        Connections to the fallback are made when they are first needed, and kept.
        Also clears the garbage collector's table, which stays frozen until the end of `run`.
        """
        gc.collect()
        gc.freeze()
        await asyncio.gather(*(user.driver.open() for user in self._users), return_exceptions=True)

    async def run(self, start_ns: int) -> ClientState:
        """Start all users at `start_ns` and return when the last has left and every row is in the sink.

        Raises what the sink raised, if it failed.
        """
        delay_s = (start_ns - now_ns()) / 1e9
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        self._start_ticking()
        try:
            self._begin(start_ns)
            await self._done.wait()
            while self._finished or self._parsing:
                self._drain()
                await asyncio.sleep(0)  # the ticker runs on: it flushes rows, and hears of Ctrl-C
            if not self.stopping:
                await asyncio.sleep(_LISTEN_S)
        finally:
            self._stop_ticking()
            for slot in self._slots:
                slot.driver.close()
            self.state.fds_end = open_descriptors()
            gc.unfreeze()
        if self._error is not None:
            raise self._error
        return self.state

    backs_off = True  # whether a user waits where no server is there

    def _begin(self, start_ns: int) -> None:
        self._busy = len(self._users)
        if not self._busy:
            self._done.set()
        for user in self._users:
            user.next(start_ns)

    def stop(self) -> None:
        """Send nothing new; what is in flight may finish."""
        self.stopping = True

    def abort(self, status: Status = "cancelled", message: str = "the run was stopped") -> None:
        """Send nothing new and give up what is in flight."""
        self.stopping = True
        for user in [*self._users]:  # one may leave at once
            user.abort(status, message)

    def watch(self, at_ns: int) -> None:
        """Look after the users' timeouts, each time after as many as there is time for."""
        self._unwatched = self._unwatched or list(self._users)
        until_ns = now_ns() + _WATCH_SLICE_NS
        while self._unwatched and now_ns() < until_ns:
            self._unwatched.pop().watch(at_ns, self._limits)

    # for the users
    def take(self, free_ns: int) -> tuple[int, int] | None:
        """The next request of a user that is free since free_ns, and when it was due."""
        index = None if self.stopping else self._take()
        return None if index is None else (index, free_ns)

    def finished(self, exchange: Exchange, slot: Slot) -> None:
        slot.link.held_bytes += (held_bytes := exchange.held_bytes)
        self._finished.append((exchange, slot, held_bytes))
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self.loop.call_soon(self._drain)

    def left(self, user: VirtualUser) -> None:  # noqa: ARG002
        self._busy -= 1
        if self._busy == 0:
            self._done.set()

    # parsing, in slices
    def _drain(self) -> None:
        self._drain_scheduled = False
        cpu_ns, began_ns = time.thread_time_ns(), now_ns()
        while self._parsing or self._finished:
            if self._parsing is None:
                self._parsing = self._record(*self._finished.popleft())
            try:
                if next(self._parsing, False) is False:
                    self._parsing = None
            except Exception as error:  # a request without a row ends the point: it is not passed over
                self._parsing, self._error = None, self._error or error
                self.abort()
            # a backlog that grows is worked off in longer slices, of CPU time, for others may take the CPU: else a
            # client at its limit would keep it in memory
            if len(self._finished) <= self._backlog:
                over = now_ns() > min(began_ns + _PARSE_SLICE_NS, self._due_ns - _PARSE_SLICE_NS // 4)
            else:
                over = time.thread_time_ns() - cpu_ns > _BACKLOG_SLICE_NS
            if over:
                if (self._parsing or self._finished) and not self._drain_scheduled:
                    self._drain_scheduled = True
                    self.loop.call_soon(self._drain)
                break
        self.state.parse_s += (time.thread_time_ns() - cpu_ns) / 1e9

    def _record(self, exchange: Exchange, slot: Slot, held_bytes: int) -> Iterator[None]:
        state, rows, clock = self.state, self._rows, slot.link.clock
        clock.look()
        if exchange.kernel_stamped and exchange.stamps and exchange.sent_ns <= clock.doubted_ns:
            exchange.notes.add("kernel_stamps_refused")
        if "kernel_stamps_refused" in exchange.notes:
            exchange.use_user_stamps()
        if exchange.kernel_stamped:
            # every few reads of a long response are enough for the quantiles; the maximum is of all (RequestRecord)
            step = 1 + len(exchange.stamps) // _LAGS_PER_REQUEST
            for user_ns, stamp_ns in zip(exchange.user_stamps[::step], exchange.stamps[::step], strict=True):
                state.read_lag.add(user_ns - stamp_ns)
        if exchange.sent_ns:
            state.dispatch_lag.add(exchange.sent_ns - exchange.scheduled_ns)
        yield from record_steps(exchange, slot.requests[exchange.index], slot.context, rows)
        slot.link.held_bytes -= held_bytes
        row = rows.pop()
        if row.read_lag_max_us is not None:
            state.read_lag.max_ns = max(state.read_lag.max_ns, row.read_lag_max_us * 1000)
        state.n_reads += row.n_reads
        state.merged_reads += row.merged_reads
        state.n_chunks += row.n_chunks
        self._append(row, slot.context.origin_ns)

    def _append(self, row: RequestRecord, origin_ns: int) -> None:  # noqa: ARG002
        self._sink.append(row)

    # every 10 ms: how late the loop is, the sink's turn; every 100 ms: timeouts; every second: clocks and CPU
    def _start_ticking(self) -> None:
        self._ticks = 0
        self._tick_due_ns = now_ns() + _TICK_NS
        self._cpu_start = self._cpu_last = CpuMark.now()
        self.state.rss_start_bytes = rss_bytes()
        self._links_before = [(link, link.opened, link.clock.steps, link.unasked) for link in self._links]
        self._ticker = self.loop.call_later(_TICK_NS / 1e9, self._tick)

    def _tick(self) -> None:
        at_ns = now_ns()
        state = self.state
        if self._busy:  # while requests are open: what is parsed behind the last one delays none
            state.loop_lag.add(at_ns - self._tick_due_ns)
        try:
            self._sink.tick(at_ns)
            self._ticks += 1
            if self._ticks % _WATCH_EVERY_TICKS == 0 or self._unwatched:
                self.watch(at_ns)
            second = self._ticks % _SECOND_EVERY_TICKS == 0
            for link in self._links:
                link.clock.look(probe=second)
            if second:
                last, self._cpu_last = self._cpu_last, CpuMark.now()
                wall_s = self._cpu_last.at_s - last.at_s
                if wall_s > 0:
                    share = (self._cpu_last.process_s - last.process_s) / wall_s
                    state.cpu_share_max_1s = max(state.cpu_share_max_1s, share)
        except Exception as error:  # rows cannot be kept, or nobody would look for timeouts any more
            self._error = self._error or error
            self.abort()
            return
        self._tick_due_ns = max(self._tick_due_ns + _TICK_NS, at_ns)
        self._ticker = self.loop.call_later((self._tick_due_ns - now_ns()) / 1e9, self._tick)

    def _stop_ticking(self) -> None:
        self._ticker.cancel()
        state, start, end = self.state, self._cpu_start, CpuMark.now()
        state.cpu_s = end.process_s - start.process_s
        state.wall_s = end.at_s - start.at_s
        if state.wall_s >= 0.1 and not state.cpu_share_max_1s:
            state.cpu_share_max_1s = state.cpu_s / state.wall_s
        if end.steal_s is not None and start.steal_s is not None:
            state.steal_s = end.steal_s - start.steal_s
        if end.run_queue_wait_s is not None and start.run_queue_wait_s is not None:
            state.run_queue_wait_s = end.run_queue_wait_s - start.run_queue_wait_s
        state.rss_end_bytes = rss_bytes()
        state.clock_steps = max((link.clock.steps - steps for link, _, steps, _ in self._links_before), default=0)
        state.clock_contradictions = sum(link.clock.contradicted for link in self._links)
        state.connections_opened = sum(link.opened - opened for link, opened, _, _ in self._links_before)
        state.unasked_responses = sum(link.unasked - unasked for link, _, _, unasked in self._links_before)


_LEAST_STREAK, _NO_LIMIT = 20, 2**62
_STREAK, _FAILED, _TRIPPED, _STREAK_LIMIT, _FAILED_LIMIT = range(5)
_WHOLE, _GONE, _TOO_MANY, _ENDED = range(4)  # values of _TRIPPED


def without_server(row: RequestRecord) -> bool:
    """True if no server was there for the request: no connection, or one that ended before a byte of a response."""
    if row.status == "timeout":
        return row.sent_s is None
    return row.status == "connect_error" or (row.status == "stream_error" and row.n_reads == 0 and not row.http_status)


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Counts a point's failures. `arm` before a point, `note` each row, then `reason`.

    numbers: a multiprocessing Array("q", 5) with a lock, which only measuring processes take: the parent waits for no
    lock whose owner may be dead or stopped.
    """

    numbers: Any

    def arm(self, n_users: int, max_failed: int | None, *, anew: bool = True) -> None:
        """Count from 0. The point is given up when the last max(2 n_users, 20) requests had no server, in the order in
        which they ended, or when more than max_failed failed in any way (None: any number may).

        anew: no, while requests are open, which may trip it this moment: only the limits are other ones."""
        limits = max(2 * n_users, _LEAST_STREAK), _NO_LIMIT if max_failed is None else max_failed
        self.numbers.get_obj()[_STREAK_LIMIT:] = limits
        if anew:
            self.numbers.get_obj()[:_STREAK_LIMIT] = [0, 0, _WHOLE]

    def note(self, row: RequestRecord) -> None:
        """Count a row. A request that we gave up ourselves says nothing of the server."""
        at = self.numbers.get_obj()
        if row.status == "cancelled" or (row.status == "ok" and not at[_STREAK]):
            return
        with self.numbers.get_lock():
            if row.status != "dropped":
                at[_STREAK] = at[_STREAK] + 1 if without_server(row) else 0
            at[_FAILED] += row.status != "ok"
            if at[_TRIPPED] == _WHOLE:
                if at[_FAILED] > at[_FAILED_LIMIT]:
                    at[_TRIPPED] = _TOO_MANY
                elif at[_STREAK] >= at[_STREAK_LIMIT]:
                    at[_TRIPPED] = _GONE

    def trip(self) -> None:
        """The server's process is known to have ended."""
        at = self.numbers.get_obj()
        at[_TRIPPED] = at[_TRIPPED] or _ENDED

    @property
    def tripped(self) -> bool:
        return bool(self.numbers.get_obj()[_TRIPPED])

    @property
    def streak(self) -> int:
        """How many of the last requests in a row had no server."""
        return int(self.numbers.get_obj()[_STREAK])

    @property
    def reason(self) -> str | None:
        """Why the point was given up, in words; None if it was not."""
        _, _, tripped, streak_limit, failed_limit = self.numbers.get_obj()[:]
        return {
            _GONE: f"the server is down: the last {streak_limit} requests could not connect",
            _TOO_MANY: f"more than {failed_limit} of its requests failed (--max-errors)",
            _ENDED: "the server's process ended",
        }.get(tripped)
