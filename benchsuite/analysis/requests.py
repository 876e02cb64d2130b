"""The requests of each level as arrays: its repeats, every request's own figures, sums of ratios, a timeline. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchsuite.errors import PointsError
from benchsuite.level import Level
from benchsuite.metrics import LATENCIES, Metric, Statistic
from benchsuite.records import end_kind
from benchsuite.results import EMPTY, Distribution
from benchsuite.saturation import Saturation, saturation
from benchsuite.slo import Limit

PERCENTILES = (50, 90, 95, 99)


def describe(values: NDArray[Any], scale: float = 1.0, counts: NDArray[Any] | None = None) -> Distribution:
    """The distribution of `values * scale`; NaN is left out, no value at all gives EMPTY.

    values: (n,) numbers, any order. counts: how often each of them, whole numbers, occurs. Percentiles are observed
    values, the inverse of the empirical distribution function: the smallest value that at least p % of all do not
    exceed. Source: Hyndman & Fan (1996), definition 1.
    """
    if counts is None:
        values = values[~np.isnan(values)]
    n = len(values) if counts is None else int(counts.sum())
    if n == 0:
        return EMPTY
    ranks = [*((n * p + 99) // 100 - 1 for p in PERCENTILES), n - 1]  # ceil(n p / 100) - 1: 0.07 * 100 is not 7
    if counts is None:
        mean = np.mean(values)
        values.partition(ranks)  # a copy
        ends = values[ranks]
    else:
        mean, order = np.dot(values, counts) / n, np.argsort(values)
        ends = values[order][np.searchsorted(np.cumsum(counts[order]), ranks, side="right")]
    return Distribution(n, float(mean) * scale, *(float(end) * scale for end in ends))


Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def known_sum(values: Floats) -> float | None:
    """The sum of the values that are not NaN; None if all are."""
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else None


def known_mean(values: Floats) -> float | None:
    """The mean of the values that are not NaN; None if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


_WINDOW = ("window_start_s", "window_end_s")
_TIMES = ("scheduled_s", "sent_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s", *_WINDOW)
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "asked_output_tokens", "n_chunks")
_COUNTS = ("concurrency", "rate_per_s", "repeat", "n_reads", "merged_reads")
_TEXTS = ("status", "token_source", "finish_reason", "notes")
COLUMNS = (*_COUNTS, *_TIMES, *_TOKENS, *_TEXTS, "chunk_gap_us")


class _Number:
    """A column of numbers: made of the table's whenever it is asked for, and not kept."""

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, rows: Rows, _: type) -> Floats:
        values: Floats = rows.table[self._name].cast(pa.float64()).to_numpy()
        return values


class Rows:
    """Requests of one level, one array element each, all (n,). `*_s` and tokens: float64, NaN if missing.

    table: the level's rows, with COLUMNS. Of a request a few truth values are held besides, so that millions fit into
    memory. failures: how often each status other than ok occurs. timed: successful and with a token. paced: those with
    a TPOT. single_chunk: several tokens in one piece, which have no pace: TPOT 0 would read as endless speed. empty:
    successful and without a token, or with the end's alone. notes: how often each occurs. unknown_ends: finish_reasons
    that nobody knows.
    """

    scheduled_s = _Number()
    sent_s = _Number()
    first_token_s = _Number()
    first_answer_s = _Number()
    last_token_s = _Number()
    closed_s = _Number()
    window_start_s = _Number()
    window_end_s = _Number()
    input_tokens = _Number()
    output_tokens = _Number()
    reasoning_tokens = _Number()
    asked_output_tokens = _Number()
    n_chunks = _Number()

    def __init__(self, table: pa.Table, level: Level) -> None:
        self.table, self.level = table, level
        status = table["status"].cast(pa.string())
        self.ok = ok = _equals(status, "ok")
        self.dropped = _equals(status, "dropped")
        counted = pc.value_counts(status.filter(pa.array(~ok))).to_pylist()
        self.failures = {one["values"]: one["counts"] for one in sorted(counted, key=lambda one: -one["counts"])}
        tokens, streamed, last_s = self.output_tokens, ~np.isnan(self.first_token_s), self.last_token_s
        # a stream without a chunk has no last token; of a response without streaming that is its close
        self.empty = ok & ((tokens == 0) | ((tokens <= 1) & (self.n_chunks == 0) & np.isnan(last_s)))
        self.timed = ok & ~self.empty
        several = self.timed & streamed & (self.sent_tokens >= 2)
        self.paced = several & (last_s - self.first_token_s > 0)
        self.single_chunk = several & ~self.paced
        notes: Counter[str] = Counter()
        for item in pc.value_counts(table["notes"].cast(pa.string()).filter(pa.array(ok))).to_pylist():
            notes.update(dict.fromkeys((item["values"] or "").split(), item["counts"]))
        self.notes = dict(notes)
        ends = {end: end_kind(end) for end in pc.unique(table["finish_reason"].cast(pa.string())).to_pylist() if end}
        self.ended_by_length = _equals(table["finish_reason"], *(end for end, kind in ends.items() if kind == "cap"))
        self.unknown_ends = tuple(end for end, kind in ends.items() if kind == "unknown")
        self.from_usage = _equals(table["token_source"], "usage")
        self.from_tokenizer = _equals(table["token_source"], "tokenizer")
        self.n_reads, self.n_merged_reads = (pc.sum(table[name]).as_py() or 0 for name in ("n_reads", "merged_reads"))

    @property
    def repeat(self) -> NDArray[np.int64]:
        """Of each row."""
        return np.asarray(self.table["repeat"].to_numpy(), np.int64)

    @property
    def begin_s(self) -> Floats:
        """From when its latencies count: when it was sent, of a rate when it was due."""
        return self.sent_s if self.level.rate_per_s is None else self.scheduled_s

    @property
    def sent_tokens(self) -> Floats:
        """The output's but for those of reasoning that are in no chunk."""
        tokens, to_answer_s = self.output_tokens, self.first_answer_s - self.first_token_s
        return tokens - hidden_tokens(self.reasoning_tokens, tokens, self.n_chunks, to_answer_s)

    @property
    def ends_s(self) -> Floats:
        """The last token, without a stream the close."""
        return np.where(np.isnan(self.first_token_s), self.closed_s, self.last_token_s)

    @property
    def decode_span_s(self) -> Floats:
        """The last token minus the first, where TPOT is defined."""
        return np.where(self.paced, self.last_token_s - self.first_token_s, np.nan)

    @property
    def decode_tokens(self) -> Floats:
        """Those that came after the first chunk, where TPOT is defined."""
        return np.where(self.paced, tokens_after_first_chunk(self.sent_tokens, self.n_chunks), np.nan)

    @property
    def latest_s(self) -> Floats:
        """The last that is known of each."""
        return np.fmax(np.fmax(self.closed_s, self.last_token_s), np.fmax(self.first_token_s, self.sent_s))

    def gaps(self, mask: Bools) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """The gaps of the rows in `mask` in microseconds, and how many each row has; some thousand rows at a time."""
        at = 0
        for chunk in self.table["chunk_gap_us"].chunks:
            here, at = mask[at : at + len(chunk)], at + len(chunk)
            if here.any():
                lists = (chunk if here.all() else chunk.filter(pa.array(here))).cast(pa.list_(pa.int32()))
                counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
                yield pc.list_flatten(lists).to_numpy(zero_copy_only=False), counts.astype(np.int64)

    def gaps_of(self, mask: Bools) -> NDArray[np.int32]:
        """The pooled gaps of the rows in `mask`: (sum of their lengths,) microseconds."""
        return np.concatenate([np.empty(0, np.int32), *(gaps_us for gaps_us, _ in self.gaps(mask))])

    def gap_counts(self, mask: Bools) -> NDArray[np.int64]:
        """(2, k) the gaps of the rows in `mask`, each once, and how often it occurs: far fewer than gaps."""
        waiting, most = [np.empty((2, 0), np.int64)], _COUNTED_AT_ONCE
        for gaps_us, _ in self.gaps(mask):
            waiting.append(np.stack(np.unique(gaps_us, return_counts=True)))
            if sum(one.shape[1] for one in waiting) > most:
                waiting = [_added(waiting)]
                most = _COUNTED_AT_ONCE + 2 * waiting[0].shape[1]
        return _added(waiting)

    def gaps_at(self, index: int) -> NDArray[np.float64]:
        """The gaps of one row in seconds."""
        gaps = self.table["chunk_gap_us"][index].values
        return np.empty(0) if gaps is None else gaps.to_numpy(zero_copy_only=False).astype(np.float64) * 1e-6


_COUNTED_AT_ONCE = 2**17


def _added(counted: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    values, counts = np.concatenate(counted, axis=1)
    unique, places = np.unique(values, return_inverse=True)
    return np.stack([unique, np.bincount(places, counts, len(unique)).astype(np.int64)])


class Arrays(Mapping[str, Floats]):
    """Arrays by name, each made when it is asked for; the last two are kept, as one is often asked for again."""

    def __init__(self, makers: Mapping[str, Callable[[], Floats]]) -> None:
        self._makers, self._kept = makers, dict[str, Floats]()

    def __getitem__(self, name: str) -> Floats:
        if name not in self._kept:
            made = self._makers[name]()
            self._kept = {**dict([*self._kept.items()][-1:]), name: made}
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def rows_where(table: pa.Table, mask: Any) -> pa.Table:
    """The rows where `mask`, (n,) truth values, is true. Batches of nothing but such rows are not copied: those of
    other points, and so of other levels, lie apart."""
    kept, at, mask = [], 0, np.asarray(mask, np.bool_)
    for batch in table.to_batches():
        here, at = mask[at : at + len(batch)], at + len(batch)
        if here.any():
            kept.append(batch if here.all() else batch.filter(pa.array(here)))
    return pa.Table.from_batches(kept, table.schema)


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
        return requests.select(COLUMNS)
    return pa.Table.from_pandas(requests[list(COLUMNS)], preserve_index=False)


def levels(table: pa.Table) -> list[Level]:
    """The levels in the table, ascending."""
    closed, rates = (pc.unique(table[name]).to_pylist() for name in ("concurrency", "rate_per_s"))
    found = [Level(users) for users in closed if users is not None]
    return sorted([*found, *(Level(rate, "rate") for rate in rates if rate)])


def at_level(table: pa.Table, level: Level) -> pa.ChunkedArray:
    """(n,) whether a row of the table is of the level."""
    column = table["concurrency" if level.rate_per_s is None else "rate_per_s"]
    return pc.fill_null(pc.equal(column.cast(pa.float64()), float(level.number)), False)


def in_window(table: pa.Table) -> pa.ChunkedArray:
    """(n,) whether a row is measured: all where there is no window, of a rate what is neither warm-up nor tail."""
    after = pc.greater_equal(table["scheduled_s"], table["window_start_s"].cast(pa.float64()))
    return pc.fill_null(pc.and_(after, pc.less(table["scheduled_s"], table["window_end_s"].cast(pa.float64()))), True)


def rows_of(table: pa.Table, level: Level) -> Rows:
    """The rows of one level; of a rate with its warm-up and its tail."""
    return Rows(rows_where(table, at_level(table, level)), level)


def tokens_after_first_chunk(tokens: Floats, n_chunks: Floats) -> Floats:
    """Output tokens that came in the time from the first chunk to the last. (n,) each; n_chunks NaN where not known.

    o - 1 where a chunk holds a token; where chunks hold several, o - o / n_chunks, as if the first were like the rest.
    """
    # a stop token is counted and has no chunk of its own: one token more than chunks is not several a chunk
    several = (n_chunks > 0) & (tokens > n_chunks + 1)
    first = np.divide(tokens, n_chunks, out=np.ones_like(tokens), where=several)
    return np.asarray(tokens - first)


def hidden_tokens(reasoning: Floats, tokens: Floats, n_chunks: Floats, to_answer_s: Floats) -> Floats:
    """(n,) reasoning tokens that are in no chunk: counted, and the answer's first chunk was the first of all.

    They were generated before the first chunk, so that they are in TTFT and not in the time of decoding.
    """
    hidden = (reasoning > 0) & (to_answer_s == 0) & (n_chunks <= tokens - reasoning)
    return np.where(hidden, reasoning, 0.0)


def _equals(column: pa.ChunkedArray, *texts: str) -> Bools:
    same: Bools = pc.is_in(column.cast(pa.string()), pa.array(texts, pa.string())).to_numpy().astype(np.bool_)
    return same


def per_request(rows: Rows, level: Level) -> Arrays:
    """By key of metrics.LATENCIES: (n,) the value of every request, NaN where it is not defined."""

    def of(metric: Metric) -> Floats:
        assert callable(metric.each)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = metric.each(rows)
        return np.where(np.isfinite(values) & (True if metric.of_failed else rows.timed), values, np.nan)

    return Arrays(
        {
            metric.key: partial(of, metric)
            for metric in LATENCIES
            if callable(metric.each) and metric.of_kind in (None, level.kind)
        }
    )


def in_flight(sent_s: Floats, closed_s: Floats) -> tuple[int, float]:
    """The most requests in flight at once, and the integral of their number over time in request-seconds.

    sent_s, closed_s: (n,) seconds, no NaN. The number is a step function of time, walked once. A request that closes at
    the very moment another is sent does not overlap it: the virtual user that waits for the one sends the other.
    """
    times_s = np.concatenate([sent_s, closed_s])
    steps = np.repeat(np.array([1, -1], np.int8), len(sent_s))
    order = np.lexsort((steps, times_s))  # departures before arrivals at the same moment
    times_s, count = times_s[order], np.cumsum(steps[order])
    integral_s = float(np.dot(count[:-1], np.diff(times_s))) if len(count) else 0.0
    return int(count.max(initial=0)), integral_s


def overlap_s(sent_s: Floats, closed_s: Floats, start_s: float, end_s: float) -> float:
    """The same integral between start_s and end_s alone; a request without a beginning or an end is left out."""
    return float(np.nansum(np.clip(np.minimum(closed_s, end_s) - np.maximum(sent_s, start_s), 0.0, None)))


# of a window from start_s to end_s in a load that goes on around it: of a rate, or of a search's probe


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


@dataclass(frozen=True, slots=True)
class Repeat:
    """One repeat of a level. start_s, duration_s: first send to last close; of a rate its window. order: (n,) places of
    its rows, by send time, of a rate by when they were due.

    max_in_flight, in_flight_s: as `in_flight` has them, of the requests with a beginning and an end; of a rate of all
    of them within the window, as arrived_tokens, the output tokens that came in it, and idle_s, when none was in
    flight.
    """

    repeat: int
    start_s: float
    duration_s: float
    order: NDArray[np.intp]
    max_in_flight: int
    in_flight_s: float
    arrived_tokens: float = 0.0
    idle_s: float = 0.0
    saturation: Saturation | None = None

    @property
    def saturated(self) -> bool:
        return self.saturation is not None and bool(self.saturation.saturated)

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


def repeats_of(rows: Rows) -> tuple[Repeat, ...]:
    """The repeats in which a request was sent, ascending."""
    latest_s, of_all, sent_of_all_s, closed_of_all_s = rows.latest_s, rows.repeat, rows.sent_s, rows.closed_s
    found = []
    for repeat in np.unique(of_all):
        mine = np.flatnonzero(of_all == repeat)
        sent_s, closed_s = sent_of_all_s[mine], closed_of_all_s[mine]
        if np.isnan(sent_s).all():
            continue
        ended = ~np.isnan(sent_s) & ~np.isnan(closed_s)
        start_s = float(np.nanmin(sent_s))
        duration_s = float(np.nanmax(latest_s[mine])) - start_s
        order = mine[np.argsort(sent_s, kind="stable")]  # never sent: NaN, last
        found.append(Repeat(int(repeat), start_s, duration_s, order, *in_flight(sent_s[ended], closed_s[ended])))
    return tuple(found)


def _windows(rows: Rows) -> tuple[list[Repeat], Bools, dict[str, Floats]]:
    """The repeats of a rate, or the probe of a search, with places among the measured rows; which rows are measured;
    and of those what of each fell into the window, scaled so that it adds up to what all rows, warm-up and tail too,
    have in it."""
    n, latest_s = len(rows.ok), rows.latest_s
    measured, found = np.zeros(n, dtype=np.bool_), list[Repeat]()
    sums = {name: np.zeros(n) for name in ("arrived_tokens", "prefilled_tokens", "completed", "in_flight_s")}
    tokens = np.where(rows.ok, rows.output_tokens, np.nan)
    begun_s = np.where(np.isnan(rows.first_token_s), rows.closed_s, rows.first_token_s)
    read = np.nan_to_num(rows.input_tokens)
    for repeat in np.unique(rows.repeat):
        mine = rows.repeat == repeat
        due_s, ends_s = rows.scheduled_s[mine], rows.window_end_s[mine]
        start_s = float(np.fmin.reduce(rows.window_start_s[mine]))
        end_s = float(np.fmax.reduce(ends_s))
        if math.isnan(start_s + end_s):  # another tool's, which does not tell
            start_s, end_s = float(due_s.min()), float(np.fmax.reduce(np.append(latest_s[mine], due_s)))
        measured |= (inside := mine & (rows.scheduled_s >= start_s) & (rows.scheduled_s < max(end_s, start_s + 1e-9)))
        order = np.flatnonzero(inside)
        if not len(order) or end_s <= start_s:
            continue
        sent_s, closed_s = np.where(mine, rows.sent_s, np.nan), rows.closed_s
        flight_s = overlaps_s(sent_s, closed_s, start_s, end_s)
        there = flight_s > 0
        close_s = np.where(np.isnan(closed_s), end_s, np.minimum(closed_s, end_s))
        most, _ = in_flight(np.maximum(sent_s[there], start_s), close_s[there])
        times_s = (rows.first_token_s, rows.last_token_s, closed_s)
        of_mine = np.where(mine, tokens, np.nan)
        came = arrived_tokens(of_mine, *times_s, rows.gaps_at, start_s, end_s)
        ended, began = (mine & rows.ok & (at_s > start_s) & (at_s <= end_s) for at_s in (closed_s, begun_s))
        own_sums = (came, np.where(began, read, 0.0), ended.astype(np.float64), flight_s)
        for name, each in zip(sums, own_sums, strict=True):
            own, whole = float(each[order].sum()), float(each.sum())
            sums[name][order] = each[order] * (whole / own) if own > 0 else whole / len(order)
        for name, counted in (("arrived_tokens", of_mine), ("prefilled_tokens", rows.input_tokens)):
            if np.isnan(counted[order]).all():
                sums[name][order] = np.nan
        found_of = saturation(due_s, closed_s[mine], rows.dropped[mine], start_s, end_s)
        by_time = order[np.argsort(rows.scheduled_s[order], kind="stable")]
        found.append(
            Repeat(
                int(repeat), start_s, end_s - start_s, by_time, most, float(flight_s.sum()), float(came.sum()),
                idle_s(sent_s, closed_s, start_s, end_s), found_of,
            )
        )  # fmt: skip
    place = np.cumsum(measured) - 1
    placed = [dataclasses.replace(run, order=place[run.order]) for run in found]
    return placed, measured, {name: values[measured] for name, values in sums.items()}


@dataclass(frozen=True, slots=True)
class LevelRows:
    """The requests of one level, as every metric needs them.

    rows: those that are measured; around: of a rate those of its warm-up and tail too. each: `per_request`. sums: (n,)
    by the names in Metric.ratio, NaN where not known; without `good` where no per-request limits are given, or no
    request tells what they limit. saturated: more than half of the repeats of a rate.
    """

    level: Level
    rows: Rows
    around: Rows
    repeats: tuple[Repeat, ...]
    each: Mapping[str, Floats]
    sums: Mapping[str, Floats]

    @property
    def saturated(self) -> bool:
        return 2 * sum(run.saturated for run in self.repeats) > len(self.repeats)

    @property
    def windowed(self) -> bool:
        """Its repeats are windows in a load that began before and went on: of a rate, or of a search's probes."""
        return self.level.rate_per_s is not None or not bool(np.isnan(self.rows.window_start_s).all())

    @property
    def at_once(self) -> int:
        """Requests that are in the server together: the users of a closed loop, of a rate their mean number."""
        if self.level.concurrency is not None:
            return self.level.concurrency
        seconds = self.total("duration_s")
        return max(1, math.ceil(sum(run.in_flight_s for run in self.repeats) / seconds)) if seconds else 1

    def total(self, name: str, repeat: Repeat | None = None) -> float | None:
        """The sum of `name` over the requests of all repeats, or of one; None if nothing is known."""
        runs = (repeat,) if repeat else self.repeats
        if name in ("duration_s", "user_s"):
            users, seconds = self.level.concurrency if name == "user_s" else 1, sum(one.duration_s for one in runs)
            return seconds * users if seconds > 0 and users is not None else None
        if name == "idle_s":
            return sum(one.idle_s for one in runs)
        if name not in self.sums:
            return None
        return known_sum(self.sums[name] if repeat is None else self.sums[name][repeat.order])

    def ratio(self, metric: Metric, repeat: Repeat | None = None) -> float | None:
        """A metric that is a ratio of sums; None where a sum is not known, or there is nothing below the line."""
        assert metric.ratio is not None
        if metric.of_kind not in (None, self.level.kind):
            return None
        parts, below = [self.total(name, repeat) for name in metric.ratio[0]], self.total(metric.ratio[1], repeat)
        known = [part for part in parts if part is not None]
        return sum(known) / below if below and len(known) == len(parts) else None

    def distribution(self, metric: Metric, repeat: Repeat | None = None) -> Distribution:
        """A metric that each request has."""
        if metric.of_kind not in (None, self.level.kind):
            return EMPTY
        if metric.each != "chunks":
            return describe(self.each[metric.key] if repeat is None else self.each[metric.key][repeat.order])
        mask = self.rows.ok
        if repeat is not None:
            mask = np.zeros_like(mask)
            mask[repeat.order] = self.rows.ok[repeat.order]
        values, counts = self.rows.gap_counts(mask)
        return describe(values, 1e-6, counts)


def level_rows(requests: Any, goodput: Sequence[Limit] = ()) -> Iterator[LevelRows]:
    """Every level, ascending. requests: as for `as_table`. goodput: the limits that each request has to keep."""
    table = as_table(requests)
    for level in levels(table):
        around = rows = rows_of(table, level)
        if level.rate_per_s is None and np.isnan(rows.window_start_s).all():
            repeats, own = repeats_of(rows), dict[str, Floats]()
        else:
            windows, measured, own = _windows(around)
            if not measured.any():  # nothing was due in its window
                continue
            repeats, rows = tuple(windows), Rows(rows_where(around.table, measured), level)
        each = per_request(rows, level)
        yield LevelRows(level, rows, around, repeats, each, sums_of(rows, own, each, goodput))


def sums_of(rows: Rows, own: Mapping[str, Floats], each: Mapping[str, Floats], goodput: Sequence[Limit]) -> Arrays:
    """own: of a rate what is made already."""
    ok, good = rows.ok, _good(rows, each, goodput)
    makers: dict[str, Callable[[], Floats]] = {
        "issued": lambda: np.ones(len(ok)),
        "ok": lambda: ok.astype(np.float64),
        "failed": lambda: (~ok).astype(np.float64),
        "empty": lambda: rows.empty.astype(np.float64),
        "completed": lambda: own.get("completed", ok.astype(np.float64)),
        "input_tokens": lambda: np.where(ok, rows.input_tokens, np.nan),
        "prefilled_tokens": lambda: own.get("prefilled_tokens", np.where(ok, rows.input_tokens, np.nan)),
        "output_tokens": lambda: np.where(ok, rows.output_tokens, np.nan),
        "decode_tokens": lambda: rows.decode_tokens,
        "decode_span_s": lambda: rows.decode_span_s,
        "arrived_tokens": lambda: own.get("arrived_tokens", np.where(ok, rows.output_tokens, np.nan)),
        "in_flight_s": lambda: own.get("in_flight_s", np.nan_to_num(rows.closed_s - rows.sent_s)),
    }
    if good is not None:
        makers |= {"good": lambda: good.astype(np.float64), "good_completed": lambda: good * makers["completed"]()}
    return Arrays(makers)


def _good(rows: Rows, each: Mapping[str, Floats], limits: Sequence[Limit]) -> Bools | None:
    good = rows.ok.copy()
    for limit in limits:
        values = each[limit.metric]
        kept = limit.holds(values)  # false where the value is not known
        if limit.metric == "tpot_s":  # no time passes after the first token, as vLLM's goodput has it
            kept |= rows.ok & ((rows.output_tokens == 1) | rows.single_chunk)
        if rows.ok.any() and not (kept | ~np.isnan(values)).any():
            return None
        good &= kept
    return good if limits else None


def by_repeat(measured: LevelRows, statistic: Statistic, usd_per_hour: float | None = None) -> Floats:
    """(repeats,) the figure of each repeat, ascending, in its base unit; NaN where it is not known.

    usd_per_hour: the whole machine's. Costs without a price are those at a dollar an hour: ratios do not change.
    """
    found = [statistic.of_repeat(measured, repeat, usd_per_hour) for repeat in measured.repeats]
    return np.array([np.nan if value is None else value for value in found], dtype=np.float64)


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


def timeline(rows: Rows, repeat: int, bins: int = 120) -> Timeline | None:
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
    counted = np.zeros(bins)
    # gaps are kept in whole microseconds, so that the very last chunk may seem to come after the end
    for at_s, tokens in _chunk_tokens(rows, timed):
        counted += np.histogram(np.minimum(at_s, end_s), edges_s, weights=tokens)[0]
    return Timeline(
        start_s=start_s,
        end_s=end_s,
        edges_s=edges_s,
        in_flight=np.array([overlap_s(sent_s, closed_s, *edges) for edges in pairwise(edges_s)]) / width_s,
        output_tok_s=counted / width_s,
    )


def _chunk_tokens(rows: Rows, mine: Bools) -> Iterator[tuple[Floats, Floats]]:
    """When chunks came, and how many tokens each counts for; over the requests that ended well, some at a time."""
    first_s, of_tokens = rows.first_token_s, rows.output_tokens
    counted = mine & rows.ok & (of_tokens > 0)
    streamed = counted & ~np.isnan(first_s)
    whole = counted & ~streamed
    yield rows.closed_s[whole], of_tokens[whole]
    first_s, of_tokens = first_s[streamed], of_tokens[streamed]
    for gaps_us, lengths in rows.gaps(streamed):
        (begin_s, first_s), (tokens, of_tokens) = np.split(first_s, [len(lengths)]), np.split(of_tokens, [len(lengths)])
        starts = np.cumsum(lengths) - lengths
        # cumulative gaps within each request: the running sum less what it was where the request began
        running = np.concatenate([[0.0], np.cumsum(gaps_us.astype(np.float64) * 1e-6)])
        per_chunk = tokens / (lengths + 1)
        yield begin_s, per_chunk
        yield np.repeat(begin_s - running[starts], lengths) + running[1:], np.repeat(per_chunk, lengths)
