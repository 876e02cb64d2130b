"""One summary per concurrency level: of a run's requests, or of a CSV table of points that others measured. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from benchsuite.analysis.intervals import level_intervals
from benchsuite.analysis.requests import Floats, LevelRows, Repeat, describe, known_sum, level_rows
from benchsuite.analysis.slo_test import SloResampling, slo_resampling
from benchsuite.analysis.steady_state import check_settling, steady_window
from benchsuite.analysis.warnings import check_rows
from benchsuite.errors import PointsError
from benchsuite.level import Level
from benchsuite.metrics import LATENCIES, METRICS, RATIOS
from benchsuite.results import EMPTY, Distribution, PointSummary
from benchsuite.slo import Slo
from benchsuite.strict_model import StrictModel, key, parse_csv, refuse_lines
from benchsuite.warning_table import warn


@dataclass(frozen=True, slots=True)
class MeasuredLevel(LevelRows):
    """A level of a run: its requests, their summary, and the sums to resample them against the SLO."""

    point: PointSummary
    resampling: SloResampling


def summarise_points(
    requests: Any, *, model: str | None, fixed_length: bool = False, intervals: bool = True
) -> list[PointSummary]:
    """One summary per concurrency level, ascending; repeats of a level are pooled.

    requests: pandas DataFrame or pyarrow Table with the columns of RequestRecord. fixed_length: the workload asked for
    exactly `asked_output_tokens`, so ending by length is what should happen. intervals: resampled too, which takes most
    of the time. No rows give no points. Raises PointsError if columns are missing.
    """
    return [_summary(measured, model, fixed_length, intervals) for measured in level_rows(requests)]


def point_figures(tables: Iterable[pa.Table], duration_s: float, latencies: Collection[str]) -> PointSummary | None:
    """Counts, rates and latencies of one point, of its rows a table at a time; None without rows.

    Of each request no more than its latencies is in memory; of a rate or a probe all, for what arrived in its window is
    told by all rows together. duration_s: where the rows do not tell it.
    latencies: the keys of those that are wanted, of metrics that each request has one of.
    """
    each, sums = defaultdict[str, list[Floats]](list), defaultdict[str, list[float]](list)
    level, n, first_s, last_s = None, 0, np.inf, -np.inf
    tables, windowed = (table for table in tables if len(table)), False  # a file begins with an empty one
    first = next(tables, None)
    if first is not None:
        windowed = any(first[name].null_count < first.num_rows for name in ("rate_per_s", "window_start_s"))
        tables = [pa.concat_tables([first, *tables])] if windowed else chain([first], tables)
    for measured in (measured for table in tables for measured in level_rows(table)):
        rows, level = measured.rows, measured.level
        n += len(rows.ok)
        first_s, last_s = np.fmin.reduce(rows.sent_s, initial=first_s), np.fmax.reduce(rows.latest_s, initial=last_s)
        for name in latencies:
            gaps_us = rows.gaps_of(rows.ok) if METRICS[name].each == "chunks" else None
            each[name].append(
                measured.each.get(name, np.empty(0)) if gaps_us is None else gaps_us.astype(np.float64) * 1e-6
            )
        for name, values in measured.sums.items():
            sums[name].append(float("nan") if (total := known_sum(values)) is None else total)
    if level is None:
        return None
    whole = Repeat(0, float(first_s), float(last_s - first_s), np.arange(0), 0, 0.0)
    if windowed and measured.repeats:
        whole = measured.repeats[0]
    pooled = LevelRows(level, rows, rows, (whole,), {}, {name: np.array(parts) for name, parts in sums.items()})
    n_ok, duration_s = int(sum(sums["ok"])), whole.duration_s if whole.duration_s > 0 else duration_s
    ratios = {metric.key: pooled.ratio(metric) for metric in RATIOS}
    distributions = {name: describe(np.concatenate(parts)) for name, parts in each.items()}
    return PointSummary(None, level, 1, n_ok, n - n_ok, duration_s, None, None, ratios, distributions)


def measure_levels(
    requests: Any, slo: Slo, *, model: str | None = None, fixed_length: bool = False
) -> Iterator[MeasuredLevel]:
    """Every level, ascending; one at a time in memory unless the caller keeps them. Otherwise as `summarise_points`."""
    for measured in level_rows(requests, slo.goodput):
        point, resampling = _summary(measured, model, fixed_length), slo_resampling(measured, slo)
        parts = {field.name: getattr(measured, field.name) for field in fields(LevelRows)}
        yield MeasuredLevel(**parts, point=point, resampling=resampling)


def _summary(measured: LevelRows, model: str | None, fixed_length: bool, intervals: bool = True) -> PointSummary:
    rows, repeats = measured.rows, measured.repeats
    n, n_ok, duration_s = len(rows.ok), int(np.count_nonzero(rows.ok)), measured.total("duration_s")
    # X W' = L: the left side from counts and durations, the right side from the step function
    in_flight_s, took_s = sum(one.in_flight_s for one in repeats), rows.closed_s - rows.sent_s
    littles_law_error = None
    # what overlaps the ends of a window is in one side alone
    if not measured.windowed and duration_s is not None and in_flight_s > 0 and not np.isnan(took_s).all():
        left = float(np.count_nonzero(~np.isnan(rows.sent_s)) / duration_s * np.nanmean(took_s))
        right = in_flight_s / duration_s
        littles_law_error = abs(left - right) / right
    point = PointSummary(
        model=model,
        level=measured.level,
        repeat_count=len(np.unique(rows.repeat)),
        n_ok=n_ok,
        n_failed=n - n_ok,
        duration_s=None if duration_s is None else duration_s / len(repeats),
        input_tokens=_count(measured.total("input_tokens")),
        output_tokens=_count(measured.total("output_tokens")),
        reasoning_tokens=_count(known_sum(np.where(rows.ok, rows.reasoning_tokens, np.nan))),
        ratios={metric.key: measured.ratio(metric) for metric in RATIOS},
        distributions={metric.key: measured.distribution(metric) for metric in LATENCIES},
        failures=rows.failures,
        steady=steady_window(measured),
        max_in_flight=None if duration_s is None else max(one.max_in_flight for one in repeats),
        littles_law_error=littles_law_error,
        saturated=measured.saturated,
        probed=measured.windowed and measured.level.rate_per_s is None,
        tokens_wasted=0 if n_ok == n else _count(known_sum(rows.output_tokens[~rows.ok])),
        intervals=level_intervals(measured) if intervals and duration_s is not None else {},
    )
    return replace(point, warnings=(*check_rows(measured, point, fixed_length), *check_settling(measured)))


def _count(tokens: float | None) -> int | None:
    return None if tokens is None else int(tokens)


class _Row(StrictModel):
    model: str
    concurrency: int = key(..., "the level", gt=0)
    requests: int = key(..., "of one run of the set", gt=0)
    time_s: float = key(..., "one run of the set", gt=0)
    ttft_s: float | None = key(None, "mean", ge=0)
    input_tokens: int | None = key(None, "of all requests", ge=0)
    output_tokens: int | None = key(None, "of all requests", ge=0)
    total_tokens: int | None = key(None, "of all requests", ge=0)
    throughput_tok_s: Decimal | None = key(None, "per user, as printed", ge=0)


_EXPECTED = "model, concurrency, requests, time_s; optional: ttft_s and token counts"


def parse_points(text: str, *, where: str) -> list[PointSummary]:
    """One PointSummary per line of a CSV table with a header, in the table's order.

    Columns other than `_Row`'s are left alone. An empty cell is None. Throughput is recomputed as output / (time *
    concurrency); the printed one serves without output tokens, and otherwise only for a warning. `where` names the
    table in errors. Raises PointsError naming every mistake with its line.
    """
    what = "the table of levels"
    rows = parse_csv(text, _Row, what, where=where, expected=_EXPECTED, error_type=PointsError)
    if not rows:
        raise PointsError(f"{what} has no rows", where=where, expected="one line per model and level")
    first: dict[tuple[str, int], int] = {}
    twice = []
    for number, row in rows.items():
        if first.setdefault((row.model, row.concurrency), number) != number:
            twice.append((number, f"level {row.concurrency} of {row.model} appears twice"))
    refuse_lines(what, twice, where=where, error_type=PointsError)
    return [_point(row, f"{where}:{number}") for number, row in rows.items()]


def _point(row: _Row, where: str) -> PointSummary:
    output, time_s, printed = row.output_tokens, row.time_s, row.throughput_tok_s
    per_user = (
        output / (time_s * row.concurrency) if output is not None else None if printed is None else float(printed)
    )
    both = None if row.input_tokens is None or output is None else row.input_tokens + output
    rates: dict[str, float | None] = {
        "output_tok_s_per_user": per_user,
        "output_tok_s": None if output is None else output / time_s,
        "total_tok_s": None if both is None else both / time_s,
        "request_per_s": row.requests / time_s,
    }
    warnings = []
    # One whole unit of the last printed place: the inputs of the formula were rounded before printing too.
    if (
        printed is not None
        and per_user is not None
        and abs(per_user - float(printed)) > 10.0 ** int(printed.as_tuple().exponent)
    ):
        values = {"where": where, "printed": float(printed), "computed": per_user}
        warnings.append(warn("throughput_identity", Level(row.concurrency), **values))
    if row.total_tokens is not None and both is not None and row.total_tokens != both:
        warnings.append(
            warn("token_identity", Level(row.concurrency), where=where, printed=row.total_tokens, computed=both)
        )
    return PointSummary(
        model=row.model,
        level=Level(row.concurrency),
        repeat_count=1,
        n_ok=row.requests,
        n_failed=None,
        duration_s=time_s,
        input_tokens=row.input_tokens,
        output_tokens=output,
        ratios=dict.fromkeys((metric.key for metric in RATIOS), None) | rates,
        distributions={metric.key: EMPTY for metric in LATENCIES}
        | ({} if row.ttft_s is None else {"ttft_s": Distribution(n=row.requests, mean=row.ttft_s)}),
        warnings=tuple(warnings),
    )
