"""What a running point did over the last seconds: the series behind its sparklines. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

CELLS = 40  # one a second
_SHORTEST_S, _LONGEST_S = 2.0, 10.0


class Recent:
    """Counts of a point as they were a moment ago. Counts move when requests end, so rates are over some seconds."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=400)
        self._tokens: deque[float] = deque(maxlen=400)
        self._ended: deque[float] = deque(maxlen=400)
        self._ttft_sum_s: deque[float] = deque(maxlen=400)

    def note(self, elapsed_s: float, output_tokens: int, ended: int, ttft_sum_s: float) -> None:
        """The counts at `elapsed_s` after the point began."""
        for kept, value in zip(
            (self._times_s, self._tokens, self._ended, self._ttft_sum_s),
            (elapsed_s, output_tokens, ended, ttft_sum_s),
            strict=True,
        ):
            kept.append(value)

    def tok_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): output tokens/s of requests that ended, one a second up to now; None before the first end."""
        if not self._ended or not self._ended[-1]:
            return []
        window_s = self._window_s(users)
        return [None if d is None else d / s for d, s in self._changes(self._tokens, window_s)]

    def ttft_s(self, users: int) -> list[float | None]:
        """(<= CELLS,): mean TTFT of the requests that ended lately, one a second up to now; None where none did."""
        if not self._ended or not self._ended[-1] or not self._ttft_sum_s[-1]:
            return []
        window_s = self._window_s(users)
        sums, ends = self._changes(self._ttft_sum_s, window_s), self._changes(self._ended, window_s)
        return [s / n if s is not None and n and s > 0 else None for (s, _), (n, _) in zip(sums, ends, strict=True)]

    def _window_s(self, users: int) -> float:
        """About the time of a request (Little's law), so that a wave of ends is no peak and its absence no zero."""
        request_s = users * self._times_s[-1] / self._ended[-1]
        return min(_LONGEST_S, max(_SHORTEST_S, request_s))

    def _changes(self, values: Sequence[float], window_s: float) -> list[tuple[float | None, float]]:
        """The change over the window that ends in each cell, and the window's length in seconds."""
        times_s, last_s = list(self._times_s), self._times_s[-1]
        known = list(values)
        found: list[tuple[float | None, float]] = []
        for back in range(CELLS - 1, -1, -1):
            end_s = last_s - back
            start_s = max(end_s - window_s, 0.0)
            if end_s <= 0 or end_s < times_s[0]:
                continue
            one = at(end_s, times_s, known)
            before = 0.0 if start_s <= 0 else at(start_s, times_s, known)
            change = None if one is None or before is None else one - before
            found.append((change, end_s - start_s))
        return found


def at(time_s: float, times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """`values` (known at times_s, which rise) at time_s, on the straight line between neighbours.

    The first value before the first time; None where nothing is known yet.
    """
    if not times_s or time_s > times_s[-1]:
        return None
    if time_s <= times_s[0]:
        return values[0]
    for (t0, v0), (t1, v1) in pairwise(zip(times_s, values, strict=True)):
        if t0 <= time_s <= t1:
            return v1 if t1 == t0 else v0 + (v1 - v0) * (time_s - t0) / (t1 - t0)
    return None
