"""What a sweep will do, decided before it starts: the order of points, of prompts, the warm-ups. Pure; seeded.

Randomised complete blocks: every repeat visits all levels in an order of its own. Within a repeat all levels send the
prompts in the same shuffled order (common random numbers), a new shuffle per repeat. docs/METHODS.md, Protocol.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.level import Level

if TYPE_CHECKING:
    from benchsuite.spec import LoadSpec

# Sets of this size or more are real measurements and get the full protocol; smaller ones are a quick look.
_FULL_SET = 1000
_FULL_MIN_S = 30.0
_OTHER_FILES = 256  # of a measuring process, apart from its connections: pipes, journal, libraries


@dataclass(frozen=True, slots=True)
class PointPlan:
    """One level in one repeat. order: (n_requests,) indices into the workload, in sending order. attempt: 0 for the
    first; a later one takes the place of those before.
    """

    point_id: str
    level: Level
    repeat: int
    order: tuple[int, ...]
    warmup_requests: int
    warmup_min_s: float
    cooldown_min_s: float
    cooldown_max_s: float
    salt: str
    warmup_salt: str
    attempt: int = 0

    def as_attempt(self, attempt: int) -> PointPlan:
        """A later attempt has salts of its own: the server's prefix cache may still hold the earlier one's prompts."""
        if not attempt:
            return self
        salt, warmup_salt = (_salt(salt, str(attempt)) for salt in (self.salt, self.warmup_salt))
        return replace(self, attempt=attempt, salt=salt, warmup_salt=warmup_salt)

    def salt_of_copy(self, number: int) -> str:
        """A copy of a prompt that was in the set before is as new to the prefix cache as the first."""
        return _salt(self.salt, "copy", str(number)) if number else self.salt

    @property
    def users(self) -> int:
        assert self.level.concurrency is not None
        return self.level.concurrency


def plan_points(load: LoadSpec, n_requests: int, run_id: str) -> list[PointPlan]:
    """The points of a sweep in the order in which they are measured."""
    floor_s = _FULL_MIN_S if n_requests >= _FULL_SET else 0.0
    points = []
    for repeat in range(load.repeats):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([load.seed, repeat])))
        order = tuple(rng.permutation(n_requests).tolist())
        for place in rng.permutation(len(load.levels)).tolist():
            level = load.levels[place]
            point_id, warmup_requests = level.point_id(repeat), max(2 * (level.concurrency or 0), 64)
            points.append(
                PointPlan(
                    point_id=point_id,
                    level=level,
                    repeat=repeat,
                    order=order,
                    warmup_requests=warmup_requests if load.warmup_requests is None else load.warmup_requests,
                    warmup_min_s=floor_s if load.warmup_min_s is None else load.warmup_min_s,
                    cooldown_min_s=floor_s if load.cooldown_min_s is None else load.cooldown_min_s,
                    cooldown_max_s=load.cooldown_max_s,
                    salt=_salt(run_id, point_id, "measured"),
                    warmup_salt=_salt(run_id, point_id, "warm-up"),
                )
            )
    return points


def open_files_needed(load: LoadSpec, connections_per_user: int = 1) -> int:
    """How many files a measuring process must be allowed to have open, for the highest level."""
    return -(-max(load.concurrency) // load.n_workers) * connections_per_user + _OTHER_FILES


def _salt(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]
