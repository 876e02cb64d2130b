"""One repeat of a rate: what was in flight in its window, and which tokens arrived in it. Pure.

Arrays are (n,) seconds on the run's clock, NaN where it never came to that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
