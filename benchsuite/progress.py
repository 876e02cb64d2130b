"""What a running sweep tells those who show it, and what it returns: known to both sides, of neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.level import Level
from benchsuite.records import GpuSample, ServerSample

if TYPE_CHECKING:
    from benchsuite.manifest import RunManifest


class LatestReadings:
    """What was last read of each GPU and server. no_gpu: why no GPU is sampled; None while one is.

    Written by the sampling threads, read by the view: each reading replaces the one before it whole.
    """

    def __init__(self) -> None:
        self._gpus: dict[str, GpuSample] = {}
        self._servers: dict[str, ServerSample] = {}
        self.no_gpu: str | None = None

    @property
    def gpus(self) -> tuple[GpuSample, ...]:
        return tuple(self._gpus.copy().values())

    @property
    def servers(self) -> tuple[ServerSample, ...]:
        return tuple(self._servers.copy().values())

    def note(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        for sample in samples:
            if isinstance(sample, GpuSample):
                self._gpus[sample.uuid] = sample
            else:
                self._servers[sample.endpoint] = sample


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """What a search knows at a probe, whose number in the search is not known. n_before: requests of the probe that
    ended before its phase. bracket: the highest level that kept the SLO, the lowest that missed it. best: the level
    that is most likely good, with its P(good). spent_s: of the search. verdict, margins: of the probe, once it has
    ended; a margin is ln(limit / figure), above 0 where the limit is kept."""

    phase: str  # bracket, close, confirm
    bracket: tuple[Level | None, Level | None]
    best: Level | None
    p_good: float | None
    spent_s: float
    budget_s: float
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    n_before: int = 0
    verdict: str | None = None
    margins: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def share_spent(self) -> float:
        """Of the budget that ends first."""
        dollars = 0.0
        if self.usd_per_hour is not None and self.budget_usd:
            dollars = self.spent_s / 3600 * self.usd_per_hour / self.budget_usd
        return max(self.spent_s / self.budget_s, dollars)

    @property
    def binding(self) -> str | None:
        """The limit with the least margin."""
        return min(self.margins, key=lambda name: self.margins[name][0], default=None)


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """A point of a sweep or a search, and what is done at it with `n_requests`."""

    index: int  # from 0
    n_points: int
    point_id: str
    level: Level
    repeat: int
    phase: str  # warming up, measuring, waiting until the server is idle, measuring idle power, ...
    n_requests: int
    at_least_s: float = 0.0  # how long the phase takes in any case
    at_most_s: float | None = None  # when a wait is given up
    levels: tuple[Level, ...] = ()  # of every point
    readings: LatestReadings = field(default_factory=LatestReadings)
    search: SearchProgress | None = None


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Counts of a running phase, over all workers."""

    done: int = 0  # ended well
    failed: int = 0
    output_tokens: int = 0
    ttft_s: float | None = None  # mean so far, None before a first token

    @property
    def ended(self) -> int:
        return self.done + self.failed


class View:
    """Is told what happens, and shows nothing of it; a method must return at once."""

    def begun(self, path: Path, manifest: RunManifest) -> None:
        """The server answered, and measuring starts, into the run folder `path`."""

    def progress(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> None:
        """elapsed_s: of the point's phase."""

    def point_done(self, point: PlannedPoint, rows: Callable[..., Any], duration_s: float) -> None:
        """rows(left_out=()): reads pyarrow Tables with the columns of RequestRecord but those left out."""

    def note(self, text: str) -> None:
        """Something that a person should know now."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Where the facts are, and whether the sweep ran to its end."""

    run_id: str
    path: Path
    complete: bool
    measured: int = 0  # points, in this session
    failures: tuple[str, ...] = ()  # why points were given up, and why the sweep ended early
