"""The body of a measuring process: its part of a point's virtual users, their rows into its own journal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe

from asyncio_throttle.throttler import Throttler

from benchsuite.client.servers import BodyPlan
from benchsuite.client.wire import Connection, Link
from benchsuite.clock import now_ns
from benchsuite.errors import RunError
from benchsuite.load.breaker import Breaker
from benchsuite.load.endpoints import Endpoint, prepare
from benchsuite.load.generator import PointLoad
from benchsuite.load.orders import ABORT, DRAIN, GROUP_SIGNALS, PointOrder, Shared, WorkerReport, WorkerSetup
from benchsuite.load.seats import Driver, Route, Seat, Spare, limits_of
from benchsuite.records import RequestRecord
from benchsuite.store import Journal, keep_pandas_out

_SYNC_NS = 1_000_000_000


class _RowSink:
    """Takes finished rows: counts them where the parent can see, and journals them when the point is measured."""

    def __init__(self, journal: Journal | None, show: Callable[[list[float]], None], breaker: Breaker) -> None:
        self._journal, self._show, self._breaker = journal, show, breaker
        self.on_tick: Callable[[], None] = lambda: None
        self._ttft_sum_s, self._ttft_n = 0.0, 0
        self._synced_ns = now_ns()
        self._syncer = ThreadPoolExecutor(1) if journal else None
        self._syncing: Future[None] | None = None
        self.n_ok = self.n_failed = self.output_tokens = 0
        self.first_error: str | None = None

    def append(self, row: RequestRecord) -> None:
        if row.status == "ok":
            self.n_ok += 1
        else:
            self.n_failed += 1
            self.first_error = self.first_error or f"{row.status}: {row.error}"
        self.output_tokens += row.output_tokens or 0
        if row.first_token_s is not None and row.sent_s is not None:
            self._ttft_sum_s += row.first_token_s - row.sent_s
            self._ttft_n += 1
        self._breaker.note(row)
        if self._journal is not None:
            self._journal.append(row)

    def tick(self, at_ns: int) -> None:
        self._show([self.n_ok, self.n_failed, self.output_tokens, self._ttft_sum_s, self._ttft_n])
        if self._journal is not None and self._syncer is not None:
            self._journal.flush_if_due(at_ns)
            if self._syncing is not None and self._syncing.done():
                syncing, self._syncing = self._syncing, None
                syncing.result()  # the system tells of a failed write once, and not again when the journal is closed
            if self._syncing is None and at_ns - self._synced_ns > _SYNC_NS:
                self._synced_ns = at_ns
                self._syncing = self._syncer.submit(self._journal.sync)
        self.on_tick()

    def close(self) -> None:
        try:
            self.tick(now_ns())
            if self._syncing is not None:
                self._syncing.result()
        finally:
            if self._syncer is not None:
                self._syncer.shutdown()
            if self._journal is not None:
                self._journal.close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop loop where uvloop is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _Worker:
    """The body of a measuring process."""

    def __init__(self, setup: WorkerSetup, pipe: Pipe, shared: Shared, worker: int) -> None:
        self._n_workers = len(shared.progress) // 5
        self._setup, self._pipe, self._cursor, self._signal = setup, pipe, shared.cursor, shared.signal
        self._progress, self._waiting, self._breaker = shared.progress, shared.waiting, shared.breaker
        self._worker = worker
        self._parent = os.getppid()
        self._loop = new_event_loop()
        asyncio.set_event_loop(self._loop)

    def serve(self) -> None:
        """Run the points that the parent orders until it hangs up."""
        with contextlib.suppress(EOFError):
            while True:
                order = self._pipe.recv()
                self._pipe.send(self._loop.run_until_complete(self._point(order)))

    async def _point(self, order: PointOrder) -> WorkerReport:
        setup = self._setup
        seats = self._seats(order)
        limits = limits_of(setup.timeouts)
        sink = _RowSink(Journal(order.journal) if order.journal else None, self._show, self._breaker)
        try:
            n = len(order.order)
            take = self._take_once(n) if order.journal else self._take_warmup(n, order)
            load = PointLoad(seats, take, limits, sink, self._pause())

            def heed() -> None:
                wanted = self._signal.value
                if wanted == DRAIN:
                    load.stop()
                elif wanted == ABORT or os.getppid() != self._parent:
                    load.abort()
                elif self._breaker.tripped:
                    load.abort("cancelled", "the point was given up")

            sink.on_tick = heed
            await load.connect()
            self._pipe.send("ready")
            start_ns: int = self._pipe.recv()
            state = await load.run(start_ns)
        finally:
            sink.close()
        return WorkerReport(self._worker, sink.n_ok, sink.n_failed, sink.output_tokens, sink.first_error, state)

    def _seats(self, order: PointOrder) -> list[Seat]:
        """Where each user sits: user i of all workers' users at endpoint i modulo their number."""
        own = self._setup.endpoints
        at = [(order.first_user + i) % len(own) for i in range(order.n_users)]
        routes = {k: self._route(order, order.plan, own[k], order.closes_after_response) for k in sorted(set(at))}
        drivers = {k: iter(self._drivers(route.link, own[k], at.count(k))) for k, route in routes.items()}
        seats = [Seat(routes[k], next(drivers[k])) for k in at]
        fallback = self._setup.fallback
        if fallback is None or order.journal is None:  # a warm-up is not worth an API's bill
            return seats
        plan = replace(fallback.plan, salt=order.plan.salt)
        route = self._route(order, plan, fallback.endpoint, fallback.closes_after_response)
        drivers_there = self._drivers(route.link, fallback.endpoint, len(seats))
        return [
            replace(seat, spare=Spare(route, driver, fallback.refuses(), self._full(k, fallback.max_waiting)))
            for seat, driver, k in zip(seats, drivers_there, at, strict=True)
        ]

    def _route(self, order: PointOrder, plan: BodyPlan, endpoint: Endpoint, closes: bool) -> Route:
        link = Link(self._loop, endpoint.target(), self._setup.timeouts.connect_s)
        link.closes_after_response = closes
        requests = prepare(order.order, self._setup.prompts, plan, endpoint)
        return Route(link, requests, replace(order.context, endpoint=endpoint.base_url))

    def _full(self, k: int, max_waiting: int | None) -> Callable[[], bool]:
        """Whether more requests than that wait at own endpoint k, as the parent saw it last."""
        waiting = self._waiting
        return (lambda: False) if max_waiting is None else lambda: waiting[k] > max_waiting

    def _drivers(self, link: Link, endpoint: Endpoint, n_users: int) -> list[Driver]:
        if self._setup.driver == "wire":
            return [Connection(link) for _ in range(n_users)]
        # imported only here: a measuring process that uses its own sockets carries no other HTTP library
        from benchsuite.client.drivers import HttpxDriver, OpenAIDriver, httpx_client, openai_client

        match self._setup.driver:
            case "httpx":
                return [HttpxDriver(link, endpoint.base_url) for _ in range(n_users)]
            case "httpx-shared":
                client = httpx_client(link)
                return [HttpxDriver(link, endpoint.base_url, client) for _ in range(n_users)]
            case "openai":
                sdk = openai_client(link, endpoint.base_url, endpoint.api_key)
                return [OpenAIDriver(link, sdk) for _ in range(n_users)]

    def _pause(self) -> Callable[[], Awaitable[object]] | None:
        """The wait before each request that keeps all workers together under max_rps."""
        if self._setup.max_rps is None:
            return None
        # one at a time, evenly: with a larger allowance the throttler would let bursts through
        period_s = self._n_workers / self._setup.max_rps
        return Throttler(rate_limit=1, period=period_s, retry_interval=min(0.01, period_s / 4)).acquire

    def _show(self, numbers: list[float]) -> None:
        self._progress[self._worker * 5 : self._worker * 5 + 5] = numbers

    def _next(self) -> int:
        if self._n_workers == 1:  # nobody to share with
            index: int = self._cursor.get_obj().value
            self._cursor.get_obj().value = index + 1
            return index
        with self._cursor.get_lock():
            index = self._cursor.value
            self._cursor.value = index + 1
        return index

    def _take_once(self, n: int) -> Callable[[], int | None]:
        def take() -> int | None:
            index = self._next()
            return index if index < n else None

        return take

    def _take_warmup(self, n: int, order: PointOrder) -> Callable[[], int | None]:
        until_ns: int | None = None

        def take() -> int | None:
            nonlocal until_ns
            at_ns = now_ns()
            until_ns = until_ns or at_ns + int(order.min_s * 1e9)
            index = self._next()
            return index % n if index < order.at_least or at_ns < until_ns else None

        return take


def worker_main(setup: WorkerSetup, pipe: Pipe, shared: Shared, worker: int) -> None:
    # Ctrl-C, a lost terminal and a job's end reach the whole process group; the parent decides what they mean
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    try:
        keep_pandas_out()
        _Worker(setup, pipe, shared, worker).serve()
    except RunError as error:
        with contextlib.suppress(OSError):
            pipe.send(error)
    except BaseException:
        with contextlib.suppress(OSError):
            pipe.send(RunError("a measuring process failed", where=f"worker {worker}", given=traceback.format_exc()))
