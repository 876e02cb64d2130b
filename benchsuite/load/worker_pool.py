"""Worker processes: the virtual users of a point spread over workers that share one cursor.

The parent conducts and draws; only workers touch the server under load. They share a few integers (the cursor, a stop
signal, the length of each server's queue) and a row of progress numbers each; no row of data passes between processes:
every worker writes its own journal. A run is exact for any number of workers, since each index is taken once whoever
takes it.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from benchsuite.client.request import PointContext
from benchsuite.clock import now_ns
from benchsuite.errors import RunError, os_error_as
from benchsuite.fault_points import reach
from benchsuite.load.schedule import PointPlan
from benchsuite.load.virtual_users import CircuitBreaker, ClientState, Preflight, limits_ns
from benchsuite.load.worker import (
    ABORT,
    DRAIN,
    GROUP_SIGNALS,
    ISSUED,
    NUMBERS,
    RUN,
    PointOrder,
    RequestBodies,
    SharedCounters,
    Worker,
    WorkerReport,
)
from benchsuite.progress import ProgressSnapshot
from benchsuite.telemetry.host import Histogram
from benchsuite.workload.dataset import Prompt

if TYPE_CHECKING:
    from benchsuite.spec import SweepSpec

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

    waiting: where they read how many requests wait at each endpoint. keep_text: rows have the texts of their answers.
    """

    def __init__(
        self,
        probed: Preflight,
        spec: SweepSpec,
        prompts: Sequence[Prompt],
        run_id: str,
        origin_ns: int,
        *,
        keep_text: bool,
    ) -> None:
        context, self.n_workers = multiprocessing.get_context("spawn"), spec.load.n_workers
        with _starting_processes():  # from the process too with which Python tracks what is shared
            self._shared = SharedCounters(
                cursor=context.Value("q", 0),
                signal=context.Value("i", RUN, lock=False),
                progress=context.Array("d", NUMBERS * self.n_workers, lock=False),
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
            PointContext(run_id, "", None, 0, 0, origin_ns, probed.plan.stream, keep_text),
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
        self._ticks, self._silent_s, self._looked_s = [0.0] * self.n_workers, [0.0] * self.n_workers, 0.0
        self._drained: dict[int, Any] | None = None  # reports so far of the probe before the present one
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

    @contextmanager
    def _ended_on_failure(self) -> Iterator[None]:
        """Whatever goes wrong in the block ends all workers before anyone reads the journals."""
        try:
            yield
        except BaseException:
            self.__exit__()
            raise

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
        self._shared.cursor.get_obj().value = 0
        orders = self._orders(plan, journal_path, max_failed)
        with self._ended_on_failure():
            self._send(orders)
            for answer in self._gather(on_progress, _START_S + self._connect_s):
                assert answer == "ready"
            self._send([now_ns() + _START_DELAY_NS] * self.n_workers)
            return self._gather(on_progress)

    def _orders(
        self,
        plan: PointPlan,
        journal_path: Callable[[int], Path] | None,
        max_failed: int | None,
        *,
        anew: bool = True,
        **more: Any,
    ) -> list[PointOrder]:
        shared, n = self._shared, self.n_workers
        self.breaker.arm(plan.users, max_failed, anew=anew)
        whole, rest = divmod(plan.users if plan.open_loop is None else plan.open_loop.connections, n)
        shared.progress[:] = [0.0] * len(shared.progress)
        return [
            PointOrder(
                plan,
                n_users=whole + (worker < rest),
                first_user=worker * whole + min(worker, rest),
                journal=journal_path and journal_path(worker),
                **more,
            )
            for worker in range(n)
        ]

    def hand_over(
        self,
        plan: PointPlan,
        journal_path: Callable[[int], Path],
        on_progress: Callable[[ProgressSnapshot], None] = lambda _: None,
        *,
        first: bool,
    ) -> None:
        """Let the probe take the place of the one before without draining; from then on it goes on by itself.

        What the one before has in flight ends beside it: `check` and `drained` give its reports, of which the next
        hand-over has to wait. Its requests are numbered on, so that the set begins again, salted anew. Raises RunError
        if a worker dies.
        """
        if first:
            self._shared.cursor.get_obj().value = 0
        with self._ended_on_failure():
            self._send(self._orders(plan, journal_path, None, anew=first, hands_over=True))
            for answer in self._gather(on_progress, _START_S + self._connect_s):
                assert answer == "ready"
            self.handed_over_ns = now_ns() + _START_DELAY_NS
            self._send([self.handed_over_ns] * self.n_workers)
            for answer in self._gather(on_progress, _START_S):
                assert answer == "begun"
            self._drained = None if first else {}

    def drained(self, on_progress: Callable[[ProgressSnapshot], None] = lambda _: None) -> list[WorkerReport] | None:
        """The reports of the probe before the present one, once its last request has ended; None if they were given."""
        if self._drained is None:
            return None
        with self._ended_on_failure():
            reports = self._gather(on_progress, answers=self._drained)
        self._drained = None
        return reports

    def end_probes(
        self, on_progress: Callable[[ProgressSnapshot], None] = lambda _: None, *, give_up: bool = False
    ) -> list[WorkerReport]:
        """Send nothing new; the reports of the last probe, once its last request has ended, or is given up."""
        with self._ended_on_failure():
            self._send([ABORT if give_up else DRAIN] * self.n_workers)
            return self._gather(on_progress)

    def check(self) -> list[WorkerReport] | None:
        """The reports of the probe before the present one if its last request has ended meanwhile, once.

        Raises RunError if a worker has died, failed or fallen silent.
        """
        self._look_for_silence()
        for worker, pipe in enumerate(self._pipes):
            if pipe.poll():
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    raise self._death(worker) from None
                if self._drained is None or not isinstance(answer, WorkerReport):
                    raise answer if isinstance(answer, RunError) else self._death(worker)
                self._drained[worker] = answer
        return None if self._drained is None or len(self._drained) < self.n_workers else self.drained()

    def _send(self, what: Sequence[Any]) -> None:
        for worker, (pipe, item) in enumerate(zip(self._pipes, what, strict=True)):
            try:
                reach("order")
                pipe.send(item)
            except OSError:
                raise self._death(worker) from None

    def _look_for_silence(self, spared: Collection[int] = ()) -> None:
        """Raises RunError for a worker that should tick and does not. spared: these need not."""
        now_s, before, self._ticks = time.monotonic(), self._ticks, list(self._shared.progress[NUMBERS - 1 :: NUMBERS])
        for i, (n_before, n) in enumerate(zip(before, self._ticks, strict=True)):
            # in short steps: while this process was stopped itself, nobody was silent
            still = n == n_before and i not in spared
            self._silent_s[i] = self._silent_s[i] + min(now_s - self._looked_s, 1.0) if still else 0.0
            if self._silent_s[i] > _SILENT_S:
                raise self._death(i)
        self._looked_s = now_s

    def _gather(
        self, on_progress: Callable[[ProgressSnapshot], None], most_s: float | None = None,
        answers: dict[int, Any] | None = None,
    ) -> list[Any]:  # fmt: skip
        """One answer of each worker, in their order. most_s: how long that may take; None: as long as they tick.
        answers: those that came already."""
        answers = {} if answers is None else answers
        began_s = time.monotonic()
        while len(answers) < self.n_workers:
            self._look_for_silence(answers if most_s is None else range(self.n_workers))
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
        done, failed, tokens, ttft_sum, ttft_n = (sum(numbers[k::NUMBERS]) for k in range(5))
        return ProgressSnapshot(int(done), int(failed), int(tokens), ttft_sum / ttft_n if ttft_n else None)

    def n_issued(self, plan: PointPlan | None) -> int:
        """How many requests of the point that was run last were taken, or due: by processes that died, too. None: of
        the probes since the first hand-over."""
        if plan is None or plan.open_loop is None:
            taken = int(self._shared.cursor.get_obj().value)
            return taken if plan is None else min(taken, plan.n_requests)
        return int(sum(self._shared.progress[ISSUED::NUMBERS]))

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


def client_facts(reports: list[WorkerReport]) -> dict[str, Any]:
    """How the measuring processes fared, merged, for the manifest; None where the system does not say."""
    states = [report.state for report in reports]
    facts: dict[str, Any] = {"workers": len(reports)}
    for field in dataclasses.fields(ClientState):
        values = [value for state in states if (value := getattr(state, field.name)) is not None]
        if field.default_factory is Histogram:
            merged = Histogram()
            for value in values:
                merged.merge(value)
            facts[field.name] = merged.summary_us()
        elif field.name in ("wall_s", "cpu_share_max_1s", "steal_s", "clock_steps"):
            facts[field.name] = max(values, default=None)
        else:
            facts[field.name] = sum(values) if values else None
    facts["merged_read_share"] = facts["merged_reads"] / facts["n_reads"] if facts["n_reads"] else None
    for name, field_name in (("cpu_share_mean", "cpu_s"), ("run_queue_wait_share", "run_queue_wait_s")):
        known = [(value, s.wall_s) for s in states if (value := getattr(s, field_name)) is not None and s.wall_s]
        facts[name] = max((value / wall_s for value, wall_s in known), default=None)
    return facts
