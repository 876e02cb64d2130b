"""What happened over time at one point: requests in flight and tokens per second. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchsuite.analysis.requests import Bools, Floats, Rows

BINS = 120


@dataclass(frozen=True, slots=True)
class Timeline:
    """One repeat of a level, in `bins` equal parts of the time from start_s to end_s (the run's clock).

    edges_s: (bins + 1,). in_flight: (bins,) mean number of requests in flight. output_tok_s: (bins,) tokens by when
    their chunk came, a request's tokens spread evenly over its chunks; without streaming they come when it closes.
    """

    start_s: float
    end_s: float
    edges_s: Floats
    in_flight: Floats
    output_tok_s: Floats


def timeline(rows: Rows, repeat: int, bins: int = BINS) -> Timeline | None:
    """The repeat's timeline; None if no request of it was sent and closed."""
    timed = (rows.repeat == repeat) & ~np.isnan(rows.sent_s) & ~np.isnan(rows.closed_s)
    if not timed.any():
        return None
    sent_s, closed_s = rows.sent_s[timed], rows.closed_s[timed]
    start_s, end_s = float(sent_s.min()), float(closed_s.max())
    if end_s <= start_s:
        return None
    edges_s = np.linspace(start_s, end_s, bins + 1)
    width_s = (end_s - start_s) / bins
    at_s, tokens = _tokens(rows, timed)
    # gaps are kept in whole microseconds, so that the very last chunk may seem to come after the end
    counted = np.histogram(np.minimum(at_s, end_s), edges_s, weights=tokens)[0]
    return Timeline(
        start_s=start_s,
        end_s=end_s,
        edges_s=edges_s,
        # request-seconds in each bin: differences of the integral of requests in flight up to each edge
        in_flight=np.diff(_ramp(np.sort(sent_s), edges_s) - _ramp(np.sort(closed_s), edges_s)) / width_s,
        output_tok_s=counted / width_s,
    )


def _ramp(ascending_s: Floats, edges_s: Floats) -> Floats:
    """(edges,) sum over i of max(0, edge - time_i)."""
    before = np.searchsorted(ascending_s, edges_s, side="right")
    summed = np.concatenate([[0.0], np.cumsum(ascending_s)])
    return np.asarray(before * edges_s - summed[before])


def _tokens(rows: Rows, mine: Bools) -> tuple[Floats, Floats]:
    """When chunks came, and how many tokens each counts for; over the requests that ended well."""
    counted = mine & rows.ok & (rows.output_tokens > 0)
    streamed = counted & ~np.isnan(rows.first_s)
    whole = counted & ~streamed
    lengths = rows.gap_counts()[streamed]
    gaps_s = rows.gaps_of(streamed).astype(np.float64) * 1e-6
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp) if len(lengths) else lengths
    # cumulative gaps within each request: the running sum less what it was where the request began
    running = np.concatenate([[0.0], np.cumsum(gaps_s)])
    later_s = np.repeat(rows.first_s[streamed] - running[starts], lengths) + running[1:]
    per_chunk = rows.output_tokens[streamed] / (lengths + 1)
    at_s = np.concatenate([rows.first_s[streamed], later_s, rows.closed_s[whole]])
    tokens = np.concatenate([per_chunk, np.repeat(per_chunk, lengths), rows.output_tokens[whole]])
    return at_s, tokens
