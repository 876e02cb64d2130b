"""Whether a rate is above what the server can do: its requests in flight grow for as long as it is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PARTS, _LEAST_TAU, _LEAST_SHARE = 12, 0.6, 0.03
_FAR_SHARE, _FAR_LEFT = 0.25, 50  # of which it is known before a window is over
_SLOWER = 3.0  # how many times as long a batch server may take for a request as at the least load of the window


class Saturation(NamedTuple):
    """Of a window: tau: Kendall's, of the requests in flight in 12 equal parts, in their order. unserved: the share of
    its arrivals by which arrivals exceed ends, drops among them, less what a rate that rises within the window keeps in
    flight. dropped: the share that was not sent."""

    tau: float
    unserved: float
    dropped: float

    @property
    def saturated(self) -> bool:
        grows = self.tau > _LEAST_TAU and self.unserved > _LEAST_SHARE
        return grows or self.dropped > _LEAST_SHARE

    def far(self, n: int) -> bool:
        """By so much that no more than these n arrivals are needed to tell."""
        left = max(self.unserved, self.dropped)
        return self.saturated and left > _FAR_SHARE and left * n > _FAR_LEFT

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Saturation | None:
        """As a manifest has it; None where it lacks one."""
        known = [value for name in cls._fields if (value := figures.get(name)) is not None]
        return cls(*known) if len(known) == len(cls._fields) else None


def saturation(
    due_s: NDArray[np.float64],
    ended_s: NDArray[np.float64],
    dropped: NDArray[np.bool_],
    start_s: float,
    end_s: float,
) -> Saturation | None:
    """Of the window from start_s to end_s; None without arrivals in it.

    due_s, ended_s, dropped: (n,) of all requests of the point, those of its warm-up and tail too; NaN: it never ended.
    Source: our study of batch engines at rates around their capacity (docs/METHODS.md, Open loop).
    """
    sent, ends = ~dropped, np.where(np.isnan(ended_s), np.inf, ended_s)
    arrived = (due_s >= start_s) & (due_s < end_s)
    n = int(np.count_nonzero(arrived))
    if n == 0:
        return None
    edges = np.linspace(start_s, end_s, _PARTS + 1)
    open_s = [
        np.clip(np.minimum(ends[sent], b) - np.maximum(due_s[sent], a), 0, None).sum() for a, b in pairwise(edges)
    ]
    signs = [np.sign(later - earlier) for earlier, later in combinations(open_s, 2)]
    ended = np.count_nonzero(sent & (ends >= start_s) & (ends < end_s))
    left = float(n - ended)
    if left > 0:
        left = max(0.0, left - _of_rising_rate(due_s[sent & arrived], ends[sent & arrived], start_s, end_s))
    return Saturation(float(np.mean(signs)), left / n, float(np.count_nonzero(arrived & dropped)) / n)


def saturates(
    due_s: NDArray[np.float64],
    numbers: Sequence[int],
    ended_s: NDArray[np.float64],
    dropped: NDArray[np.bool_],
    start_s: float,
    end_s: float,
    *,
    whole: bool,
) -> bool:
    """Whether a rate does that is still sent; unless its window is whole, by far. due_s: (n,) of all that were due.

    numbers, ended_s, dropped: of those that are over, numbers their places in due_s.
    """
    known = np.asarray(numbers, np.int64) < len(due_s)
    places, all_ended_s = np.asarray(numbers, np.int64)[known], np.full(len(due_s), np.nan)
    all_dropped = np.zeros(len(due_s), np.bool_)
    all_ended_s[places], all_dropped[places] = ended_s[known], dropped[known]
    found = saturation(due_s, all_ended_s, all_dropped, start_s, end_s)
    return found is not None and (found.saturated if whole else found.far(int(np.count_nonzero(due_s >= start_s))))


def _of_rising_rate(due_s: NDArray[np.float64], ends_s: NDArray[np.float64], start_s: float, end_s: float) -> float:
    """How many more requests a server that keeps up has in flight at the end than at the start, by Little's law; 0 if
    the last quarter's arrivals exceed the first's by less than three standard deviations of Poisson counts.
    """
    quarter_s = (end_s - start_s) / 4
    parts = [(due_s >= start_s + i * quarter_s) & (due_s < start_s + (i + 1) * quarter_s) for i in range(4)]
    first, *_, last = (int(np.count_nonzero(part)) for part in parts)
    if last - first <= 3 * np.sqrt(first + last):
        return 0.0
    least_s = min(float((ends_s[part] - due_s[part]).mean()) for part in parts if part.any())
    return max(0.0, float((_SLOWER * last - first) / quarter_s * least_s)) if np.isfinite(least_s) else 0.0
