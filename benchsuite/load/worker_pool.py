"""Worker processes: the virtual users of a point spread over workers that share one cursor.

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
import secrets
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from operator import setitem
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncio_throttle.throttler import Throttler

from benchsuite import keep_pandas_out
from benchsuite.client.connection import SEEN_TO_LINGER, Connection, Link
from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, EncodedRequest, KeptTexts, PointContext, http_head, json_body
from benchsuite.clock import now_ns
from benchsuite.errors import RunError, os_error_as
from benchsuite.fault_points import reach
from benchsuite.file_list import FileList
from benchsuite.load.open_loop import OpenLoopLoad
from benchsuite.load.schedule import SALT_CHARS, PointPlan
from benchsuite.load.virtual_users import CircuitBreaker, ClientState, PointLoad, Preflight, Slot, is_refusal, limits_ns
from benchsuite.progress import ProgressSnapshot
from benchsuite.records import RequestRecord
from benchsuite.redact import mask_stream, remember_key
from benchsuite.store.journal import Journal
from benchsuite.workload.dataset import Prompt, copy_numbers

if TYPE_CHECKING:
    from benchsuite.load.virtual_users import Driver
    from benchsuite.spec import DriverName, SweepSpec

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):
    from uvloop import new_event_loop as _new_event_loop

_MOST_IN_MEMORY, _MOST_BYTES = 2**14, 2**24  # requests of a set that a process keeps ready; of a larger one none


class RequestBodies:
    """The bodies of a set's requests to one kind of server, encoded once, in an unnamed file that all processes read.

    No measuring process holds the set, and none encodes while a point runs. The file has no key in it: that is in the
    head. The points' salts go where the mark was cut out.
    """

    def __init__(self, prompts: Sequence[Prompt], plan: BodyPlan) -> None:
        mark = secrets.token_hex(SALT_CHARS // 2)
        marked, self.stream = replace(plan, salt=mark), plan.stream
        self.file = FileList[tuple[Any, ...]]()
        for prompt, copy in zip(prompts, copy_numbers(prompts), strict=True):
            parts = json_body(marked.body(prompt)).split(mark.encode())
            self.file.append((copy, parts, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt)))

    def requests(
        self, order: Sequence[int], endpoint: Endpoint, salt: Callable[[int], str], *, again: bool = False
    ) -> Sequence[EncodedRequest]:
        """The requests in this order; of a large set each is read when it is sent. salt: of a copy's number.

        again: the set begins anew behind its end, as copies.
        """
        large = len(order) > _MOST_IN_MEMORY or self.file.n_bytes > _MOST_BYTES
        file = self.file if large or not again else [*self.file]
        requests = _Requests(file, order, lru_cache(partial(http_head, endpoint, stream=self.stream)), salt)
        return requests if large or again else [*requests]


@dataclass(frozen=True, slots=True)
class _Requests(Sequence[EncodedRequest]):
    file: Sequence[tuple[Any, ...]]
    order: Sequence[int]
    head: Callable[[int], bytes]
    salt: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[EncodedRequest]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: Any) -> Any:
        lap, place = divmod(place, len(self.order))
        copy, parts, *row = self.file[self.order[place]]
        body = self.salt(copy + lap * len(self.order)).encode().join(parts)
        return EncodedRequest(self.head(len(body)) + body, *row)


RUN, DRAIN, ABORT = 0, 1, 2  # values of the shared signal
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what whole process groups are sent


@dataclass(frozen=True, slots=True)
class PointOrder:
    """A worker's share of a point, or of its warm-up (journal None): n_users, the first of them number first_user.

    Of an open loop: n_users connections that are opened beforehand. A warm-up repeats its requests until
    `plan.warmup_requests` are sent and `plan.warmup_min_s` is over.
    """

    plan: PointPlan
    n_users: int
    first_user: int
    journal: Path | None


class WorkerReport(NamedTuple):
    """How one worker's part of a point went; its counts are in the shared progress, its rows in its journal."""

    state: ClientState
    first_error: str | None
    texts: Mapping[str, str]  # what was generated, by request_id, where it is to be counted


@dataclass(frozen=True, slots=True)
class SharedCounters:
    """What all processes of a run share."""

    cursor: Any
    signal: Any
    progress: Any  # _NUMBERS of each worker; the last one moves as long as it lives
    waiting: Any  # the queue of each endpoint
    breaker: CircuitBreaker


# and the places of an open loop's requests among them: of its window not ended, and due so far
_SYNC_NS, _NUMBERS, _OPEN, _ISSUED = 1_000_000_000, 8, 5, 6


class _RowSink:
    """Takes finished rows: counts them where the parent can see, and journals them when the point is measured."""

    def __init__(self, journal: Journal | None, show: Callable[[list[float]], None], breaker: CircuitBreaker) -> None:
        self._journal, self._show, self._breaker = journal, show, breaker
        self.on_tick: Callable[[], None] = lambda: None
        self.of_open_loop: Callable[[], tuple[int, int]] = lambda: (0, 0)  # of its window not ended, and due so far
        self._n_ok = self._n_failed = self._output_tokens = self._n_ttft = self._n_ticks = 0
        self._ttft_sum_s = 0.0
        self._synced_ns = now_ns()
        self._syncer = ThreadPoolExecutor(1) if journal else None
        self._syncing: Future[None] | None = None
        self.first_error: str | None = None

    def append(self, row: RequestRecord) -> None:
        start_s, end_s = row.window_start_s, row.window_end_s
        if start_s is None or end_s is None or start_s <= row.scheduled_s < end_s:  # not an open loop's warm-up or tail
            if row.status == "ok":
                self._n_ok += 1
            else:
                self._n_failed += 1
                self.first_error = self.first_error or f"{row.status}: {row.error}"
            self._output_tokens += row.output_tokens or 0
            if row.first_token_s is not None and row.sent_s is not None:
                self._ttft_sum_s += row.first_token_s - (row.sent_s if start_s is None else row.scheduled_s)
                self._n_ttft += 1
        self._breaker.note(row)
        if self._journal is not None:
            self._journal.append(row)

    def tick(self, at_ns: int) -> None:
        self._n_ticks += 1
        counts = [self._n_ok, self._n_failed, self._output_tokens, self._ttft_sum_s, self._n_ttft]
        self._show([*counts, *self.of_open_loop(), self._n_ticks])
        if self._journal is not None and self._syncer is not None:
            self._journal.flush_if_due(at_ns)
            if self._syncing is not None and self._syncing.done():
                syncing, self._syncing = self._syncing, None
                syncing.result()  # the system reports a failed write once, and not again when the journal is closed
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


@dataclass
class Worker:
    """A measuring process: made by the parent, run in a process of its own.

    Of the spec it gets plain values, for each process would take a third of a second to import pydantic.
    """

    preflight: Preflight
    bodies: tuple[RequestBodies, ...]  # for the servers under test, and for the fallback
    shared: SharedCounters
    context: PointContext  # what its rows share
    driver: DriverName
    n_workers: int
    connect_s: float
    limits: tuple[int, int, int]  # of `limits_ns`
    pause_s: float | None  # between its requests, where a rate is capped
    refusals: frozenset[int]  # HTTP statuses on which a request goes to the fallback
    max_waiting: int | None  # at an endpoint, before requests go to the fallback untried
    count_texts: bool  # whether what is generated goes back to the parent, which counts it

    def run(self, pipe: Pipe) -> None:
        """Run the points that the parent orders until it hangs up."""
        # Ctrl-C, a lost terminal and a job's end reach the whole process group; the parent decides what they mean
        for number in GROUP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
        mask_stream(sys.stderr)
        try:
            keep_pandas_out()
            self._parent = os.getppid()
            loop = _new_event_loop()
            asyncio.set_event_loop(loop)
            with contextlib.suppress(EOFError):
                while True:
                    order = pipe.recv()
                    reach("order")
                    pipe.send(loop.run_until_complete(self._point(order, pipe)))
        except RunError as error:
            with contextlib.suppress(OSError):
                pipe.send(error)
        except BaseException as error:
            where = f"worker {self.context.worker}"
            given = str(error) if isinstance(error, OSError) else traceback.format_exc()
            with contextlib.suppress(OSError):
                pipe.send(RunError("a measuring process failed", where=where, given=given))

    async def _point(self, order: PointOrder, pipe: Pipe) -> WorkerReport:
        shared, worker = self.shared, self.context.worker
        self._texts = KeptTexts() if self.count_texts and order.journal else None
        new_slot = self._new_slot(order)

        def show(numbers: list[float]) -> None:
            shared.progress[worker * _NUMBERS : (worker + 1) * _NUMBERS] = numbers

        pause: Callable[[], Awaitable[object]] | None = None  # keeps all workers together under max_request_rate
        if self.pause_s is not None:
            # one at a time, evenly: with a larger allowance the throttler would let bursts through
            retry_s = min(0.01, self.pause_s / 4)
            pause = Throttler(rate_limit=1, period=self.pause_s, retry_interval=retry_s).acquire
        sink = _RowSink(Journal(order.journal) if order.journal else None, show, shared.breaker)
        try:
            loop, n_endpoints = order.plan.open_loop, len(self.preflight.endpoints)
            if loop is None:
                # user i of all workers' users is at endpoint i modulo their number
                slots = [new_slot((order.first_user + i) % n_endpoints) for i in range(order.n_users)]
                load = PointLoad(slots, self._take(order), self.limits, sink, pause)
            else:
                offsets_ns = order.plan.offsets_ns[worker :: self.n_workers]
                load = OpenLoopLoad(
                    loop, offsets_ns.tolist(), (worker, self.n_workers), new_slot, n_endpoints, order.n_users,
                    self.limits, sink, lambda: int(sum(shared.progress[_OPEN::_NUMBERS])),
                    partial(setitem, shared.progress, worker * _NUMBERS + _ISSUED),
                )  # fmt: skip
                sink.of_open_loop = lambda: (load.n_window_open, load.state.n_issued)

            def check_abort() -> None:
                wanted = shared.signal.value
                if wanted == DRAIN:
                    load.stop()
                elif wanted == ABORT or os.getppid() != self._parent:
                    load.abort()
                elif shared.breaker.tripped:
                    load.abort("cancelled", "the point was aborted")

            sink.on_tick = check_abort
            await load.connect()
            pipe.send("ready")
            start_ns: int = pipe.recv()
            state = await load.run(start_ns)
        finally:
            sink.close()
        return WorkerReport(state, sink.first_error, self._texts or {})

    def _new_slot(self, order: PointOrder) -> Callable[[int], Slot]:
        """What makes a slot at the k-th endpoint."""
        probed = self.preflight

        @cache
        def maker(k: int) -> Callable[[], Slot]:
            return self._slot_maker(order, probed, self.bodies[0], k)

        if probed.fallback is None or order.journal is None:  # a warm-up is not worth an API's bill
            return lambda k: maker(k)()
        most, waiting = self.max_waiting, self.shared.waiting
        refuses = partial(is_refusal, self.refusals)

        def full(k: int) -> bool:
            """More requests than allowed wait at endpoint k, as the parent read it last."""
            return most is not None and bool(waiting[k] > most)

        api_slot = self._slot_maker(order, probed.fallback, self.bodies[1], 0)
        return lambda k: replace(maker(k)(), fallback=api_slot(), refuses=refuses, full=partial(full, k))

    def _slot_maker(self, order: PointOrder, probed: Preflight, bodies: RequestBodies, k: int) -> Callable[[], Slot]:
        """Makes slots of users at the k-th endpoint, whose link and requests they share."""
        point, endpoint = order.plan, probed.endpoints[k]
        salt = lru_cache(lambda copy: point.salt(copy=copy) if order.journal else point.salt("warm-up"))
        for secret in endpoint.secrets:  # in this process too, which stores what the server says
            remember_key(secret)
        link = Link(asyncio.get_running_loop(), endpoint, self.connect_s)
        link.closes_after_response = probed.closes_after_response
        link.lingering = SEEN_TO_LINGER if probed.body_lingers else 0  # no measured point waits to learn it
        requests = bodies.requests(point.order, endpoint, salt, again=point.open_loop is not None)
        context = replace(
            self.context,
            point_id=point.point_id,
            concurrency=point.level.concurrency,
            repeat=point.repeat,
            attempt=point.attempt,
            endpoint=endpoint.base_url,
            texts=self._texts,
        )
        new_driver = self._driver_maker(link)
        return lambda: Slot(new_driver(), link, requests, context)

    def _driver_maker(self, link: Link) -> Callable[[], Driver]:
        if self.driver == "wire":
            return partial(Connection, link)
        # libraries take keys, organisations, headers, proxies and addresses from it, each release others; this process
        # is ours, and what it sends is in its order
        for name in os.environ.keys() - {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            del os.environ[name]
        # imported only here: a measuring process that uses its own sockets carries no other HTTP library
        from benchsuite.client.reference_clients import HttpxDriver, OpenAIDriver, httpx_client, openai_client

        match self.driver:
            case "httpx":
                return partial(HttpxDriver, link)
            case "httpx-shared":
                return partial(HttpxDriver, link, httpx_client(link))
            case "openai":
                return partial(OpenAIDriver, link, openai_client(link))

    def _take(self, order: PointOrder) -> Callable[[], int | None]:
        """What gives the next index of the cursor that all workers share; None at the end."""
        cursor, point, n = self.shared.cursor, order.plan, order.plan.n_requests
        counter, until_ns = cursor.get_obj(), 0
        lock = cursor.get_lock() if self.n_workers > 1 else contextlib.nullcontext()  # alone: nobody to share with

        def next_index() -> int:
            with lock:
                index: int = counter.value
                counter.value = index + 1
            return index

        def take() -> int | None:
            index = next_index()
            return index if index < n else None

        def take_warmup() -> int | None:
            nonlocal until_ns
            at_ns = now_ns()
            until_ns = until_ns or at_ns + int(point.warmup_min_s * 1e9)
            index = next_index()
            return index % n if index < point.warmup_requests or at_ns < until_ns else None

        return take if order.journal else take_warmup


_START_DELAY_NS = 20_000_000
_CLOSE_S = 5.0
_START_S = 120.0  # for a worker to start and prepare its requests; connecting has its own limit
_SILENT_S = 60.0  # beyond which a worker that should tick every 10 ms hangs or is stopped


@contextmanager
def signals_handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """`handler` takes these signals in the block; in the main thread, which alone gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def signals_delayed(*, second_at_once: bool = True) -> Iterator[None]:
    """A signal of the group that comes in the block is handled at its end; a second Ctrl-C at once."""
    late: list[int] = []

    def delay(number: int, _: FrameType | None) -> None:
        if second_at_once and number == signal.SIGINT and number in late:
            raise KeyboardInterrupt
        late.append(number)

    try:
        with signals_handled(GROUP_SIGNALS, delay):
            yield
    finally:
        for number in late[:1]:
            signal.raise_signal(number)


@contextmanager
def _starting_processes() -> Iterator[None]:
    """What is started here gets no signal of the group before it says that it takes none; ours come afterwards.

    A spawned process imports the caller's __main__ again, which may be a script without a guard: ours needs none.
    """
    what, hint = "a measuring process cannot be started", "check ulimit -u, the free memory and /dev/shm"
    # signals that are blocked would still interrupt this thread: by way of any other
    with os_error_as(RunError, what, hint=hint), signals_delayed(second_at_once=False):
        before, main = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS), sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _without_bodies(probed: Preflight) -> Preflight:
    """What a worker needs of it: the bodies are made, and what they are made of may be longer than a pipe."""
    plan = replace(probed.plan, sampling={}, extra_body={}, system_prompt=None)
    return replace(probed, plan=plan, facts={}, fallback=probed.fallback and _without_bodies(probed.fallback))


def _limit_waits(pipe: Pipe) -> None:
    """No write to a process that does not read, and no read of half a message, waits longer than _SILENT_S."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(_SILENT_S), 0))


class WorkerPool:
    """The worker processes of a run, whose times count from origin_ns. Use as a context manager.

    waiting: where they read how many requests wait at each endpoint.
    """

    def __init__(
        self, probed: Preflight, spec: SweepSpec, prompts: Sequence[Prompt], run_id: str, origin_ns: int
    ) -> None:
        context, self.n_workers = multiprocessing.get_context("spawn"), spec.load.n_workers
        with _starting_processes():  # from the process too with which Python tracks what is shared
            self._shared = SharedCounters(
                cursor=context.Value("q", 0),
                signal=context.Value("i", RUN, lock=False),
                progress=context.Array("d", _NUMBERS * self.n_workers, lock=False),
                waiting=context.Array("i", len(probed.endpoints), lock=False),
                breaker=CircuitBreaker(context.Array("q", 5)),
            )
        self.breaker = self._shared.breaker
        rate, fallback, self._connect_s = spec.load.max_request_rate, spec.server.fallback, spec.timeouts.connect_s
        plans = [probed.plan, *([probed.fallback.plan] if probed.fallback else [])]
        body = Worker(
            _without_bodies(probed),
            tuple(RequestBodies(prompts, plan) for plan in plans),
            self._shared,
            PointContext(run_id, "", None, 0, 0, origin_ns, probed.plan.stream, spec.workload.save_text),
            spec.load.driver,
            self.n_workers,
            self._connect_s,
            limits_ns(spec.timeouts),
            pause_s=self.n_workers / rate if rate else None,
            refusals=frozenset(int(word) for word in fallback.on if word != "queue") if fallback else frozenset(),
            max_waiting=fallback.max_waiting if fallback else None,
            count_texts=spec.workload.tokenizer is not None,
        )
        self.waiting: MutableSequence[int] = self._shared.waiting
        self._pipes: list[Pipe] = []
        self._processes = []
        try:
            for worker in range(self.n_workers):
                ours, theirs = context.Pipe()
                _limit_waits(ours)
                body = replace(body, context=replace(body.context, worker=worker))
                name = f"benchsuite-worker-{worker}"
                process = context.Process(target=body.run, args=(theirs,), name=name, daemon=True)
                with _starting_processes():
                    reach("spawn")
                    process.start()
                    theirs.close()
                    self._pipes.append(ours)
                    self._processes.append(process)
        except BaseException:  # Ctrl-C too: no worker is left that waits for orders
            self.__exit__()
            raise
        finally:
            for bodies in body.bodies:
                bodies.file.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers, at once and together; each gives up what is in flight and closes its journal."""
        if any(process.is_alive() for process in self._processes):
            self.abort()
        for pipe in self._pipes:
            pipe.close()
        deadline_s = time.monotonic() + _CLOSE_S
        try:
            for process in self._processes:
                process.join(max(0.0, deadline_s - time.monotonic()))
        finally:  # Ctrl-C again, too
            self._kill()  # it may wait for a lock whose owner is dead
            for process in self._processes:
                process.join(_CLOSE_S)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def run_point(
        self,
        plan: PointPlan,
        journal_path: Callable[[int], Path] | None,
        on_progress: Callable[[ProgressSnapshot], None] = lambda _: None,
        max_failed: int | None = None,
    ) -> list[WorkerReport]:
        """Run the point's users, dealt out to the workers, from a common start to the last row.

        journal_path: of each worker; None for a warm-up. The point ends early when its server is gone, or when more
        than max_failed requests fail: see `breaker`. Raises RunError if a worker dies.
        """
        shared, n = self._shared, self.n_workers
        shared.cursor.get_obj().value = 0
        self.breaker.arm(plan.users, max_failed)
        whole, rest = divmod(plan.users if plan.open_loop is None else plan.open_loop.connections, n)
        orders = [
            PointOrder(
                plan,
                n_users=whole + (worker < rest),
                first_user=worker * whole + min(worker, rest),
                journal=journal_path and journal_path(worker),
            )
            for worker in range(n)
        ]
        shared.progress[:] = [0.0] * len(shared.progress)
        try:
            self._send(orders)
            for answer in self._gather(on_progress, _START_S + self._connect_s):
                assert answer == "ready"
            self._send([now_ns() + _START_DELAY_NS] * n)
            return self._gather(on_progress)
        except BaseException:
            self.__exit__()  # before anyone reads the journals
            raise

    def _send(self, what: Sequence[Any]) -> None:
        for worker, (pipe, item) in enumerate(zip(self._pipes, what, strict=True)):
            try:
                reach("order")
                pipe.send(item)
            except OSError:
                raise self._death(worker) from None

    def _gather(self, on_progress: Callable[[ProgressSnapshot], None], most_s: float | None = None) -> list[Any]:
        """One answer of each worker, in their order. most_s: how long that may take; None: as long as they tick."""
        answers: dict[int, Any] = {}
        began_s = looked_s = time.monotonic()
        ticks, silent_s = self._ticks(), [0.0] * self.n_workers
        while len(answers) < self.n_workers:
            now_s = time.monotonic()
            for i, (before, n) in enumerate(zip(ticks, ticks := self._ticks(), strict=True)):
                # in short steps: while this process was stopped itself, nobody was silent
                silent_s[i] = 0.0 if n != before else silent_s[i] + min(now_s - looked_s, 1.0)
                if most_s is None and i not in answers and silent_s[i] > _SILENT_S:
                    raise self._death(i)
            looked_s = now_s
            if most_s is not None and time.monotonic() - began_s > most_s:
                late = next(i for i in range(self.n_workers) if i not in answers)
                raise RunError(
                    "a measuring process does not start", where=f"worker {late}", given=f"nothing for {most_s:g} s"
                )
            waiting = {self._pipes[i]: i for i in range(self.n_workers) if i not in answers}
            for ready in wait(list(waiting), timeout=0.25):
                assert isinstance(ready, Pipe)
                try:
                    answer = ready.recv()
                except (EOFError, OSError):  # only the worker holds its end: this is its death
                    raise self._death(waiting[ready]) from None
                if isinstance(answer, RunError):
                    raise answer
                answers[waiting[ready]] = answer
            on_progress(self.progress())
        return [answers[i] for i in range(self.n_workers)]

    def _ticks(self) -> list[float]:
        return list(self._shared.progress[_NUMBERS - 1 :: _NUMBERS])

    def _death(self, worker: int) -> RunError:
        self._processes[worker].join(_CLOSE_S)
        code = self._processes[worker].exitcode
        return RunError(
            f"a measuring process {'hangs or is stopped' if code is None else 'died'}; its finished rows are kept",
            where=f"worker {worker}",
            given=f"nothing for {_SILENT_S:g} s" if code is None else f"exit code {code}",
            hint="measure this point again",
        )

    def progress(self) -> ProgressSnapshot:
        numbers = list(self._shared.progress)
        done, failed, tokens, ttft_sum, ttft_n = (sum(numbers[k::_NUMBERS]) for k in range(5))
        return ProgressSnapshot(int(done), int(failed), int(tokens), ttft_sum / ttft_n if ttft_n else None)

    def n_issued(self, plan: PointPlan) -> int:
        """How many requests of the point that was run last were taken, or due: by processes that died, too."""
        if plan.open_loop is None:
            return min(int(self._shared.cursor.get_obj().value), plan.n_requests)
        return int(sum(self._shared.progress[_ISSUED::_NUMBERS]))

    def drain(self) -> None:
        """Send nothing new; what is in flight may finish."""
        self._shared.signal.value = max(self._shared.signal.value, DRAIN)

    def abort(self) -> None:
        """Give up what is in flight; a worker that does not is killed after 5 s."""
        self._shared.signal.value = ABORT
        killer = threading.Timer(_CLOSE_S, self._kill)
        killer.daemon = True
        killer.start()

    @property
    def aborted(self) -> bool:
        return bool(self._shared.signal.value == ABORT)

    @property
    def stopping(self) -> bool:
        return bool(self._shared.signal.value != RUN)
