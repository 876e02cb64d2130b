"""Points that others have measured: a CSV table with one line per model and concurrency level, parsed from its text."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.intervals import level_intervals
from benchsuite.analysis.requests import (
    Floats,
    PerRequest,
    Repeat,
    Rows,
    as_table,
    describe,
    levels,
    per_request,
    repeats_of,
    rows_of,
)
from benchsuite.analysis.slo_test import SloResampling, slo_resampling
from benchsuite.analysis.steady_state import check_settling, steady_window
from benchsuite.analysis.warnings import check_rows
from benchsuite.errors import InputError, PointsError
from benchsuite.results import EMPTY, Distribution, Finding, PointSummary
from benchsuite.slo import LATENCIES, STATS, Limit


def summarise_points(
    requests: Any, *, model: str | None, fixed_length: bool = False, intervals: bool = True
) -> list[PointSummary]:
    """One summary per concurrency level, ascending; repeats of a level are pooled.

    requests: pandas DataFrame or pyarrow Table with the columns of RequestRecord. fixed_length: the workload asked for
    exactly `asked_output_tokens`, so ending by length is what should happen. intervals: resampled too, which takes most
    of the time. No rows give no points. Raises PointsError if columns are missing.
    """
    measured = measure_levels(requests, (), model=model, fixed_length=fixed_length, intervals=intervals)
    return [level.point for level in measured]


@dataclass(frozen=True, slots=True)
class MeasuredLevel:
    """One level as it was measured: its rows, every request's own figures, its repeats apart, and the summary of all.

    resampling: what it takes to resample the level against the limits of an SLO.
    """

    concurrency: int
    rows: Rows
    each: PerRequest
    runs: tuple[Repeat, ...]
    point: PointSummary
    resampling: SloResampling

    @property
    def repeats(self) -> tuple[int, ...]:
        """Which repeats there are, ascending."""
        return tuple(run.repeat for run in self.runs)


def measure_levels(
    requests: Any,
    limits: Sequence[Limit] = (),
    *,
    model: str | None = None,
    fixed_length: bool = False,
    intervals: bool = True,
) -> Iterator[MeasuredLevel]:
    """Every level, ascending; one at a time in memory unless the caller keeps them. Otherwise as `summarise_points`."""
    table = as_table(requests)
    for level in levels(table):
        rows = rows_of(table, level)
        each, runs = per_request(rows), repeats_of(rows)
        point = _summarise(rows, each, runs, level, model, fixed_length, intervals)
        yield MeasuredLevel(level, rows, each, runs, point, slo_resampling(rows, each, runs, level, limits))


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the loop as a whole did, over all repeats. None where no request was sent."""

    duration_s: float | None  # summed
    timed_repeats: int
    busy_s: float  # the integral of requests in flight
    max_in_flight: int | None
    little_error: float | None


def _machine(rows: Rows, runs: Sequence[Repeat]) -> _Machine:
    sent, closed = ~np.isnan(rows.sent_s), ~np.isnan(rows.closed_s)
    duration_s = sum(run.duration_s for run in runs)
    busy_s = sum(run.flight.integral_s for run in runs)
    most, timed = max((run.flight.max_count for run in runs), default=0), len(runs)
    if timed == 0 or duration_s <= 0:
        return _Machine(None, 0, 0.0, None, None)
    # Little's law, X W' = L: the left side from counts and durations, the right side from the step function.
    durations_s = (rows.closed_s - rows.sent_s)[sent & closed]
    left = float(np.count_nonzero(sent) / duration_s * durations_s.mean()) if len(durations_s) else None
    right = busy_s / duration_s
    error = abs(left - right) / right if left is not None and right > 0 else None
    return _Machine(duration_s, timed, busy_s, most, error)


def _summarise(
    rows: Rows,
    each: PerRequest,
    runs: Sequence[Repeat],
    concurrency: int,
    model: str | None,
    fixed_length: bool,
    intervals: bool,
) -> PointSummary:
    machine = _machine(rows, runs)
    n, n_ok = len(rows.ok), int(np.count_nonzero(rows.ok))
    duration_s = machine.duration_s
    input_tokens = _total(rows.input_tokens[rows.ok])
    output_tokens = _total(rows.output_tokens[rows.ok])
    both_tokens = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    decode_s = float(np.nansum(each.decode_span_s))
    steady = steady_window(rows, concurrency, each.ttft_s)
    occupancy = None if duration_s is None else machine.busy_s / (duration_s * concurrency)
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
        duration_s=None if duration_s is None else duration_s / machine.timed_repeats,
        ttft_s=describe(each.ttft_s),
        ttfa_s=describe(each.ttfa_s),
        tpot_s=describe(each.tpot_s),
        e2e_s=describe(each.e2e_s),
        itl_s=describe(rows.gaps_of(rows.ok), scale=1e-6),
        dispatch_s=describe(rows.sent_s - rows.scheduled_s),
        output_tok_s_per_user=_rate(output_tokens, None if duration_s is None else duration_s * concurrency),
        decode_tok_s=float(np.nansum(each.decode_tokens)) / decode_s if decode_s > 0 else None,
        request_e2e_tok_s=describe(_positive_ratio(rows.output_tokens, each.e2e_s)),
        request_decode_tok_s=describe(1 / each.tpot_s),
        output_tok_s=_rate(output_tokens, duration_s),
        total_tok_s=_rate(both_tokens, duration_s),
        request_per_s=_rate(n_ok, duration_s),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        steady=steady,
        occupancy=occupancy,
        max_in_flight=machine.max_in_flight,
        little_error=machine.little_error,
        tokens_wasted=0 if n_ok == n else _total(rows.output_tokens[~rows.ok]),
        warnings=(*found, *check_settling(rows, each, runs, concurrency)),
        intervals=level_intervals(rows, each, runs, concurrency) if intervals and duration_s is not None else {},
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


_RATES = ("output_tok_s_per_user", "decode_tok_s", "output_tok_s", "request_per_s", "occupancy")
_LESS_IS_BETTER = ("duration_s", "cost_usd", "usd_per_1m_output_tokens")
NAMES = (*_LESS_IS_BETTER, *_RATES, *(f"{latency}_{stat}_s" for latency in LATENCIES for stat in STATS))
_SHORT = {
    "cost": "usd_per_1m_output_tokens", "wall": "duration_s", "throughput": "output_tok_s_per_user",
    "decode": "decode_tok_s", "output": "output_tok_s", "requests": "request_per_s", "rps": "request_per_s",
}  # fmt: skip
_WORDS = {"e2el": "e2e", "latency": "e2e"}
_TAILS = ("p95", "p99", "max")


def figure_name(text: str, *, where: str) -> str:
    """The name in NAMES that a person means: 'ttft_p95', 'ttft' (its mean), 'cost', 'output_tok_s', ...

    Raises InputError with the nearest name.
    """
    name = text.strip().lower()
    word, _, rest = name.removesuffix("_s").partition("_")
    word = _WORDS.get(word, word)
    for tried in (name, _SHORT.get(name, name), f"{word}_{rest}_s", f"{word}_mean_s"):
        if tried in NAMES and (tried != f"{word}_mean_s" or rest in ("", "mean")):
            return tried
    known = [*_SHORT, *(f"{latency}_{stat}" for latency in LATENCIES for stat in STATS), *NAMES]
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else None
    if word == "error":
        hint = "an error rate may be 0 and has no ratio: limit it with --slo 'error_rate<1%'"
    raise InputError("no such figure", where=where, given=text, expected="for example ttft_p95, tpot, cost", hint=hint)


def short_name(name: str) -> str:
    """How a person asks for a name of NAMES: 'cost', 'ttft_p95'."""
    return next((short for short, long in _SHORT.items() if long == name), name.removesuffix("_s"))


def more_is_better(name: str) -> bool:
    """True of rates, False of times and costs."""
    return name in _RATES


def is_tail(name: str) -> bool:
    """True of p95, p99 and max, which few requests decide."""
    return any(f"_{stat}_" in name for stat in _TAILS)


def by_run(level: MeasuredLevel, name: str, usd_per_hour: float | None = None) -> Floats:
    """(runs,) the figure of each run, ascending by repeat, in the unit of its name; NaN where it is not known.

    usd_per_hour: the whole machine's. Costs without a price are those at a dollar an hour: ratios do not change.
    """
    return np.array([_figure(level, run, name, usd_per_hour) for run in level.runs])


def _figure(level: MeasuredLevel, run: Repeat, name: str, usd_per_hour: float | None) -> float:
    rows, mine = level.rows, run.order
    if name.endswith("_s") and (parts := name.split("_"))[0] in LATENCIES:
        return _latency(level, mine, parts[0], parts[1])
    ok = mine[rows.ok[mine]]
    tokens = _sum(rows.output_tokens[ok])
    usd = (1.0 if usd_per_hour is None else usd_per_hour) * run.duration_s / 3600
    match name:
        case "duration_s":
            return run.duration_s
        case "cost_usd":
            return usd
        case "usd_per_1m_output_tokens":
            return _over(usd * 1e6, tokens)
        case "output_tok_s_per_user":
            return _over(tokens, run.duration_s * level.concurrency)
        case "output_tok_s":
            return _over(tokens, run.duration_s)
        case "request_per_s":
            return _over(float(len(ok)), run.duration_s)
        case "occupancy":
            return _over(run.flight.integral_s, run.duration_s * level.concurrency)
        case "decode_tok_s":
            return _over(_sum(level.each.decode_tokens[mine]), _sum(level.each.decode_span_s[mine]))
    raise ValueError(f"no figure {name!r}")


def _latency(level: MeasuredLevel, mine: Any, latency: str, stat: str) -> float:
    if latency == "itl":
        chosen = np.zeros(len(level.rows.ok), dtype=np.bool_)
        chosen[mine] = level.rows.ok[mine]
        found = describe(level.rows.gaps_of(chosen), scale=1e-6)
    else:
        values: Floats = getattr(level.each, f"{latency}_s")
        found = describe(values[mine])
    value = found.stat(stat)
    return np.nan if value is None else value


def _sum(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else np.nan


def _over(above: float, below: float) -> float:
    return above / below if below > 0 else np.nan


REQUIRED = ("model", "concurrency", "requests", "time_s")
OPTIONAL = ("ttft_s", "input_tokens", "output_tokens", "total_tokens", "throughput_tok_s")


def parse_points(text: str, *, where: str) -> list[PointSummary]:
    """One PointSummary per line of a CSV table with a header, in the table's order.

    Columns read: model, concurrency, requests, time_s (one run of the set), and where present ttft_s (mean),
    input_tokens, output_tokens, total_tokens, throughput_tok_s; all others are left alone. An empty cell is None.
    Throughput is recomputed as output / (time * concurrency); the printed one serves without output tokens, and
    otherwise only for a warning. `where` names the table in errors. Raises PointsError naming the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise PointsError(
                "the points table lacks columns: " + ", ".join(missing),
                where=f"{where}:1",
                given=", ".join(header) or "an empty file",
                expected=", ".join(REQUIRED) + "; optional: " + ", ".join(OPTIONAL),
            )
        points: dict[tuple[str | None, int], PointSummary] = {}
        for row in reader:
            at = f"{where}:{reader.line_num}"
            point = _point(_Cells(row, at))
            key = point.model, point.concurrency
            if key in points:
                raise PointsError("a level of a model appears twice", where=at, given=f"{key[0]}, {key[1]}")
            points[key] = point
    except csv.Error as error:
        raise PointsError(
            "the points table is not valid CSV", where=f"{where}:{reader.line_num}", given=error
        ) from None
    if not points:
        raise PointsError("the points table has no rows", where=where, expected="one line per model and level")
    return list(points.values())


class _Cells:
    """The cells of one line, read as numbers."""

    def __init__(self, row: Mapping[str | None, str | list[str] | None], where: str) -> None:
        if None in row or None in row.values():
            raise PointsError("a line has not as many cells as the header", where=where)
        self.row, self.where = row, where

    def text(self, name: str) -> str:
        value = self.row.get(name) or ""
        return value.strip() if isinstance(value, str) else ""

    def number(self, name: str, *, above_zero: bool = False) -> float | None:
        """None for an empty or absent cell."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            expected = "a number above 0" if above_zero else "a number of at least 0"
            raise PointsError(f"{name} does not read", where=self.where, given=repr(text), expected=expected)
        return value

    def count(self, name: str, *, above_zero: bool = False) -> int | None:
        value = self.number(name, above_zero=above_zero)
        if value is not None and not value.is_integer():
            raise PointsError(
                f"{name} does not read", where=self.where, given=self.text(name), expected="a whole number"
            )
        return None if value is None else int(value)

    def need(self, name: str, value: float | str | None) -> None:
        if value is None or value == "":
            raise PointsError(f"{name} is empty", where=self.where, expected="a value in this column")


def _point(cells: _Cells) -> PointSummary:
    model, concurrency = cells.text("model"), cells.count("concurrency", above_zero=True)
    requests, time_s = cells.count("requests", above_zero=True), cells.number("time_s", above_zero=True)
    for name, value in zip(REQUIRED, (model, concurrency, requests, time_s), strict=True):
        cells.need(name, value)
    assert concurrency is not None
    assert requests is not None
    assert time_s is not None
    ttft_s, printed = cells.number("ttft_s"), cells.number("throughput_tok_s")
    input_tokens, output_tokens = cells.count("input_tokens"), cells.count("output_tokens")
    throughput = printed if output_tokens is None else output_tokens / (time_s * concurrency)
    both = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    return PointSummary(
        model=model,
        concurrency=concurrency,
        repeat_count=1,
        n_ok=requests,
        n_failed=None,
        failures={},
        error_rate=None,
        duration_s=time_s,
        ttft_s=EMPTY if ttft_s is None else Distribution(n=requests, mean=ttft_s),
        ttfa_s=EMPTY,
        tpot_s=EMPTY,
        e2e_s=EMPTY,
        itl_s=EMPTY,
        dispatch_s=EMPTY,
        output_tok_s_per_user=throughput,
        decode_tok_s=None,
        request_e2e_tok_s=EMPTY,
        request_decode_tok_s=EMPTY,
        output_tok_s=None if output_tokens is None else output_tokens / time_s,
        total_tok_s=None if both is None else both / time_s,
        request_per_s=requests / time_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        steady=None,
        occupancy=None,
        max_in_flight=None,
        little_error=None,
        warnings=tuple(_warnings(cells, concurrency, throughput, printed, both)),
    )


def _warnings(
    cells: _Cells, concurrency: int, throughput: float | None, printed: float | None, both: int | None
) -> list[Finding]:
    found = []
    decimals = len(cells.text("throughput_tok_s").partition(".")[2])
    # One whole unit of the last printed place: the inputs of the formula were rounded before printing too.
    if throughput is not None and printed is not None and abs(throughput - printed) > 10.0**-decimals:
        found.append(
            Finding(
                "throughput_identity",
                f"{cells.where}: printed throughput {printed:g} tok/s, the formula gives {throughput:.2f}",
                "output / (time * concurrency) is used; check the row against its source",
                concurrency,
            )
        )
    total = cells.count("total_tokens")
    if total is not None and both is not None and total != both:
        found.append(
            Finding(
                "token_identity",
                f"{cells.where}: printed total {total} tokens, input + output is {both}",
                "input + output is used; check the row against its source",
                concurrency,
            )
        )
    return found
