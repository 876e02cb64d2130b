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
from typing import Protocol

from benchsuite.client.exchange import Exchange
from benchsuite.client.request import record_steps
from benchsuite.clock import now_ns
from benchsuite.load.seats import ClientState, Limits, Route, Seat
from benchsuite.load.user import User
from benchsuite.records import RequestRecord
from benchsuite.telemetry.descriptors import open_descriptors
from benchsuite.telemetry.host import CpuMark, rss_bytes

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
