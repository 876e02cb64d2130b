"""What samples beside the load: a thread for each sampler, off every event loop, that no failure of a sampler ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchsuite.errors import BenchsuiteError
from benchsuite.records import GpuSample, ServerSample


class Sampler(Protocol):
    """Reads GPUs or servers. `sample` never raises: what cannot be read is null, with the word in the row's `error`.

    period_s: how often to ask. facts: what it found out once, for the manifest. problems: what went wrong so far, each
    once, in words for a person.
    """

    period_s: float

    def sample(self) -> Sequence[GpuSample | ServerSample]: ...

    def facts(self) -> dict[str, Any]: ...

    def problems(self) -> Sequence[str]: ...

    def close(self) -> None: ...


class Log(Protocol):
    """Takes samples; store.SampleLog."""

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None: ...

    def close(self) -> None: ...


class Recorder:
    """Samples into logs until it is closed. Use as a context manager.

    on_problem: called with each new problem's words, from the sampling thread.
    """

    def __init__(
        self, parts: Sequence[tuple[Sampler, Log]], on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        self._parts = list(parts)
        self._on_problem = on_problem
        self._told: set[str] = set()
        self._ended = threading.Event()
        self._locks = [threading.Lock() for _ in self._parts]
        self._threads = [
            threading.Thread(target=self._run, args=(i,), name=f"benchsuite-sampler-{i}", daemon=True)
            for i in range(len(self._parts))
        ]

    def __enter__(self) -> Recorder:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for i, (sampler, log) in enumerate(self._parts):
            with self._locks[i]:
                sampler.close()
                log.close()

    def mark(self) -> None:
        """Sample everything now, at the edge of a window, so that counters can be told apart exactly there."""
        for i in range(len(self._parts)):
            self._sample(i)

    def _run(self, i: int) -> None:
        period_s = self._parts[i][0].period_s
        due_s = time.monotonic()
        while not self._ended.is_set():
            self._sample(i)
            # on a fixed grid; beats that a slow reading missed are left out, not caught up
            due_s = max(due_s + period_s, time.monotonic())
            self._ended.wait(max(0.0, due_s - time.monotonic()))

    def _sample(self, i: int) -> None:
        sampler, log = self._parts[i]
        try:
            with self._locks[i]:
                if not self._ended.is_set():
                    log.append(sampler.sample())
        except BenchsuiteError as error:  # a full disk; the requests' own journal will say so too
            self._tell(str(error))
        for problem in sampler.problems():
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._on_problem(problem)
