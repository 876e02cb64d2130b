"""The virtual users of one point in one process: a closed loop with zero think time.

Each user owns one connection and takes the next index of a shared cursor the moment its last response ended. Callbacks,
not tasks: the next request leaves in the same turn of the loop in which the last response was completed; parsing and
rows come after, in slices of half a millisecond, so that no stream waits for another one's bookkeeping.

Users may sit at different endpoints, and may have a second one to turn to when theirs refuses a request.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from benchsuite.client.connection import Link
from benchsuite.client.http import Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.client.stream import read_stream
from benchsuite.clock import now_ns
from benchsuite.records import RequestRecord
from benchsuite.spec import TimeoutSpec
from benchsuite.telemetry.host import CpuMark, Histogram, open_descriptors, rss_bytes


def has_token(exchange: Exchange) -> bool:
    """True if a token came among what was received. Headers, roles, comments and pings are none."""
    try:
        exchange.feed()
    except WireError:  # no HTTP; its row will say so
        return False
    body = b"".join(exchange.body_parts)
    facts = read_stream(body, exchange.body_ends, exchange.stamps, ndjson=exchange.ndjson)
    return len(facts.token_ns) > 0


class Driver(Protocol):
    """What a virtual user sends through, one exchange at a time: `wire.Connection`, or one of client/drivers.py."""

    free_ns: int

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None: ...

    def send(self, request: bytes, exchange: Exchange) -> None: ...

    def abort(self, status: str, message: str) -> None: ...

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a request is given up (ns): without any byte, in all, without a token."""

    idle_ns: int
    request_ns: int
    first_token_ns: int = 2**62


def limits_of(timeouts: TimeoutSpec) -> Limits:
    """The spec's timeouts as limits; a first token may take as long as any silence unless it says otherwise."""
    first_token_s = timeouts.idle_s if timeouts.first_token_s is None else timeouts.first_token_s
    return Limits(int(timeouts.idle_s * 1e9), int(timeouts.request_s * 1e9), int(first_token_s * 1e9))


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as its users see it: its link, the requests as its bytes, and what its rows share."""

    link: Link
    requests: Sequence[EncodedRequest]
    context: PointContext


@dataclass(frozen=True, slots=True)
class Spare:
    """Where a user's request goes when its own endpoint refuses it.

    refuses: whether an exchange that ended is a refusal. full: whether not even to try the user's own endpoint.
    """

    route: Route
    driver: Driver
    refuses: Callable[[Exchange], bool]
    full: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Seat:
    """What one virtual user sends through."""

    route: Route
    driver: Driver
    spare: Spare | None = None


@dataclass(slots=True)
class ClientState:
    """How this process fared while the point ran. cpu: process CPU seconds over wall seconds, in all and per second.

    parse_s: CPU seconds spent on finished responses, from their bytes to their rows in the sink. rss_*: memory of
    the process at the start and the end of the point; fds_*: its open file descriptors before the first connection
    and after the last; None where the system does not tell. fallback_tries: requests that their own endpoint refused
    and that went on to the spare one; fallback_skips: that went there untried. back_offs, back_off_s: pauses of users
    whose request found nobody.
    """

    self_lag: Histogram = field(default_factory=Histogram)
    loop_lag: Histogram = field(default_factory=Histogram)
    dispatch_lag: Histogram = field(default_factory=Histogram)
    n_reads: int = 0
    merged_reads: int = 0
    n_chunks: int = 0
    cpu_s: float = 0.0
    parse_s: float = 0.0
    wall_s: float = 0.0
    cpu_max_share: float = 0.0
    steal_s: float | None = None
    clock_steps: int = 0
    connections_opened: int = 0
    fallback_tries: int = 0
    fallback_skips: int = 0
    rss_start_bytes: int | None = None
    rss_end_bytes: int | None = None
    fds_start: int | None = None
    fds_end: int | None = None
    back_offs: int = 0
    back_off_s: float = 0.0


# a user whose request found nobody waits before the next one: twice as long each time, 256 requests in a minute at most
_BACK_OFF_S, _MOST_BACK_OFF_S = 0.02, 0.25
# what a user's task may raise after its point was aborted
CANCELLED = WireError("cancelled", "the run was stopped")


class User:
    """One virtual user. driver, route: those of the request in flight, its own between requests."""

    __slots__ = (
        "_exchange", "_first_sent_ns", "_load", "_pausing", "_route", "_seat", "_task", "_told_ns", "_vain", "driver"
    )  # fmt: skip

    def __init__(self, load: PointLoad, seat: Seat) -> None:
        self._load, self._seat = load, seat
        self._route, self.driver = seat.route, seat.driver
        self._first_sent_ns = 0
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._told_ns = 0  # when the request was sent that is known to have a token
        self._vain = 0  # requests in a row that found nobody
        self._pausing: asyncio.TimerHandle | None = None

    def next(self, free_ns: int) -> None:
        """Take the next request and send it; leave when there is none."""
        load = self._load
        index = load.take()
        if index is None:
            load.left()
            return
        exchange = self._exchange = Exchange(index, free_ns)
        exchange.on_done = self._ended
        spare = self._seat.spare
        if spare is not None and spare.full():
            load.state.fallback_skips += 1
            self._route, self.driver = spare.route, spare.driver
        self._send(exchange)

    def _send(self, exchange: Exchange) -> None:
        if self.driver.is_open and self._load.pause is None:
            self.driver.send(self._route.requests[exchange.index].wire, exchange)
        else:
            self._task = self._load.loop.create_task(self._send_when_ready(exchange))
            self._task.add_done_callback(partial(self._never_began, exchange))

    def _never_began(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs no line of its own: its request is a row all the same."""
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
            self.driver.send(self._route.requests[exchange.index].wire, exchange)

    def _ended(self, exchange: Exchange) -> None:
        if exchange.error is not None and exchange.error.stale and exchange.retries == 0:
            exchange.reset_for_retry()
            self._send(exchange)
            return
        route, free_ns, spare = self._route, self.driver.free_ns, self._seat.spare
        if spare is not None:
            if self.driver is not spare.driver and spare.refuses(exchange):
                self._turn_to(spare, exchange)
                return
            if self._first_sent_ns:  # for the user the request began with the try that was refused
                exchange.sent_ns, self._first_sent_ns = self._first_sent_ns, 0
            self._route, self.driver = self._seat.route, self._seat.driver
        self._exchange = None
        self._load.finished(exchange, route)
        if _found_nobody(exchange) and not self._load.stopping:
            self._back_off()
        else:
            self._vain = 0
            self.next(free_ns or now_ns())

    def _back_off(self) -> None:
        """Pause: a server that is not there fails thousands of requests a second, and none of them measures it."""
        load = self._load
        pause_s = min(_BACK_OFF_S * 2**self._vain, _MOST_BACK_OFF_S)
        self._vain = min(self._vain + 1, 16)
        load.state.back_offs += 1
        load.state.back_off_s += pause_s
        self._pausing = load.loop.call_later(pause_s, self._after_pause)

    def _after_pause(self) -> None:
        self._pausing = None
        self.next(now_ns())  # it was not free before

    def tokenless(self, at_ns: int, limit_ns: int) -> str | None:
        """Why the request in flight should be given up for want of a token, or None."""
        exchange = self._exchange
        if exchange is None or self._task is not None or not exchange.sent_ns or not self._route.context.streaming:
            return None
        if at_ns - exchange.sent_ns <= limit_ns or self._told_ns == exchange.sent_ns:
            return None
        if has_token(exchange):
            self._told_ns = exchange.sent_ns
            return None
        return f"no token for {limit_ns / 1e9:g} s"

    def _turn_to(self, spare: Spare, exchange: Exchange) -> None:
        """Send the same request to the spare endpoint, now."""
        self._load.state.fallback_tries += 1
        self._first_sent_ns = exchange.sent_ns
        exchange.retries, exchange.error, exchange.closed_ns = 0, None, 0
        exchange.reset()
        self._route, self.driver = spare.route, spare.driver
        self._send(exchange)

    def abort(self, status: str, message: str) -> None:
        """Give up what is in flight, also a connection that is being made."""
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
            self._load.left()
        elif self._task is not None:
            self._task.cancel()
        else:
            self.driver.abort(status, message)

    def close(self) -> None:
        """Close its connections."""
        self._seat.driver.close()
        if self._seat.spare is not None:
            self._seat.spare.driver.close()


def _found_nobody(exchange: Exchange) -> bool:
    """True if the request was refused a connection, or its connection ended before a byte of a response."""
    error = exchange.error
    return error is not None and not exchange.stamps and error.status in ("connect_error", "stream_error")


_TICK_NS = 10_000_000
_MIN_BACKLOG = 64
_LAGS_PER_REQUEST = 32
_PARSE_SLICE_NS = 500_000
_WATCH_EVERY_TICKS = 10
_SECOND_EVERY_TICKS = 100


class Sink(Protocol):
    """Where finished rows go; `tick` is called every 10 ms."""

    def append(self, row: RequestRecord) -> None: ...

    def tick(self, at_ns: int) -> None: ...


class PointLoad:
    """Runs one point's users to the end of the cursor. stop() drains; abort() gives up what is in flight.

    seats: one a user. pause: awaited before each request, where a rate is capped; None sends at once. To be made
    inside the loop that runs it.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        take: Callable[[], int | None],
        limits: Limits,
        sink: Sink,
        pause: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        routes = [route for seat in seats for route in (seat.route, seat.spare and seat.spare.route) if route]
        self.links = list(dict.fromkeys(route.link for route in routes))
        self.sink = sink
        self._limits = limits
        self._take = take
        self.stopping = False
        self.pause = pause
        self._users = [User(self, seat) for seat in seats]
        self._busy = 0
        self._backlog = max(_MIN_BACKLOG, 2 * len(self._users))
        self._finished: deque[tuple[Exchange, Route]] = deque()
        self._parsing: Iterator[None] | None = None
        self._rows: list[RequestRecord] = []
        self._drain_scheduled = False
        self._done: asyncio.Event = asyncio.Event()
        self._error: Exception | None = None
        self.state = ClientState(fds_start=open_descriptors())

    async def connect(self) -> None:
        """Open every user's connection before the start, so that all can send at once. Failures show as rows later.

        Connections to spare endpoints are made when they are first needed, and kept.
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
        ticker = _Ticker(self, self.loop)
        try:
            self._busy = len(self._users)
            if not self._busy:
                self._done.set()
            for user in self._users:
                user.next(start_ns)
            await self._done.wait()
            while self._finished or self._parsing:
                self._drain(whole=True)
        finally:
            ticker.stop(self.state)
            for user in self._users:
                user.close()
            self.state.fds_end = open_descriptors()
            gc.unfreeze()
        if self._error is not None:
            raise self._error
        return self.state

    def stop(self) -> None:
        """Send nothing new; what is in flight may finish."""
        self.stopping = True

    def abort(self, status: str = "cancelled", message: str = "the run was stopped") -> None:
        """Send nothing new and give up what is in flight."""
        self.stopping = True
        for user in self._users:
            user.abort(status, message)

    def fail(self, error: Exception) -> None:
        """Give up; `run` raises `error`."""
        self._error = self._error or error
        self.abort()

    # for the users
    def take(self) -> int | None:
        """The next index, or None when there is none or the load is stopping."""
        return None if self.stopping else self._take()

    def finished(self, exchange: Exchange, route: Route) -> None:
        """A user hands over an exchange that ended, and where it was."""
        self._finished.append((exchange, route))
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self.loop.call_soon(self._drain)

    def left(self) -> None:
        """A user has no more to do."""
        self._busy -= 1
        if self._busy == 0:
            self._done.set()

    # parsing, in slices
    def _drain(self, whole: bool = False) -> None:
        self._drain_scheduled = False
        cpu_ns = time.thread_time_ns()
        until_ns = now_ns() + _PARSE_SLICE_NS
        while self._parsing or self._finished:
            if self._parsing is None:
                self._parsing = self._record(*self._finished.popleft())
            if next(self._parsing, False) is False:
                self._parsing = None
            # a backlog that grows is worked off at once: else a client at its limit would keep it all in memory
            if not whole and len(self._finished) <= self._backlog and now_ns() > until_ns:
                if (self._parsing or self._finished) and not self._drain_scheduled:
                    self._drain_scheduled = True
                    self.loop.call_soon(self._drain)
                break
        self.state.parse_s += (time.thread_time_ns() - cpu_ns) / 1e9

    def _record(self, exchange: Exchange, route: Route) -> Iterator[None]:
        state, rows = self.state, self._rows
        if exchange.kernel_stamped:
            self._note_self_lag(exchange)
        if exchange.sent_ns:
            state.dispatch_lag.add(exchange.sent_ns - exchange.scheduled_ns)
        yield from record_steps(exchange, route.requests[exchange.index], route.context, rows)
        row = rows.pop()
        if row.self_lag_max_us is not None:
            state.self_lag.max_ns = max(state.self_lag.max_ns, row.self_lag_max_us * 1000)
        state.n_reads += row.n_reads
        state.merged_reads += row.merged_reads
        state.n_chunks += row.n_chunks
        self.sink.append(row)

    def _note_self_lag(self, exchange: Exchange) -> None:
        # every few reads of a long response are enough for the quantiles; the maximum is of all (RequestRecord has it)
        step = 1 + len(exchange.stamps) // _LAGS_PER_REQUEST
        add = self.state.self_lag.add
        for user_ns, stamp_ns in zip(exchange.user_stamps[::step], exchange.stamps[::step], strict=True):
            add(user_ns - stamp_ns)

    def watch(self, at_ns: int) -> None:
        """Give up what is overdue."""
        limits = self._limits
        for user in self._users:
            why = user.driver.overdue(at_ns, limits.idle_ns, limits.request_ns)
            why = why or user.tokenless(at_ns, limits.first_token_ns)
            if why is not None:
                user.driver.abort("timeout", why)


class _Ticker:
    """Every 10 ms: how late the loop is, the sink's turn; every 100 ms: timeouts; every second: clocks and CPU."""

    def __init__(self, load: PointLoad, loop: asyncio.AbstractEventLoop) -> None:
        self._load, self._loop = load, loop
        self._n = 0
        self._due_ns = now_ns() + _TICK_NS
        self._started = self._last = CpuMark.now()
        load.state.rss_start_bytes = rss_bytes()
        self._before = [(link, link.opened, link.clock_steps) for link in load.links]
        self._handle = loop.call_later(_TICK_NS / 1e9, self._tick)

    def _tick(self) -> None:
        at_ns = now_ns()
        load = self._load
        load.state.loop_lag.add(at_ns - self._due_ns)
        try:
            load.sink.tick(at_ns)
            self._n += 1
            if self._n % _WATCH_EVERY_TICKS == 0:
                load.watch(at_ns)
            if self._n % _SECOND_EVERY_TICKS == 0:
                for link in load.links:
                    link.refresh_offset()
                self._note_cpu()
        except Exception as error:  # rows cannot be kept, or nobody would look for timeouts any more
            load.fail(error)
            return
        self._due_ns = max(self._due_ns + _TICK_NS, at_ns)
        self._handle = self._loop.call_later((self._due_ns - now_ns()) / 1e9, self._tick)

    def _note_cpu(self) -> None:
        mark = CpuMark.now()
        wall_s = mark.at_s - self._last.at_s
        if wall_s > 0:
            share = (mark.process_s - self._last.process_s) / wall_s
            self._load.state.cpu_max_share = max(self._load.state.cpu_max_share, share)
        self._last = mark

    def stop(self, state: ClientState) -> None:
        """End the ticking and sum up."""
        self._handle.cancel()
        mark = CpuMark.now()
        state.cpu_s = mark.process_s - self._started.process_s
        state.wall_s = mark.at_s - self._started.at_s
        if state.wall_s >= 0.1 and not state.cpu_max_share:
            state.cpu_max_share = state.cpu_s / state.wall_s
        if mark.steal_s is not None and self._started.steal_s is not None:
            state.steal_s = mark.steal_s - self._started.steal_s
        state.rss_end_bytes = rss_bytes()
        state.clock_steps = max((link.clock_steps - steps for link, _, steps in self._before), default=0)
        state.connections_opened = sum(link.opened - opened for link, opened, _ in self._before)
