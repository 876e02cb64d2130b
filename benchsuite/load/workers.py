"""Measuring processes: the virtual users of a point spread over workers that share one cursor.

The parent conducts and draws; only workers touch the server under load. They share a few integers (the cursor, a stop
signal, the length of each server's queue) and a row of progress numbers each; no row of data passes between processes:
every worker writes its own journal. A run is exact for any number of workers, since each index is taken once whoever
takes it.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import accumulate
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

from benchsuite.clock import now_ns
from benchsuite.errors import RunError
from benchsuite.load.breaker import Breaker
from benchsuite.load.orders import (
    ABORT,
    DRAIN,
    GROUP_SIGNALS,
    RUN,
    PointOrder,
    Progress,
    Shared,
    WorkerReport,
    WorkerSetup,
)
from benchsuite.load.worker import worker_main

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
                with _signals_held_back():
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
        on_progress: Callable[[Progress], None] = lambda _: None,
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
                pipe.send(item)
            except OSError:
                raise self._death(worker) from None

    def _gather(self, on_progress: Callable[[Progress], None], most_s: float | None = None) -> list[Any]:
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

    def progress(self) -> Progress:
        """The live figures."""
        numbers = list(self._progress)
        done, failed, tokens, ttft_sum, ttft_n = (sum(numbers[k::5]) for k in range(5))
        return Progress(int(done), int(failed), int(tokens), ttft_sum / ttft_n if ttft_n else None)

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
