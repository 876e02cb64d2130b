"""From the requests table to one PointSummary per concurrency level. Pure; docs/METHODS.md defines every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.distribution import describe
from benchsuite.analysis.in_flight import sweep
from benchsuite.analysis.row_checks import check_rows
from benchsuite.analysis.rows import Floats, Rows, as_table, levels, rows_of
from benchsuite.analysis.steady import steady_window
from benchsuite.results import PointSummary


def summarise_points(requests: Any, *, model: str | None, fixed_length: bool = False) -> list[PointSummary]:
    """One summary per concurrency level, ascending; repeats of a level are pooled.

    requests: pandas DataFrame or pyarrow Table with the columns of RequestRecord. fixed_length: the workload asked for
    exactly `asked_output_tokens`, so ending by length is what should happen. No rows give no points. Raises
    PointsError if columns are missing.
    """
    table = as_table(requests)
    return [_summarise(rows_of(table, level), level, model, fixed_length) for level in levels(table)]


@dataclass(frozen=True, slots=True)
class _PerRequest:
    """Derived per request: (n,) arrays, NaN where undefined, and for requests that failed."""

    ttft_s: Floats
    ttfa_s: Floats
    e2e_s: Floats
    tpot_s: Floats
    decode_span_s: Floats  # last token minus first, where TPOT is defined
    decode_tokens: Floats  # the tokens that came in it
    n_bursts: int


def _per_request(rows: Rows) -> _PerRequest:
    nan = np.nan
    tokens = rows.output_tokens
    ok, empty, streamed = rows.ok, tokens == 0, ~np.isnan(rows.first_s)
    timed = ok & ~empty
    ends_s = np.where(streamed, rows.last_s, rows.closed_s)
    span_s = rows.last_s - rows.first_s
    several = timed & streamed & (tokens >= 2)
    paced = several & (span_s > 0)  # one burst has no pace: TPOT 0 would read as endless speed
    return _PerRequest(
        ttft_s=np.where(timed, rows.first_s - rows.sent_s, nan),
        ttfa_s=np.where(timed, rows.answer_s - rows.sent_s, nan),
        e2e_s=np.where(timed, ends_s - rows.sent_s, nan),
        tpot_s=np.where(paced, span_s, nan) / np.where(paced, tokens - 1, nan),
        decode_span_s=np.where(paced, span_s, nan),
        decode_tokens=np.where(paced, tokens - 1, nan),
        n_bursts=int(np.count_nonzero(several & ~paced)),
    )


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the loop as a whole did, over all repeats. None where no request was sent."""

    wall_s: float | None  # summed
    timed_repeats: int
    busy_s: float  # the integral of requests in flight
    max_in_flight: int | None
    little_error: float | None


def _machine(rows: Rows) -> _Machine:
    wall_s, busy_s, timed, most = 0.0, 0.0, 0, 0
    sent, closed = ~np.isnan(rows.sent_s), ~np.isnan(rows.closed_s)
    latest_s = np.fmax(np.fmax(rows.closed_s, rows.last_s), np.fmax(rows.first_s, rows.sent_s))
    for repeat in np.unique(rows.repeat):
        mine = rows.repeat == repeat
        if not np.any(mine & sent):
            continue
        both = mine & sent & closed
        flight = sweep(rows.sent_s[both], rows.closed_s[both])
        wall_s += float(np.nanmax(latest_s[mine]) - np.nanmin(rows.sent_s[mine]))
        busy_s += flight.integral_s
        most, timed = max(most, flight.max_count), timed + 1
    if timed == 0 or wall_s <= 0:
        return _Machine(None, 0, 0.0, None, None)
    # Little's law, X W' = L: the left side from counts and durations, the right side from the step function.
    durations_s = (rows.closed_s - rows.sent_s)[sent & closed]
    left = float(np.count_nonzero(sent) / wall_s * durations_s.mean()) if len(durations_s) else None
    right = busy_s / wall_s
    error = abs(left - right) / right if left is not None and right > 0 else None
    return _Machine(wall_s, timed, busy_s, most, error)


def _summarise(rows: Rows, concurrency: int, model: str | None, fixed_length: bool) -> PointSummary:
    each, machine = _per_request(rows), _machine(rows)
    n, n_ok = len(rows.ok), int(np.count_nonzero(rows.ok))
    wall_s = machine.wall_s
    input_tokens = _total(rows.input_tokens[rows.ok])
    output_tokens = _total(rows.output_tokens[rows.ok])
    both_tokens = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    decode_s = float(np.nansum(each.decode_span_s))
    steady = steady_window(rows, concurrency, each.ttft_s)
    occupancy = None if wall_s is None else machine.busy_s / (wall_s * concurrency)
    return PointSummary(
        model=model,
        concurrency=concurrency,
        repeat_count=len(np.unique(rows.repeat)),
        n_ok=n_ok,
        n_failed=n - n_ok,
        failures=rows.failures,
        error_rate=(n - n_ok) / n,
        wall_s=None if wall_s is None else wall_s / machine.timed_repeats,
        ttft_s=describe(each.ttft_s),
        ttfa_s=describe(each.ttfa_s),
        tpot_s=describe(each.tpot_s),
        e2e_s=describe(each.e2e_s),
        chunk_gap_s=describe(rows.gaps_of(rows.ok), scale=1e-6),
        dispatch_s=describe(rows.sent_s - rows.scheduled_s),
        throughput_paper_tok_s=_rate(output_tokens, None if wall_s is None else wall_s * concurrency),
        decode_tok_s=float(np.nansum(each.decode_tokens)) / decode_s if decode_s > 0 else None,
        request_e2e_tok_s=describe(_positive_ratio(rows.output_tokens, each.e2e_s)),
        request_decode_tok_s=describe(1 / each.tpot_s),
        output_tok_s=_rate(output_tokens, wall_s),
        total_tok_s=_rate(both_tokens, wall_s),
        request_per_s=_rate(n_ok, wall_s),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        steady=steady,
        occupancy=occupancy,
        max_in_flight=machine.max_in_flight,
        little_error=machine.little_error,
        tokens_wasted=0 if n_ok == n else _total(rows.output_tokens[~rows.ok]),
        warnings=check_rows(
            rows,
            concurrency=concurrency,
            fixed_length=fixed_length,
            n_bursts=each.n_bursts,
            max_in_flight=machine.max_in_flight,
            little_error=machine.little_error,
            occupancy=occupancy,
            steady=steady,
        ),
    )


def _total(tokens: Floats) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = tokens[~np.isnan(tokens)]
    return int(known.sum()) if len(known) else None


def _rate(count: int | None, seconds: float | None) -> float | None:
    return None if count is None or seconds is None else count / seconds


def _positive_ratio(above: Floats, below: Floats) -> Floats:
    fine = (above > 0) & (below > 0)
    ratio: Floats = np.where(fine, above, np.nan) / np.where(fine, below, np.nan)
    return ratio
