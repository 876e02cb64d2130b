"""What a sweep will do, decided before it starts: the order of points, of prompts, the warm-ups. Pure; seeded.

Randomised complete blocks: every repeat visits all levels in an order of its own. Within a repeat all levels send the
prompts in the same shuffled order (common random numbers), a new shuffle per repeat. docs/METHODS.md, Protocol.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.level import Level

if TYPE_CHECKING:
    from benchsuite.spec import LoadSpec

# Sets of this size or more are real measurements and get the full protocol; smaller ones are a quick look.
_FULL_SET = 1000
_FULL_MIN_S = 30.0
SALT_CHARS = 12
_OTHER_FILES = 256  # of a measuring process, apart from its connections: pipes, journal, libraries


@dataclass(frozen=True, slots=True)
class PointPlan:
    """One level in one repeat."""

    run_id: str
    point_id: str
    level: Level
    repeat: int
    n_requests: int
    random_seed: int  # of the order
    warmup_requests: int
    warmup_min_s: float
    cooldown_min_s: float
    cooldown_max_s: float
    attempt: int = 0  # a later one takes the place of those before

    def salt(self, use: str = "measured", copy: int = 0) -> str:
        """Keys the server's prefix cache: what another use, a copy or an earlier attempt sent is not reused."""
        parts = (self.run_id, self.point_id, use, str(copy), str(self.attempt))
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:SALT_CHARS]

    @property
    def users(self) -> int:
        return self.level.users

    @property
    def order(self) -> array[int]:
        """(n_requests,) indices into the workload, in sending order."""
        drawn = _order_stream(self.random_seed, self.repeat).permutation(self.n_requests)
        return array("i", drawn.astype(np.int32).tobytes())


def _order_stream(seed: int, repeat: int) -> np.random.Generator:
    """A repeat's draws: first of its prompts' order, then of its levels'."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, repeat])))


def plan_points(load: LoadSpec, n_requests: int, run_id: str) -> list[PointPlan]:
    """The points of a sweep in the order in which they are measured."""
    floor_s = _FULL_MIN_S if n_requests >= _FULL_SET else 0.0
    points = []
    for repeat in range(load.repeats):
        rng = _order_stream(load.random_seed, repeat)
        rng.permutation(n_requests)
        for place in rng.permutation(len(load.levels)).tolist():
            level = load.levels[place]
            warmup_requests = max(2 * (level.concurrency or 0), 64)
            points.append(
                PointPlan(
                    run_id=run_id,
                    point_id=level.point_id(repeat),
                    level=level,
                    repeat=repeat,
                    n_requests=n_requests,
                    random_seed=load.random_seed,
                    warmup_requests=warmup_requests if load.warmup_requests is None else load.warmup_requests,
                    warmup_min_s=floor_s if load.warmup_min_s is None else load.warmup_min_s,
                    cooldown_min_s=floor_s if load.cooldown_min_s is None else load.cooldown_min_s,
                    cooldown_max_s=load.cooldown_max_s,
                )
            )
    return points


def plan_words(points: Sequence[PointPlan]) -> str:
    """'6 points: 576 requests and 384 to warm up, at least 3.0 min of pauses'."""
    requests, warmups = sum(len(one.order) for one in points), sum(one.warmup_requests for one in points)
    pauses_s = sum(one.warmup_min_s + one.cooldown_min_s for one in points)
    pauses = f", at least {pauses_s / 60:.1f} min of warm-up and pauses" if pauses_s else ""
    return f"{len(points)} point{'s' * (len(points) != 1)}: {requests:,} requests and {warmups:,} to warm up{pauses}"


def seconds_between(points: Sequence[PointPlan], request_s: float) -> tuple[float, float]:
    """The least and the most seconds of the points, where a request alone takes request_s: all users of a level as fast
    as one alone, or one request after another."""
    ends = []
    for together in (True, False):
        users = [one.level.concurrency or 1 if together else 1 for one in points]
        warm_s = [max(p.warmup_min_s, p.warmup_requests * request_s / n) for p, n in zip(points, users, strict=True)]
        run_s = [one.cooldown_min_s + len(one.order) * request_s / n for one, n in zip(points, users, strict=True)]
        ends.append(sum(warm_s) + sum(run_s))
    return ends[0], ends[1]


def minutes_words(least_s: float, most_s: float, usd_per_hour: float | None) -> str:
    """'1.2 to 4.8 min, $0.002 to $0.008'; without a price, the minutes only."""
    usd = (
        "" if usd_per_hour is None else f", ${usd_per_hour * least_s / 3600:.3g} to ${usd_per_hour * most_s / 3600:.3g}"
    )
    least, most = (f"{s / 60:.{0 if s >= 600 else 2}{'f' if s >= 600 else 'g'}}" for s in (least_s, most_s))
    return f"{least} to {most} min{usd}"


def open_files_needed(load: LoadSpec, connections_per_user: int = 1) -> int:
    """How many files a measuring process must be allowed to have open, for the highest level."""
    return -(-max(load.concurrency) // load.n_workers) * connections_per_user + _OTHER_FILES
