"""The repeats of one level apart: each run's duration and its requests in the order in which they were sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchsuite.errors import PointsError
from benchsuite.results import EMPTY, Distribution

PERCENTILES = (50, 90, 95, 99)


def describe(values: NDArray[Any], scale: float = 1.0) -> Distribution:
    """The distribution of `values * scale`; NaN is left out, no value at all gives EMPTY.

    values: (n,) numbers, any order. Percentiles are observed values, the inverse of the empirical distribution
    function: the smallest value that at least p % of all do not exceed. Source: Hyndman & Fan (1996), definition 1.
    """
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return EMPTY
    ranks = [(n * p + 99) // 100 - 1 for p in PERCENTILES]  # ceil(n p / 100) - 1 in whole numbers: 0.07 * 100 is not 7
    ordered = np.partition(values, [*ranks, n - 1])
    p50, p90, p95, p99, top = (float(ordered[rank]) * scale for rank in (*ranks, n - 1))
    return Distribution(n, float(np.mean(values)) * scale, p50, p90, p95, p99, top)


Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TIMES = ("scheduled_s", "sent_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")
_TOKENS = ("input_tokens", "output_tokens", "asked_output_tokens")
_COUNTS = ("concurrency", "repeat", "n_reads", "merged_reads")
_TEXTS = ("status", "token_source", "finish_reason")
COLUMNS = (*_COUNTS, *_TIMES, *_TOKENS, *_TEXTS, "chunk_gap_us")


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests of one concurrency level, one array element each, all (n,). `*_s` and tokens: float64, NaN if missing.

    statuses: how often each status other than ok occurs. gap_us: a list of microseconds per request.
    """

    repeat: NDArray[np.int64]
    scheduled_s: Floats
    sent_s: Floats
    first_s: Floats
    answer_s: Floats
    last_s: Floats
    closed_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    asked_tokens: Floats
    ok: Bools
    from_usage: Bools
    ended_by_length: Bools
    n_reads: int
    n_merged_reads: int
    failures: dict[str, int]
    gap_us: pa.ChunkedArray

    def gaps_of(self, mask: Bools) -> NDArray[np.int32]:
        """The pooled gaps of the rows in `mask`: (sum of their lengths,) microseconds."""
        flat: NDArray[np.int32] = pc.list_flatten(self.gap_us.filter(pa.array(mask))).to_numpy()
        return flat

    def gaps_at(self, index: int) -> NDArray[np.float64]:
        """The gaps of one row in seconds."""
        gaps = self.gap_us[index].values
        return np.empty(0) if gaps is None else gaps.to_numpy(zero_copy_only=False).astype(np.float64) * 1e-6


def as_table(requests: Any) -> pa.Table:
    """The columns that the metrics read, from a pandas DataFrame or a pyarrow Table.

    Raises PointsError naming the columns that are missing.
    """
    names = requests.column_names if isinstance(requests, pa.Table) else list(requests.columns)
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise PointsError(
            "the requests table lacks columns: " + ", ".join(missing),
            where="requests",
            expected="the columns of benchsuite.records.RequestRecord",
        )
    if isinstance(requests, pa.Table):
        return requests.select(list(COLUMNS))
    return pa.Table.from_pandas(requests[list(COLUMNS)], preserve_index=False)


def levels(table: pa.Table) -> list[int]:
    """The concurrency levels in the table, ascending."""
    return sorted(pc.unique(table["concurrency"]).to_pylist())


def rows_of(table: pa.Table, concurrency: int) -> Rows:
    """The rows of one level."""
    part = table.filter(pc.equal(table["concurrency"], concurrency))
    status = part["status"].cast(pa.string())
    ok = _equals(status, "ok")
    counted = pc.value_counts(status.filter(pa.array(~ok))).to_pylist()
    gaps = part["chunk_gap_us"]
    times = {name: _floats(part[name]) for name in (*_TIMES, *_TOKENS)}
    return Rows(
        repeat=part["repeat"].to_numpy().astype(np.int64),
        scheduled_s=times["scheduled_s"],
        sent_s=times["sent_s"],
        first_s=times["first_token_s"],
        answer_s=times["first_answer_s"],
        last_s=times["last_token_s"],
        closed_s=times["closed_s"],
        input_tokens=times["input_tokens"],
        output_tokens=times["output_tokens"],
        asked_tokens=times["asked_output_tokens"],
        ok=ok,
        from_usage=_equals(part["token_source"], "usage"),
        ended_by_length=_equals(part["finish_reason"], "length"),
        n_reads=pc.sum(part["n_reads"]).as_py() or 0,
        n_merged_reads=pc.sum(part["merged_reads"]).as_py() or 0,
        failures={item["values"]: item["counts"] for item in sorted(counted, key=lambda item: -item["counts"])},
        # a column of nothing but None has no list type to flatten
        gap_us=gaps.cast(pa.list_(pa.int32())) if pa.types.is_null(gaps.type) else gaps,
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


def _equals(column: pa.ChunkedArray, text: str) -> Bools:
    same: Bools = pc.fill_null(pc.equal(column.cast(pa.string()), text), False).to_numpy().astype(np.bool_)
    return same


@dataclass(frozen=True, slots=True)
class PerRequest:
    """Derived per request: (n,) arrays, NaN where undefined, and for requests that failed."""

    ttft_s: Floats
    ttfa_s: Floats
    e2e_s: Floats
    tpot_s: Floats
    decode_span_s: Floats  # last token minus first, where TPOT is defined
    decode_tokens: Floats  # the tokens that came in it
    n_bursts: int


def per_request(rows: Rows) -> PerRequest:
    """Every request's own figures; docs/METHODS.md defines them."""
    nan = np.nan
    tokens = rows.output_tokens
    ok, empty, streamed = rows.ok, tokens == 0, ~np.isnan(rows.first_s)
    timed = ok & ~empty
    ends_s = np.where(streamed, rows.last_s, rows.closed_s)
    span_s = rows.last_s - rows.first_s
    several = timed & streamed & (tokens >= 2)
    paced = several & (span_s > 0)  # one burst has no pace: TPOT 0 would read as endless speed
    return PerRequest(
        ttft_s=np.where(timed, rows.first_s - rows.sent_s, nan),
        ttfa_s=np.where(timed, rows.answer_s - rows.sent_s, nan),
        e2e_s=np.where(timed, ends_s - rows.sent_s, nan),
        tpot_s=np.where(paced, span_s, nan) / np.where(paced, tokens - 1, nan),
        decode_span_s=np.where(paced, span_s, nan),
        decode_tokens=np.where(paced, tokens - 1, nan),
        n_bursts=int(np.count_nonzero(several & ~paced)),
    )


@dataclass(frozen=True, slots=True)
class InFlight:
    """max_count: most requests at once. integral_s: the integral of the number in flight over time, request-seconds."""

    max_count: int
    integral_s: float


def sweep(sent_s: Floats, closed_s: Floats) -> InFlight:
    """The number in flight as a step function of time, walked once.

    sent_s, closed_s: (n,) seconds, no NaN. A request that closes at the very moment another is sent does not overlap
    it: the virtual user that waits for the one sends the other.
    """
    times_s = np.concatenate([sent_s, closed_s])
    steps = np.repeat(np.array([1, -1]), len(sent_s))
    order = np.lexsort((steps, times_s))  # departures before arrivals at the same moment
    count = np.cumsum(steps[order])
    integral_s = float(np.dot(count[:-1], np.diff(times_s[order]))) if len(count) else 0.0
    return InFlight(max_count=int(count.max(initial=0)), integral_s=integral_s)


def overlap_s(sent_s: Floats, closed_s: Floats, start_s: float, end_s: float) -> float:
    """The same integral between start_s and end_s alone."""
    return float(np.sum(np.clip(np.minimum(closed_s, end_s) - np.maximum(sent_s, start_s), 0.0, None)))


@dataclass(frozen=True, slots=True)
class Repeat:
    """One repeat of a level. duration_s: first send to last close. order: (n,) places of its rows, by send time.

    flight: of the requests with a beginning and an end.
    """

    repeat: int
    duration_s: float
    order: NDArray[np.intp]
    flight: InFlight


def repeats_of(rows: Rows) -> tuple[Repeat, ...]:
    """The repeats in which a request was sent, ascending."""
    latest_s = np.fmax(np.fmax(rows.closed_s, rows.last_s), np.fmax(rows.first_s, rows.sent_s))
    found = []
    for repeat in np.unique(rows.repeat):
        mine = np.flatnonzero(rows.repeat == repeat)
        sent_s, closed_s = rows.sent_s[mine], rows.closed_s[mine]
        if np.isnan(sent_s).all():
            continue
        timed = ~np.isnan(sent_s) & ~np.isnan(closed_s)
        found.append(
            Repeat(
                repeat=int(repeat),
                duration_s=float(np.nanmax(latest_s[mine]) - np.nanmin(sent_s)),
                order=mine[np.argsort(sent_s, kind="stable")],  # never sent: NaN, last
                flight=sweep(sent_s[timed], closed_s[timed]),
            )
        )
    return tuple(found)
