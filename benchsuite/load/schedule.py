"""What a sweep will do, decided before it starts: the order of points, of prompts, the warm-ups. Pure; seeded.

Randomised complete blocks: every repeat visits all levels in an order of its own. Within a repeat all levels send the
prompts in the same shuffled order (common random numbers), a new shuffle per repeat. docs/METHODS.md, Protocol.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchsuite.errors import InputError
from benchsuite.level import LEAST_RATE, MOST_RATE, Level
from benchsuite.load.arrivals import arrivals, unending
from benchsuite.saturation import Saturation
from benchsuite.workload.dataset import Workload, make_workload

if TYPE_CHECKING:
    from benchsuite.manifest import PointEntry
    from benchsuite.request_spec import ArrivalSpec
    from benchsuite.spec import LoadSpec, SweepSpec

# Sets of this size or more are real measurements and get the full protocol; smaller ones are a quick look.
_FULL_SET = 1000
_FULL_MIN_S = 30.0
SALT_CHARS = 12
_MOST_OPENED = 512  # connections before a rate's point begins; more when they are needed
OTHER_FILES = 256  # of a measuring process, apart from its connections: pipes, journal, libraries


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """When a rate's requests are due, from before_s before the measured window to after_s behind it.

    arrival, burstiness, profile: as in the spec. times_s: of a trace, at this rate, from the window's start. drops:
    what is above max_in_flight is not sent; otherwise it waits. connections: opened beforehand.
    """

    arrival: str
    rate_per_s: float
    burstiness: float
    profile: str
    window_s: float
    before_s: float
    after_s: float
    max_in_flight: int | None
    drops: bool
    connections: int
    times_s: tuple[float, ...] = ()


@lru_cache(4)
def offsets_ns(loop: OpenLoop, seed: int, repeat: int) -> NDArray[np.int64]:
    """(n,) when each request is due, from the window's start, ascending."""
    return arrivals(
        loop.arrival,
        loop.rate_per_s,
        shape=loop.burstiness,
        profile=loop.profile,
        window_s=loop.window_s,
        before_s=loop.before_s,
        after_s=loop.after_s,
        seed=seed,
        repeat=repeat,
        times_s=loop.times_s,
    )


@dataclass(frozen=True, slots=True)
class PointPlan:
    """One level in one repeat."""

    run_id: str
    point_id: str
    level: Level
    repeat: int
    n_prompts: int  # of the set: an open loop begins it again where it has more requests
    random_seed: int  # of the order
    warmup_requests: int
    warmup_min_s: float
    cooldown_min_s: float
    cooldown_max_s: float
    attempt: int = 0  # a later one takes the place of those before
    open_loop: OpenLoop | None = None

    def salt(self, use: str = "measured", copy: int = 0) -> str:
        """Keys the server's prefix cache: what another use, a copy or an earlier attempt sent is not reused; but a
        trace's repeats of a text are."""
        copy = 0 if self.open_loop is not None and self.open_loop.times_s else copy
        parts = (self.run_id, self.point_id, use, str(copy), str(self.attempt))
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:SALT_CHARS]

    @property
    def users(self) -> int:
        """The virtual users; of an open loop, the requests of a second."""
        return self.level.concurrency or max(1, math.ceil(self.level.number))

    @property
    def offsets_ns(self) -> NDArray[np.int64]:
        """(n,) when the requests of an open loop are due, from the window's start, ascending."""
        assert self.open_loop is not None
        return offsets_ns(self.open_loop, self.random_seed, self.repeat)

    def arrivals(self) -> Iterator[NDArray[np.int64]]:
        """When the requests of a search's probe are due at its rate, from its beginning, without end."""
        loop = self.open_loop
        assert loop is not None
        return unending(loop.arrival, loop.rate_per_s, shape=loop.burstiness, seed=self.random_seed)

    def due_s(self, begun_s: float, until_s: float) -> NDArray[np.float64]:
        """Those of a probe that began at begun_s, until then, in seconds."""
        parts = list[NDArray[np.float64]]()
        for offsets in self.arrivals():
            parts.append(begun_s + offsets / 1e9)
            if parts[-1][-1] > until_s:
                break
        due_s = np.concatenate(parts)
        return due_s[due_s < until_s]

    @property
    def n_requests(self) -> int:
        """How many are measured."""
        if self.open_loop is None:
            return self.n_prompts
        ends = np.array([0, int(self.open_loop.window_s * 1e9)])
        first, last = np.searchsorted(self.offsets_ns, ends)
        return int(last - first)

    @property
    def order(self) -> array[int]:
        """(n_prompts,) indices into the workload, in sending order; a trace has its own."""
        if self.open_loop is not None and self.open_loop.times_s:
            return array("i", range(self.n_prompts))
        drawn = _order_stream(self.random_seed, self.repeat).permutation(self.n_prompts)
        return array("i", drawn.astype(np.int32).tobytes())


def _order_stream(seed: int, repeat: int) -> np.random.Generator:
    """A repeat's draws: first of its prompts' order, then of its levels'."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, repeat])))


def plan_points(
    load: LoadSpec,
    n_prompts: int,
    run_id: str,
    rates: ArrivalSpec | None = None,
    times_s: Sequence[float] = (),
    request_s: float | None = None,
) -> list[PointPlan]:
    """The points of a sweep in the order in which they are measured.

    rates: how the requests of an open loop arrive. times_s: of a trace, from its beginning. request_s: what a request
    takes alone, if it is known.
    """
    floor_s = _FULL_MIN_S if n_prompts >= _FULL_SET else 0.0
    points = []
    for repeat in range(load.repeats):
        rng = _order_stream(load.random_seed, repeat)
        rng.permutation(n_prompts)
        places = rng.permutation(len(load.levels)).tolist()
        if load.rate is not None and repeat == 0:  # ascending: what saturates the server ends the sweep
            places = range(len(load.levels))
        for place in places:
            level, loop = load.levels[place], None
            warmup_requests = max(2 * (level.concurrency or 0), 64)
            if load.warmup_requests is not None:
                warmup_requests = load.warmup_requests
            warmup_min_s = floor_s if load.warmup_min_s is None else load.warmup_min_s
            if load.rate is not None and rates is not None:
                loop = open_loop(rates, level, times_s, request_s)
                warmup_requests, warmup_min_s = 0, 0.0  # its warm-up is the load before its window
            points.append(
                PointPlan(
                    run_id=run_id,
                    point_id=level.point_id(repeat),
                    level=level,
                    repeat=repeat,
                    n_prompts=n_prompts,
                    random_seed=load.random_seed,
                    warmup_requests=warmup_requests,
                    warmup_min_s=warmup_min_s,
                    cooldown_min_s=floor_s if load.cooldown_min_s is None else load.cooldown_min_s,
                    cooldown_max_s=load.cooldown_max_s,
                    open_loop=loop,
                )
            )
    return points


def open_loop(
    spec: ArrivalSpec, level: Level, times_s: Sequence[float] = (), request_s: float | None = None
) -> OpenLoop:
    """The open loop of a rate. times_s: of a trace, whose own rate is scaled to the level's."""
    before_s = max(_FULL_MIN_S, 3 * (request_s or 0.0)) if spec.warmup_s is None else spec.warmup_s
    window_s, after_s = spec.duration_s, spec.tail_max_s if spec.tail == "load" else 0.0
    if times_s:
        window_s = len(times_s) / level.number
        scale = window_s / trace_span_s(times_s)
        times_s, before_s, after_s = [at_s * scale for at_s in times_s], 0.0, 0.0
    connections = min(_MOST_OPENED, max(1, math.ceil(1.5 * level.number * (request_s or 1.0))))
    return OpenLoop(
        "trace" if times_s else spec.arrival, level.number, spec.burstiness, spec.rate_profile, window_s, before_s,
        after_s, spec.max_in_flight, spec.over == "drop", min(connections, spec.max_in_flight or connections),
        tuple(times_s),
    )  # fmt: skip


def trace_span_s(times_s: Sequence[float]) -> float:
    """How long a trace is: to a mean gap behind its last request. At least a microsecond."""
    return max(1e-6, times_s[-1] * len(times_s) / max(1, len(times_s) - 1))


def below_saturation(
    points: Sequence[PointPlan], complete: Sequence[PointEntry], arrivals: ArrivalSpec
) -> list[PointPlan]:
    """The points but those of a rate above two that saturated the server. complete: what is measured, and stays."""
    if arrivals.past_saturation:
        return list(points)
    found = {entry.rate_per_s: Saturation.of(entry.saturation) for entry in complete}
    saturated = sorted(rate for rate, one in found.items() if rate and one is not None and one.saturated)
    measured = {entry.point_id for entry in complete}
    most = saturated[1] if len(saturated) > 1 else math.inf
    return [point for point in points if point.level.number <= most or point.point_id in measured]


def plan_words(points: Sequence[PointPlan]) -> str:
    """'6 points: 576 requests and 384 to warm up, at least 3.0 min of pauses'."""
    requests, warmups = sum(one.n_requests for one in points), sum(one.warmup_requests for one in points)
    pauses_s = sum(one.warmup_min_s + one.cooldown_min_s for one in points)
    pauses = f", at least {pauses_s / 60:.1f} min of warm-up and pauses" if pauses_s else ""
    return f"{len(points)} point{'s' * (len(points) != 1)}: {requests:,} requests and {warmups:,} to warm up{pauses}"


def seconds_between(points: Sequence[PointPlan], request_s: float) -> tuple[float, float]:
    """The least and the most seconds of the points, where a request alone takes request_s: all users of a level as fast
    as one alone, or one request after another."""
    ends = []
    for together in (True, False):
        total_s = 0.0
        for one in points:
            users, loop = one.level.concurrency or 1 if together else 1, one.open_loop
            if loop is not None:
                tail_s = request_s if together else max(request_s, loop.after_s)
                total_s += one.cooldown_min_s + loop.before_s + loop.window_s + tail_s
            else:
                total_s += max(one.warmup_min_s, one.warmup_requests * request_s / users)
                total_s += one.cooldown_min_s + one.n_requests * request_s / users
        ends.append(total_s)
    return ends[0], ends[1]


def minutes_words(least_s: float, most_s: float, usd_per_hour: float | None) -> str:
    """'1.2 to 4.8 min, $0.002 to $0.008', or seconds; without a price, the time only."""
    usd = (
        "" if usd_per_hour is None else f", ${usd_per_hour * least_s / 3600:.3g} to ${usd_per_hour * most_s / 3600:.3g}"
    )
    if most_s < 60:
        return f"{least_s:.2g} to {most_s:.2g} s{usd}"
    least, most = (f"{s / 60:.{0 if s >= 600 else 2}{'f' if s >= 600 else 'g'}}" for s in (least_s, most_s))
    return f"{least} to {most} min{usd}"


def replayed(spec: SweepSpec, workload: Workload) -> tuple[SweepSpec, Workload, tuple[float, ...]]:
    """The spec with the rates at which a trace is replayed, the part of it that is, and its times from 0 on.

    Without arrivals.replay as given, and no times. Raises InputError for a set that is no trace, or an empty part.
    """
    asked = spec.arrivals
    if not asked.replay:
        return spec, workload, ()
    prompts = workload.prompts
    if lacking := next((one.prompt_id for one in prompts if one.at_s is None), None):
        raise InputError(
            "the request set has no times to replay",
            where="--replay",
            given=f"no at_s in the request {lacking!r}",
            expected="a trace, or at_s (seconds from its beginning) in each request",
            hint="send it at a --rate" if prompts[0].at_s is None else "--requests no larger than the trace",
        )
    at_s = np.array([one.at_s for one in prompts], np.float64)
    order = np.argsort(at_s, kind="stable")
    end_s = math.inf if asked.to_s is None else asked.to_s
    order = order[(asked.from_s <= at_s[order]) & (at_s[order] < end_s)]
    if not len(order):
        raise InputError(
            "the replay has no requests",
            where="--from-s, --to-s",
            given=f"{asked.from_s:g} to {end_s:g} s",
            expected=f"a part of the trace, which ends at {at_s.max():g} s",
        )
    times_s = tuple((at_s[order] - asked.from_s).tolist())
    if not np.array_equal(order, np.arange(len(prompts))):
        part = make_workload(workload.name, (prompts[i] for i in order.tolist()), workload.reading)
        workload = replace(part, lengths=workload.lengths)
    own_rate = len(times_s) / trace_span_s(times_s)
    rates = spec.load.rate or tuple(own_rate * speed for speed in asked.speed or (1.0,))
    if odd := next((rate for rate in rates if not LEAST_RATE <= rate <= MOST_RATE), None):
        raise InputError(
            "the trace's own rate is none to replay", where="--replay, --speed", given=f"{odd:g} requests/s",
            expected=f"{LEAST_RATE} to {MOST_RATE:,} requests/s", hint="--rate names another",
        )  # fmt: skip
    load = spec.load.model_copy(update={"rate": rates, "concurrency": ()})
    arrivals = asked.model_copy(update={"speed": None})
    return spec.model_copy(update={"load": load, "arrivals": arrivals}), workload, times_s


def open_files_needed(load: LoadSpec, connections_per_user: int = 1, max_in_flight: int | None = None) -> int:
    """How many files a measuring process must be allowed to have open, for the highest level.

    Of a rate: for max_in_flight requests, or without that for those of two seconds; more than there are files for wait.
    """
    most = max(load.concurrency) if load.rate is None else max_in_flight or math.ceil(2 * max(load.rate))
    return -(-most // load.n_workers) * connections_per_user + OTHER_FILES


def remaining(
    points: Sequence[PointPlan], entries: Sequence[PointEntry], attempts: Mapping[str, int] | None = None
) -> list[PointPlan]:
    """The planned points without a whole attempt, in their order, each with its next attempt.

    entries: the manifest's points so far. attempts: the last attempt of each point that has rows, whatever the
    manifest says: a new attempt never takes the number of rows that are there.
    """
    attempts = dict(attempts or {})
    for entry in entries:
        attempts[entry.point_id] = max(attempts.get(entry.point_id, -1), entry.attempt)
    whole = {entry.point_id for entry in entries if entry.status == "complete"}
    todo = [point for point in points if point.point_id not in whole]
    return [replace(point, attempt=attempts.get(point.point_id, -1) + 1) for point in todo]
