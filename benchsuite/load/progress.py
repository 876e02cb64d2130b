"""What a sweep tells while it runs, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from benchsuite.load.preflight import Preflight
from benchsuite.load.schedule import PointPlan
from benchsuite.load.worker_pool import Progress
from benchsuite.telemetry.recorder import Latest


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
