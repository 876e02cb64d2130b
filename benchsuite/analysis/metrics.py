"""From the requests table to one PointSummary per concurrency level. Pure; docs/METHODS.md defines every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.distribution import describe
from benchsuite.analysis.per_request import PerRequest, per_request
from benchsuite.analysis.point_intervals import level_intervals
from benchsuite.analysis.row_checks import check_rows
from benchsuite.analysis.rows import Floats, Rows, as_table, levels, rows_of
from benchsuite.analysis.runs import OneRun, runs_of
from benchsuite.analysis.settling import check_settling
from benchsuite.analysis.slo_sums import LevelSums, level_sums
from benchsuite.analysis.steady import steady_window
from benchsuite.results import PointSummary
from benchsuite.slo import Limit


def summarise_points(requests: Any, *, model: str | None, fixed_length: bool = False) -> list[PointSummary]:
    """One summary per concurrency level, ascending; repeats of a level are pooled.

    requests: pandas DataFrame or pyarrow Table with the columns of RequestRecord. fixed_length: the workload asked for
    exactly `asked_output_tokens`, so ending by length is what should happen. No rows give no points. Raises
    PointsError if columns are missing.
    """
    return [point for point, _ in summarise_for(requests, (), model=model, fixed_length=fixed_length)]


def summarise_for(
    requests: Any, limits: Sequence[Limit], *, model: str | None, fixed_length: bool = False
) -> list[tuple[PointSummary, LevelSums]]:
    """The same, and what it takes to resample each level against `limits`."""
    table = as_table(requests)
    found = []
    for level in levels(table):  # one level at a time in memory
        rows = rows_of(table, level)
        each, runs = per_request(rows), runs_of(rows)
        point = _summarise(rows, each, runs, level, model, fixed_length)
        found.append((point, level_sums(rows, each, runs, level, limits)))
    return found


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the loop as a whole did, over all repeats. None where no request was sent."""

    wall_s: float | None  # summed
    timed_repeats: int
    busy_s: float  # the integral of requests in flight
    max_in_flight: int | None
    little_error: float | None


def _machine(rows: Rows, runs: Sequence[OneRun]) -> _Machine:
    sent, closed = ~np.isnan(rows.sent_s), ~np.isnan(rows.closed_s)
    wall_s = sum(run.wall_s for run in runs)
    busy_s = sum(run.flight.integral_s for run in runs)
    most, timed = max((run.flight.max_count for run in runs), default=0), len(runs)
    if timed == 0 or wall_s <= 0:
        return _Machine(None, 0, 0.0, None, None)
    # Little's law, X W' = L: the left side from counts and durations, the right side from the step function.
    durations_s = (rows.closed_s - rows.sent_s)[sent & closed]
    left = float(np.count_nonzero(sent) / wall_s * durations_s.mean()) if len(durations_s) else None
    right = busy_s / wall_s
    error = abs(left - right) / right if left is not None and right > 0 else None
    return _Machine(wall_s, timed, busy_s, most, error)


def _summarise(
    rows: Rows, each: PerRequest, runs: Sequence[OneRun], concurrency: int, model: str | None, fixed_length: bool
) -> PointSummary:
    machine = _machine(rows, runs)
    n, n_ok = len(rows.ok), int(np.count_nonzero(rows.ok))
    wall_s = machine.wall_s
    input_tokens = _total(rows.input_tokens[rows.ok])
    output_tokens = _total(rows.output_tokens[rows.ok])
    both_tokens = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    decode_s = float(np.nansum(each.decode_span_s))
    steady = steady_window(rows, concurrency, each.ttft_s)
    occupancy = None if wall_s is None else machine.busy_s / (wall_s * concurrency)
    found = check_rows(
        rows,
        concurrency=concurrency,
        fixed_length=fixed_length,
        n_bursts=each.n_bursts,
        max_in_flight=machine.max_in_flight,
        little_error=machine.little_error,
        occupancy=occupancy,
        steady=steady,
    )
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
        warnings=(*found, *check_settling(rows, each, runs, concurrency)),
        intervals=level_intervals(rows, each, runs, concurrency) if wall_s is not None else {},
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
