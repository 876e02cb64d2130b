"""How many requests were in flight, exactly, from when each was sent and closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchsuite.analysis.rows import Floats


@dataclass(frozen=True, slots=True)
class InFlight:
    """max_count: most requests at once. integral_s: the integral of the number in flight over time, request-seconds."""

    max_count: int
    integral_s: float


def sweep(sent_s: Floats, closed_s: Floats) -> InFlight:
    """The number in flight as a step function of time, walked once.

    sent_s, closed_s: (n,) seconds, no NaN. A request that closes at the very moment another is sent does not overlap
    it: the virtual user that waits for the one sends the other.
    """
    times_s = np.concatenate([sent_s, closed_s])
    steps = np.repeat(np.array([1, -1]), len(sent_s))
    order = np.lexsort((steps, times_s))  # departures before arrivals at the same moment
    count = np.cumsum(steps[order])
    integral_s = float(np.dot(count[:-1], np.diff(times_s[order]))) if len(count) else 0.0
    return InFlight(max_count=int(count.max(initial=0)), integral_s=integral_s)


def overlap_s(sent_s: Floats, closed_s: Floats, start_s: float, end_s: float) -> float:
    """The same integral between start_s and end_s alone."""
    return float(np.sum(np.clip(np.minimum(closed_s, end_s) - np.maximum(sent_s, start_s), 0.0, None)))
