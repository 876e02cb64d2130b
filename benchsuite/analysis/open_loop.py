"""One repeat of a rate: what was in flight in its window, which tokens arrived in it, whether it was saturated. Pure.

Arrays are (n,) seconds on the run's clock, NaN where it never came to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
_PARTS = 12
_MIN_TAU, _MIN_GROWTH = 0.6, 0.03
_MAX_RELATIVE_MARGIN = 2.0  # of a slope's t interval, as guidellm has it


def overlaps_s(from_s: Floats, to_s: Floats, start_s: float, end_s: float) -> Floats:
    """(n,) how long each was between start_s and end_s; 0 for what never began. What has no end goes on."""
    ends_s = np.where(np.isnan(to_s), np.inf, to_s)
    return np.asarray(np.nan_to_num(np.clip(np.minimum(ends_s, end_s) - np.maximum(from_s, start_s), 0.0, None)))


def idle_s(sent_s: Floats, closed_s: Floats, start_s: float, end_s: float) -> float:
    """The seconds between start_s and end_s in which nothing was in flight."""
    there = overlaps_s(sent_s, closed_s, start_s, end_s) > 0
    order = np.flatnonzero(there)[np.argsort(sent_s[there], kind="stable")]
    begins_s = np.maximum(sent_s[order], start_s)
    ends_s = np.maximum.accumulate(np.where(np.isnan(closed_s[order]), end_s, np.minimum(closed_s[order], end_s)))
    before_s = np.concatenate([[start_s], ends_s])
    return float(np.clip(np.append(begins_s, end_s) - before_s, 0.0, None).sum())


def arrived_tokens(
    tokens: Floats, first_s: Floats, last_s: Floats, closed_s: Floats, gaps_at: Callable[[int], Floats],
    start_s: float, end_s: float,
) -> Floats:  # fmt: skip
    """(n,) output tokens that came after start_s and not after end_s.

    A request's tokens are spread evenly over its chunks. Without streaming they all come when it closes.
    gaps_at: the gaps between the chunks of the request at a place, in seconds.
    """
    counted, streamed = tokens > 0, ~np.isnan(first_s)
    whole = counted & streamed & (first_s > start_s) & (last_s <= end_s)
    whole |= counted & ~streamed & (closed_s > start_s) & (closed_s <= end_s)
    found = np.where(whole, tokens, 0.0)
    cut = counted & streamed & ~whole & (first_s <= end_s) & (last_s > start_s)
    for index in np.flatnonzero(cut):  # at most the requests in flight at the two edges
        at_s = first_s[index] + np.concatenate([[0.0], np.cumsum(gaps_at(int(index)))])
        found[index] = tokens[index] * float(np.mean((at_s > start_s) & (at_s <= end_s)))
    return found


def is_saturated(due_s: Floats, ended_s: Floats, ttft_s: Floats, start_s: float, end_s: float) -> bool:
    """Whether requests came faster than they ended, so that latencies grow with the duration of the run.

    More than 3 % of the arrivals between start_s and end_s had not ended at its end, beyond those that were there at
    its beginning; and either what is in the system grows over twelve equal parts of it (Kendall's tau above 0.6), or
    both it and TTFT rise, with a t interval of less than twice the slope each way (guidellm's rule; without the 3 % it
    calls one in five sound M/M/1 queues saturated). ttft_s: from due_s. Those never sent are to be left out.
    """
    inside = (due_s >= start_s) & (due_s < end_s)
    ended = np.count_nonzero((ended_s >= start_s) & (ended_s < end_s))
    arrivals = np.count_nonzero(inside)
    if end_s <= start_s or arrivals - ended <= _MIN_GROWTH * arrivals:
        return False
    edges_s = np.linspace(start_s, end_s, _PARTS + 1)
    in_system = np.array([overlaps_s(due_s, ended_s, *edges).sum() for edges in pairwise(edges_s)])
    first, second = np.triu_indices(_PARTS, 1)
    tau = float(np.sign(in_system[second] - in_system[first]).mean())
    known = inside & ~np.isnan(ttft_s)
    rises = _rises(np.arange(float(_PARTS)), in_system) and _rises(due_s[known], ttft_s[known])
    return tau > _MIN_TAU or rises


def _rises(at: Floats, values: Floats) -> bool:
    n, centred = len(at), at - at.mean() if len(at) else at
    width = float(np.dot(centred, centred))
    if n < 10 or width == 0:
        return False
    slope = float(np.dot(centred, values)) / width
    left = values - values.mean() - slope * centred
    margin = float(special.stdtrit(n - 2, 0.975)) * math.sqrt(float(np.dot(left, left)) / (n - 2) / width)
    return slope > 0 and margin < _MAX_RELATIVE_MARGIN * slope
