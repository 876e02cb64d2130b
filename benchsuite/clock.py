"""The run's one clock: CLOCK_MONOTONIC in integer nanoseconds, and its anchor to wall time.

Kernel receive stamps are CLOCK_REALTIME. NTP slews both clocks alike and steps only CLOCK_REALTIME, so the offset
between them is constant but for steps; it is measured by bracketing one clock's read with two of the other's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

now_ns = time.monotonic_ns
NS_PER_S = 1_000_000_000


def realtime_offset_ns(samples: int = 20) -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in ns: the sample with the narrowest bracket of `samples`."""
    best_width, best = None, 0
    for _ in range(samples):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if best_width is None or after - before < best_width:
            best_width, best = after - before, wall - (before + after) // 2
    return best


@dataclass(frozen=True, slots=True)
class Anchor:
    """Ties the monotonic clock to wall time: both read at the same instant (ns)."""

    monotonic_ns: int
    wall_ns: int

    @classmethod
    def now(cls) -> Anchor:
        """An anchor taken at this instant."""
        mono = time.monotonic_ns()
        return cls(mono, mono + realtime_offset_ns())
