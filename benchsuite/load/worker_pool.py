"""Measuring processes: the virtual users of a point spread over workers that share one cursor.

The parent conducts and draws; only workers touch the server under load. They share a few integers (the cursor, a stop
signal, the length of each server's queue) and a row of progress numbers each; no row of data passes between processes:
every worker writes its own journal. A run is exact for any number of workers, since each index is taken once whoever
takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

from asyncio_throttle.throttler import Throttler

from benchsuite.client.connection import Connection, Link
from benchsuite.client.request import PointContext
from benchsuite.client.request_body import BodyPlan
from benchsuite.clock import now_ns
from benchsuite.errors import RunError
from benchsuite.fault_points import reach
from benchsuite.load.preflight import Endpoint, Fallback, encode_requests
from benchsuite.load.virtual_users import ClientState, Driver, PointLoad, Route, Seat, Spare, limits_of
from benchsuite.progress import ProgressSnapshot
from benchsuite.records import RequestRecord
from benchsuite.spec import DriverName, TimeoutSpec
from benchsuite.store.journal import Journal, keep_pandas_out
from benchsuite.workload.dataset import Prompt

_LEAST_STREAK = 20
_STREAK, _FAILED, _TRIPPED, _STREAK_LIMIT, _FAILED_LIMIT = range(5)
_WHOLE, _GONE, _TOO_MANY, _ENDED = range(4)
_NO_LIMIT = 2**62


def found_nobody(row: RequestRecord) -> bool:
    """True if no server was there for the request: no connection, or one that ended before a byte of a response."""
    if row.status == "timeout":
        return row.sent_s is None
    return row.status == "connect_error" or (row.status == "stream_error" and row.n_reads == 0 and not row.http_status)


class Breaker:
    """Counts a point's failures. `arm` before a point, `note` each row, then `reason`.

    numbers: a multiprocessing Array("q", 5) with a lock.
    """

    def __init__(self, numbers: Any) -> None:
        self._lock, self._at = numbers.get_lock(), numbers.get_obj()
        self._numbers = numbers

    def __getstate__(self) -> Any:
        return self._numbers

    def __setstate__(self, numbers: Any) -> None:
        Breaker.__init__(self, numbers)

    def arm(self, n_users: int, max_failed: int | None) -> None:
        """Count from 0. The point is given up when the last max(2 n_users, 20) requests found nobody, in the order in
        which they ended, or when more than max_failed failed in any way (None: any number may)."""
        limits = max(2 * n_users, _LEAST_STREAK), _NO_LIMIT if max_failed is None else max_failed
        self._at[:] = [0, 0, _WHOLE, *limits]

    def note(self, row: RequestRecord) -> None:
        """Count a row. A request that we gave up ourselves says nothing of the server."""
        at = self._at
        if row.status == "cancelled" or (row.status == "ok" and not at[_STREAK]):
            return
        with self._lock:
            at[_STREAK] = at[_STREAK] + 1 if found_nobody(row) else 0
            at[_FAILED] += row.status != "ok"
            if at[_TRIPPED] == _WHOLE:
                if at[_FAILED] > at[_FAILED_LIMIT]:
                    at[_TRIPPED] = _TOO_MANY
                elif at[_STREAK] >= at[_STREAK_LIMIT]:
                    at[_TRIPPED] = _GONE

    def trip(self) -> None:
        """The server's process is known to have ended."""
        with self._lock:
            self._at[_TRIPPED] = self._at[_TRIPPED] or _ENDED

    @property
    def tripped(self) -> bool:
        """True once the point is given up."""
        return bool(self._at[_TRIPPED])

    @property
    def streak(self) -> int:
        """How many of the last requests in a row found nobody."""
        return int(self._at[_STREAK])

    @property
    def reason(self) -> str | None:
        """Why the point was given up, in words; None if it was not."""
        match self._at[_TRIPPED]:
            case 1:
                return f"the server is gone: the last {self._at[_STREAK_LIMIT]} requests found no connection"
            case 2:
                return f"more than {self._at[_FAILED_LIMIT]} of its requests failed (--max-errors)"
            case 3:
                return "the server's process ended"
        return None


RUN, DRAIN, ABORT = 0, 1, 2  # what the shared signal says
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what whole process groups are sent


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs to know once. Virtual users are dealt out in turn to the endpoints."""

    endpoints: tuple[Endpoint, ...]
    prompts: tuple[Prompt, ...]
    timeouts: TimeoutSpec
    driver: DriverName = "wire"
    max_request_rate: float | None = None
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True)
class PointOrder:
    """One point, or its warm-up (journal None): then requests repeat until `at_least` are sent and `min_s` is over.

    first_user: the number of the worker's first virtual user among those of all workers (`Fleet.run_point` counts).
    """

    context: PointContext
    plan: BodyPlan
    order: tuple[int, ...]
    n_users: int
    journal: Path | None
    closes_after_response: bool = False
    at_least: int = 0
    min_s: float = 0.0
    first_user: int = 0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How one worker's part of a point went. The rows are in its journal."""

    worker: int
    n_ok: int
    n_failed: int
    output_tokens: int
    first_error: str | None
    state: ClientState


@dataclass(frozen=True, slots=True)
class Shared:
    """What all processes of a run share: cursor, stop signal, progress numbers, each own endpoint's queue, breaker."""

    cursor: Any
    signal: Any
    progress: Any
    waiting: Any
    breaker: Breaker


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
                reach("order")
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
        requests = encode_requests(order.order, self._setup.prompts, plan, endpoint)
        return Route(link, requests, replace(order.context, endpoint=endpoint.base_url))

    def _full(self, k: int, max_waiting: int | None) -> Callable[[], bool]:
        """Whether more requests than that wait at own endpoint k, as the parent saw it last."""
        waiting = self._waiting
        return (lambda: False) if max_waiting is None else lambda: waiting[k] > max_waiting

    def _drivers(self, link: Link, endpoint: Endpoint, n_users: int) -> list[Driver]:
        if self._setup.driver == "wire":
            return [Connection(link) for _ in range(n_users)]
        # imported only here: a measuring process that uses its own sockets carries no other HTTP library
        from benchsuite.client.reference_clients import HttpxDriver, OpenAIDriver, httpx_client, openai_client

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
        """The wait before each request that keeps all workers together under max_request_rate."""
        if self._setup.max_request_rate is None:
            return None
        # one at a time, evenly: with a larger allowance the throttler would let bursts through
        period_s = self._n_workers / self._setup.max_request_rate
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


_START_DELAY_NS = 20_000_000
_CLOSE_S = 5.0
_START_S = 120.0  # for a worker to start and prepare its requests; connecting has its own limit


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """What is started here gets no signal of the group before it says that it takes none; ours come afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """A spawned process imports the caller's __main__ again, which may be a script without a guard. Ours needs none."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Fleet:
    """The measuring processes of a run. Use as a context manager.

    watch: told where to put the number of requests that wait at each own endpoint; runs as long as the fleet does.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        n_workers: int,
        watch: Callable[[MutableSequence[int]], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> None:
        context = multiprocessing.get_context("spawn")
        with _signals_held_back():  # from the process too with which Python tracks what is shared
            self._cursor = context.Value("q", 0)
            self._signal = context.Value("i", RUN, lock=False)
            self._progress = context.Array("d", 5 * n_workers, lock=False)
            waiting = context.Array("i", len(setup.endpoints), lock=False)
            self.breaker = Breaker(context.Array("q", 5))
        self._connect_s = setup.timeouts.connect_s
        shared = Shared(self._cursor, self._signal, self._progress, waiting, self.breaker)
        self._watch = watch(waiting)
        self._pipes: list[Pipe] = []
        self._processes = []
        try:
            for worker in range(n_workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=worker_main,
                    args=(setup, theirs, shared, worker),
                    name=f"benchsuite-worker-{worker}",
                    daemon=True,
                )
                with _signals_held_back(), _main_hidden():
                    reach("spawn")
                    process.start()
                    theirs.close()
                    self._pipes.append(ours)
                    self._processes.append(process)
        except BaseException:  # Ctrl-C too: no worker is left that waits for orders
            self._end()
            raise

    def __enter__(self) -> Fleet:
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__(None, None, None)
        self._end()

    def _end(self) -> None:
        """End all workers, at once and together; each gives up what is in flight and closes its journal."""
        if any(process.is_alive() for process in self._processes):
            self.abort()
        for pipe in self._pipes:
            pipe.close()
        deadline_s = time.monotonic() + _CLOSE_S
        for process in self._processes:
            process.join(max(0.0, deadline_s - time.monotonic()))
            if process.is_alive():
                process.kill()  # it may wait for a lock whose owner is dead
                process.join()

    @property
    def n_workers(self) -> int:
        """How many processes there are."""
        return len(self._processes)

    def share_users(self, n_users: int) -> list[int]:
        """How many of `n_users` each worker gets."""
        whole, rest = divmod(n_users, self.n_workers)
        return [whole + (i < rest) for i in range(self.n_workers)]

    def run_point(
        self,
        orders: Sequence[PointOrder],
        on_progress: Callable[[ProgressSnapshot], None] = lambda _: None,
        max_failed: int | None = None,
    ) -> list[WorkerReport]:
        """Run one order per worker together, from a common start to the last row. Raises RunError if a worker dies.

        The point ends early when its server is gone, or when more than max_failed requests fail: see `breaker`.
        """
        self._cursor.value = 0
        self.breaker.arm(sum(order.n_users for order in orders), max_failed)
        firsts = [0, *accumulate(order.n_users for order in orders)]
        orders = [replace(order, first_user=first) for order, first in zip(orders, firsts, strict=False)]
        for i in range(len(self._progress)):
            self._progress[i] = 0.0
        try:
            self._send(orders)
            for answer in self._gather(on_progress, _START_S + self._connect_s):
                assert answer == "ready"
            self._send([now_ns() + _START_DELAY_NS] * self.n_workers)
            return self._gather(on_progress)
        except BaseException:
            self._end()  # before anyone reads the journals
            raise

    def _send(self, what: Sequence[Any]) -> None:
        for worker, (pipe, item) in enumerate(zip(self._pipes, what, strict=True)):
            try:
                reach("order")
                pipe.send(item)
            except OSError:
                raise self._death(worker) from None

    def _gather(self, on_progress: Callable[[ProgressSnapshot], None], most_s: float | None = None) -> list[Any]:
        """One answer of each worker, in their order. most_s: how long that may take; None: as long as they live."""
        answers: dict[int, Any] = {}
        began_s = time.monotonic()
        while len(answers) < self.n_workers:
            if most_s is not None and time.monotonic() - began_s > most_s:
                late = next(i for i in range(self.n_workers) if i not in answers)
                raise RunError(
                    "a measuring process does not start", where=f"worker {late}", given=f"nothing for {most_s:g} s"
                )
            waiting = {self._pipes[i]: i for i in range(self.n_workers) if i not in answers}
            sentinels = {self._processes[i].sentinel: i for i in waiting.values()}
            for ready in wait([*waiting, *sentinels], timeout=0.25):
                if isinstance(ready, Pipe):
                    answers[waiting[ready]] = self._receive(waiting[ready])
                elif sentinels[ready] not in answers and not self._pipes[sentinels[ready]].poll():  # type: ignore[index]
                    raise self._death(sentinels[ready])  # type: ignore[index]
            on_progress(self.progress())
        return [answers[i] for i in range(self.n_workers)]

    def _receive(self, worker: int) -> Any:
        try:
            answer = self._pipes[worker].recv()
        except (EOFError, OSError):
            raise self._death(worker) from None
        if isinstance(answer, RunError):
            raise answer
        return answer

    def _death(self, worker: int) -> RunError:
        self._processes[worker].join(_CLOSE_S)
        code = self._processes[worker].exitcode
        return RunError(
            "a measuring process died; its finished rows are kept",
            where=f"worker {worker}",
            given=f"exit code {code}",
            hint="measure this point again",
        )

    def progress(self) -> ProgressSnapshot:
        """The live figures."""
        numbers = list(self._progress)
        done, failed, tokens, ttft_sum, ttft_n = (sum(numbers[k::5]) for k in range(5))
        return ProgressSnapshot(int(done), int(failed), int(tokens), ttft_sum / ttft_n if ttft_n else None)

    def drain(self) -> None:
        """Send nothing new; what is in flight may finish."""
        self._signal.value = max(self._signal.value, DRAIN)

    def abort(self) -> None:
        """Give up what is in flight."""
        self._signal.value = ABORT

    @property
    def stopping(self) -> bool:
        """True after drain or abort."""
        return bool(self._signal.value != RUN)
