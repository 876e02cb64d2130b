"""One summary per concurrency level: of a run's requests, or of a CSV table of points that others measured. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.intervals import level_intervals
from benchsuite.analysis.requests import LevelRows, level_rows
from benchsuite.analysis.slo_test import SloResampling, slo_resampling
from benchsuite.analysis.steady_state import check_settling, steady_window
from benchsuite.analysis.warnings import check_rows
from benchsuite.errors import PointsError
from benchsuite.metrics import LATENCIES, RATIOS
from benchsuite.results import EMPTY, Distribution, PointSummary
from benchsuite.slo import Slo
from benchsuite.warning_table import Finding, warn


@dataclass(frozen=True, slots=True)
class MeasuredLevel(LevelRows):
    """A level of a run: its requests, what they come to, and what it takes to resample them against the SLO."""

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
    return [_summary(level, model, fixed_length, intervals) for level in level_rows(requests)]


def measure_levels(
    requests: Any, slo: Slo, *, model: str | None = None, fixed_length: bool = False
) -> Iterator[MeasuredLevel]:
    """Every level, ascending; one at a time in memory unless the caller keeps them. Otherwise as `summarise_points`."""
    for level in level_rows(requests, slo.goodput):
        point, resampling = _summary(level, model, fixed_length), slo_resampling(level, slo.effective)
        yield MeasuredLevel(
            level.concurrency, level.rows, level.repeats, level.each, level.sums, point=point, resampling=resampling
        )


def _summary(level: LevelRows, model: str | None, fixed_length: bool, intervals: bool = True) -> PointSummary:
    rows, repeats = level.rows, level.repeats
    n, n_ok, duration_s = len(rows.ok), int(np.count_nonzero(rows.ok)), level.total("duration_s")
    most_in_flight = max(one.max_in_flight for one in repeats) if duration_s is not None else None
    ratios = {metric.key: level.ratio(metric) for metric in RATIOS}
    steady, error = steady_window(level), _littles_law_error(level, duration_s)
    found = check_rows(
        level,
        fixed_length=fixed_length,
        max_in_flight=most_in_flight,
        littles_law_error=error,
        occupancy=ratios["occupancy"],
        steady=steady,
    )
    return PointSummary(
        model=model,
        concurrency=level.concurrency,
        repeat_count=len(np.unique(rows.repeat)),
        n_ok=n_ok,
        n_failed=n - n_ok,
        duration_s=None if duration_s is None else duration_s / len(repeats),
        input_tokens=_count(level.total("input_tokens")),
        output_tokens=_count(level.total("output_tokens")),
        ratios=ratios,
        distributions={metric.key: level.distribution(metric) for metric in LATENCIES},
        failures=rows.failures,
        steady=steady,
        max_in_flight=most_in_flight,
        littles_law_error=error,
        tokens_wasted=0 if n_ok == n else _count(_known_sum(rows.output_tokens[~rows.ok])),
        warnings=(*found, *check_settling(level)),
        intervals=level_intervals(level) if intervals and duration_s is not None else {},
    )


def _littles_law_error(level: LevelRows, duration_s: float | None) -> float | None:
    """X W' = L: the left side from counts and durations, the right side from the step function."""
    rows, busy_s = level.rows, sum(one.in_flight_s for one in level.repeats)
    durations_s = rows.closed_s - rows.sent_s
    if duration_s is None or busy_s <= 0 or np.isnan(durations_s).all():
        return None
    left = float(np.count_nonzero(~np.isnan(rows.sent_s)) / duration_s * np.nanmean(durations_s))
    right = busy_s / duration_s
    return abs(left - right) / right


def _known_sum(values: Any) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else None


def _count(tokens: float | None) -> int | None:
    return None if tokens is None else int(tokens)


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
    rates: dict[str, float | None] = {
        "output_tok_s_per_user": throughput,
        "output_tok_s": None if output_tokens is None else output_tokens / time_s,
        "total_tok_s": None if both is None else both / time_s,
        "request_per_s": requests / time_s,
    }
    return PointSummary(
        model=model,
        concurrency=concurrency,
        repeat_count=1,
        n_ok=requests,
        n_failed=None,
        duration_s=time_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        ratios=dict.fromkeys((metric.key for metric in RATIOS), None) | rates,
        distributions={metric.key: EMPTY for metric in LATENCIES}
        | ({} if ttft_s is None else {"ttft_s": Distribution(n=requests, mean=ttft_s)}),
        warnings=tuple(_warnings(cells, concurrency, throughput, printed, both)),
    )


def _warnings(
    cells: _Cells, concurrency: int, throughput: float | None, printed: float | None, both: int | None
) -> Iterator[Finding]:
    decimals = len(cells.text("throughput_tok_s").partition(".")[2])
    # One whole unit of the last printed place: the inputs of the formula were rounded before printing too.
    if throughput is not None and printed is not None and abs(throughput - printed) > 10.0**-decimals:
        yield warn("throughput_identity", concurrency, where=cells.where, printed=printed, computed=throughput)
    total = cells.count("total_tokens")
    if total is not None and both is not None and total != both:
        yield warn("token_identity", concurrency, where=cells.where, printed=total, computed=both)
