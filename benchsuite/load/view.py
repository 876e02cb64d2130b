"""What a sweep tells while it runs, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from benchsuite.load.orders import Progress
from benchsuite.load.plan import PointPlan
from benchsuite.load.preflight import Preflight
from benchsuite.records import GpuSample, ServerSample
from benchsuite.telemetry.recorder import Log


class Latest:
    """What the samplers beside the load read last. no_gpu: why no GPU is sampled; None while one is.

    Written by the sampling threads, read by the view: each reading replaces the one before it whole.
    """

    def __init__(self) -> None:
        self._gpus: dict[str, GpuSample] = {}
        self._servers: dict[str, ServerSample] = {}
        self.no_gpu: str | None = None

    @property
    def gpus(self) -> tuple[GpuSample, ...]:
        """The last reading of each GPU."""
        return tuple(self._gpus.copy().values())

    @property
    def servers(self) -> tuple[ServerSample, ...]:
        """The last reading of each server."""
        return tuple(self._servers.copy().values())

    def seen(self, log: Log) -> Log:
        """`log`, whose samples are noted here on their way."""
        return _SeenLog(self, log)

    def note(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        """Remember them."""
        for sample in samples:
            if isinstance(sample, GpuSample):
                self._gpus[sample.uuid] = sample
            else:
                self._servers[sample.endpoint] = sample


class _SeenLog:
    def __init__(self, latest: Latest, log: Log) -> None:
        self._latest, self._log = latest, log
        self.close = log.close

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        self._latest.note(samples)
        self._log.append(samples)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the sweep is: point `index` (from 0) of `n_points`, and what it does with `n_requests`.

    phase: 'warming up', 'measuring', 'waiting until the server is idle' or 'measuring idle power'. at_least_s: how long
    the phase takes in any case; at_most_s: when a wait is given up. levels: the concurrency of every point.
    """

    index: int
    n_points: int
    plan: PointPlan
    phase: str
    n_requests: int
    at_least_s: float = 0.0
    at_most_s: float | None = None
    levels: tuple[int, ...] = ()
    latest: Latest = field(default_factory=Latest)


class View(Protocol):
    """Is told what happens; must return at once."""

    def begun(self, run_id: str, path: Path, found: Preflight) -> None: ...

    def progress(self, step: Step, progress: Progress, elapsed_s: float) -> None: ...

    def point_done(self, step: Step, rows: pa.Table, wall_s: float) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Where the facts are, and whether the sweep ran to its end. measured: points measured in this session.

    failures: why points were given up, and why the sweep ended early, in words.
    """

    run_id: str
    path: Path
    complete: bool
    measured: int = 0
    failures: tuple[str, ...] = ()
