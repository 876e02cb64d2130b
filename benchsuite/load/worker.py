"""A measuring process: its requests, its share of a point or of a search, its rows and what it tells the parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from multiprocessing.connection import Connection as Pipe
from operator import setitem
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncio_throttle.throttler import Throttler

from benchsuite import keep_pandas_out
from benchsuite.client.connection import SEEN_TO_LINGER, Connection, Link
from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, EncodedRequest, KeptTexts, PointContext, http_head, json_body
from benchsuite.clock import now_ns
from benchsuite.errors import RunError
from benchsuite.fault_points import reach
from benchsuite.file_list import FileList
from benchsuite.load.hand_over import HandOverLoad, HandOverRates, ProbeShare
from benchsuite.load.open_loop import OpenLoopLoad
from benchsuite.load.schedule import SALT_CHARS, PointPlan
from benchsuite.load.virtual_users import CircuitBreaker, ClientState, PointLoad, Preflight, Slot, is_refusal
from benchsuite.records import RequestRecord
from benchsuite.redact import mask_stream, remember_key
from benchsuite.store.journal import Journal
from benchsuite.workload.dataset import Prompt, copy_numbers

if TYPE_CHECKING:
    from benchsuite.load.virtual_users import Driver
    from benchsuite.spec import DriverName

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
    hands_over: bool = False  # takes the place of the point before without draining


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
    progress: Any  # NUMBERS of each worker; the last one moves as long as it lives
    waiting: Any  # the queue of each endpoint
    breaker: CircuitBreaker


# and the places of an open loop's requests among them: of its window not ended, and due so far
_SYNC_NS, NUMBERS, _OPEN, ISSUED = 1_000_000_000, 8, 5, 6


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
                self._ttft_sum_s += row.first_token_s - (row.sent_s if row.rate_per_s is None else row.scheduled_s)
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

    def hide(self) -> None:
        """Another sink's counts are shown from now on."""
        self._show, self.on_tick = lambda _: None, lambda: None

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
                    load = self._search if order.hands_over else self._point
                    pipe.send(loop.run_until_complete(load(order, pipe)))
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

        sink, pause = self._sink(order), self._pause()
        try:
            loop, n_endpoints = order.plan.open_loop, len(self.preflight.endpoints)
            if loop is None:
                slots = [_dealt(new_slot, order.first_user, n_endpoints, i) for i in range(order.n_users)]
                load = PointLoad(slots, self._take(order), self.limits, sink, pause)
            else:
                offsets_ns = order.plan.offsets_ns[worker :: self.n_workers]
                load = OpenLoopLoad(
                    loop, offsets_ns.tolist(), (worker, self.n_workers), new_slot, n_endpoints, order.n_users,
                    self.limits, sink, lambda: int(sum(shared.progress[_OPEN::NUMBERS])),
                    partial(setitem, shared.progress, worker * NUMBERS + ISSUED),
                )  # fmt: skip
                sink.of_open_loop = lambda: (load.n_window_open, load.state.n_issued)

            sink.on_tick = partial(self._check_abort, load)
            await load.connect()
            pipe.send("ready")
            start_ns: int = pipe.recv()
            state = await load.run(start_ns)
        finally:
            sink.close()
        return WorkerReport(state, sink.first_error, self._texts or {})

    async def _search(self, order: Any, pipe: Pipe) -> WorkerReport:
        """Probes that hand over to each other: "ready" once a probe's connections are there, when it is told the
        probe's start; "begun"; then the report of the one before, with its last request. Until DRAIN is ordered, or
        ABORT, which gives up what is in flight."""
        orders = asyncio.Queue[Any]()
        loop, n_endpoints = asyncio.get_running_loop(), len(self.preflight.endpoints)
        load: HandOverLoad | HandOverRates
        if order.plan.open_loop is None:
            load = HandOverLoad(self._next_index, self.limits, self._pause())
        else:
            self._texts = None
            load = HandOverRates(
                order.plan, (self.context.worker, self.n_workers), self._new_slot(order), n_endpoints, self.limits,
                lambda _: self._next_index(),  # which counts them, whoever dies
            )  # fmt: skip
        await load.connect()

        def ordered() -> None:
            try:
                orders.put_nowait(pipe.recv())
            except (EOFError, OSError):
                loop.remove_reader(pipe.fileno())
                orders.put_nowait(DRAIN)

        async def following() -> Any:
            wanted = loop.create_task(orders.get())
            await asyncio.wait({wanted, running}, return_when="FIRST_COMPLETED")
            if running.done():
                running.result()  # rows that cannot be kept end the search
            return await wanted

        loop.add_reader(pipe.fileno(), ordered)
        os.set_blocking(pipe.fileno(), True)  # which uvloop changes
        running, shares = loop.create_task(load.run(now_ns())), list[ProbeShare]()
        await asyncio.sleep(0)  # it ticks
        try:
            while isinstance(order, PointOrder):
                self._texts = KeptTexts() if self.count_texts else None
                sink, new_slot = self._sink(order), self._new_slot(order)
                sink.on_tick = partial(self._check_abort, load)
                slots = [new_slot(k) for k in range(n_endpoints)]
                share = ProbeShare(
                    order.plan,
                    order.n_users,
                    sink,
                    partial(_dealt, new_slot, 0 if order.plan.open_loop else order.first_user, n_endpoints),
                    {slot.context.endpoint: slot for slot in slots},
                )
                shares.append(share)
                await load.prepare(share)
                pipe.send("ready")
                start_ns = await following()
                if start_ns in (DRAIN, ABORT):  # nobody is there any more
                    order = start_ns
                    break
                before = await load.hand_over(share, start_ns)
                sink.tick(now_ns())  # its counts are shown, and no longer those of the one before
                pipe.send("begun")
                if before is not None:
                    over = loop.create_task(before.over.wait())
                    await asyncio.wait({running, over}, return_when="FIRST_COMPLETED")
                    over.cancel()
                    pipe.send(await self._close(shares.pop(0)))
                order = await following()
                reach("order")
            if order == ABORT:
                load.abort("cancelled", "more requests came than ended")
            else:
                load.stop()
            await running
            return await self._close(shares.pop(0))
        finally:
            loop.remove_reader(pipe.fileno())
            if not running.done():  # whoever ordered it is gone: what is in flight is a row all the same
                load.abort()
                await asyncio.wait({running})
            for share in shares:
                share.sink.close()

    async def _close(self, share: ProbeShare) -> WorkerReport:
        """Its journal is closed in a thread, as forcing it onto the disk takes its time."""
        sink = share.sink
        assert isinstance(sink, _RowSink)
        await asyncio.get_running_loop().run_in_executor(None, sink.close)
        return WorkerReport(share.state, sink.first_error, next(iter(share.templates.values())).context.texts or {})

    def _sink(self, order: PointOrder) -> _RowSink:
        shared, first = self.shared, self.context.worker * NUMBERS

        def show(numbers: list[float]) -> None:
            shared.progress[first : first + len(numbers)] = numbers

        return _RowSink(Journal(order.journal) if order.journal else None, show, shared.breaker)

    def _pause(self) -> Callable[[], Awaitable[object]] | None:
        """Keeps all workers together under max_request_rate."""
        if self.pause_s is None:
            return None
        # one at a time, evenly: with a larger allowance the throttler would let bursts through
        retry_s = min(0.01, self.pause_s / 4)
        return Throttler(rate_limit=1, period=self.pause_s, retry_interval=retry_s).acquire

    def _check_abort(self, load: PointLoad) -> None:
        wanted = self.shared.signal.value
        if wanted == DRAIN:
            load.stop()
        elif wanted == ABORT or os.getppid() != self._parent:
            load.abort()
        elif self.shared.breaker.tripped:
            load.abort("cancelled", "the point was aborted")

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
        requests = bodies.requests(point.order, endpoint, salt, again=point.open_loop is not None or order.hands_over)
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

    def _next_index(self) -> int:
        cursor = self.shared.cursor
        counter = cursor.get_obj()
        with cursor.get_lock() if self.n_workers > 1 else contextlib.nullcontext():  # alone: nobody to share with
            index: int = counter.value
            counter.value = index + 1
        return index

    def _take(self, order: PointOrder) -> Callable[[], int | None]:
        """What gives the next index of the cursor that all workers share; None at the end."""
        point, n, until_ns, next_index = order.plan, order.plan.n_requests, 0, self._next_index

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


def _dealt(new_slot: Callable[[int], Slot], first_user: int, n_endpoints: int, i: int) -> Slot:
    """Of a process's i-th user: user i of all workers' users is at endpoint i modulo their number."""
    return new_slot((first_user + i) % n_endpoints)
