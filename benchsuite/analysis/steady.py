"""The steady window of a closed loop: every virtual user busy, no prefill burst before it, no drain tail after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.distribution import describe
from benchsuite.analysis.in_flight import overlap_s
from benchsuite.analysis.rows import Bools, Floats, Rows
from benchsuite.results import SteadyWindow


def steady_window(rows: Rows, concurrency: int, ttft_s: Floats) -> SteadyWindow | None:
    """From the N-th completion to the last send of each repeat, pooled over repeats; None if no repeat has one.

    ttft_s: (n,) per row, NaN where undefined.
    """
    duration_s = tokens = busy_s = 0.0
    inside = np.zeros(len(rows.ok), dtype=np.bool_)
    for repeat in np.unique(rows.repeat):
        mine = rows.repeat == repeat
        bounds = window(rows, np.flatnonzero(mine), concurrency)
        if bounds is None:
            continue
        start_s, end_s = bounds
        duration_s += end_s - start_s
        tokens += _tokens_within(rows, mine & rows.ok, start_s, end_s)
        known = mine & ~np.isnan(rows.sent_s) & ~np.isnan(rows.closed_s)
        busy_s += overlap_s(rows.sent_s[known], rows.closed_s[known], start_s, end_s)
        inside |= mine & rows.ok & (rows.sent_s >= start_s) & (rows.sent_s <= end_s)
    if duration_s == 0:
        return None
    lengths = rows.output_tokens[rows.ok & ~np.isnan(rows.output_tokens)]
    total = float(lengths.sum())
    return SteadyWindow(
        duration_s=duration_s,
        output_tok_s=tokens / duration_s if len(lengths) else None,
        # tokens over the mean length, not finished requests: long ones that the window cuts count for their part
        request_per_s=tokens / duration_s * len(lengths) / total if total else None,
        ttft_s=describe(ttft_s[inside]),
        occupancy=busy_s / (duration_s * concurrency),
    )


def window(rows: Rows, places: NDArray[np.intp], concurrency: int) -> tuple[float, float] | None:
    """From when to when the run whose rows are at `places` was steady; None if it never was.

    A window shorter than the mean time of a request is the turn-round between two waves of them, not a steady state.
    """
    ended_s, sent_s = rows.closed_s[places], rows.sent_s[places]
    ended_s, sent_s = np.sort(ended_s[~np.isnan(ended_s)]), sent_s[~np.isnan(sent_s)]
    if len(ended_s) < concurrency or len(sent_s) == 0:
        return None
    start_s, end_s = float(ended_s[concurrency - 1]), float(sent_s.max())
    took_s = rows.closed_s[places] - rows.sent_s[places]
    return (start_s, end_s) if end_s - start_s > float(np.nanmean(took_s)) else None


def _tokens_within(rows: Rows, mine: Bools, start_s: float, end_s: float) -> float:
    """Output tokens that came after start_s and not after end_s.

    A request's tokens are spread evenly over its chunks. Without streaming they all come when it closes.
    """
    counted = mine & (rows.output_tokens > 0)
    streamed = counted & ~np.isnan(rows.first_s)
    whole = streamed & (rows.first_s > start_s) & (rows.last_s <= end_s)
    whole |= counted & ~streamed & (rows.closed_s > start_s) & (rows.closed_s <= end_s)
    tokens = float(rows.output_tokens[whole].sum())
    cut = streamed & ~whole & (rows.first_s <= end_s) & (rows.last_s > start_s)
    for index in np.flatnonzero(cut):  # at most the requests in flight at the two edges, 2 N
        at_s = rows.first_s[index] + np.concatenate([[0.0], np.cumsum(rows.gaps_at(int(index)))])
        tokens += rows.output_tokens[index] * float(np.mean((at_s > start_s) & (at_s <= end_s)))
    return tokens
