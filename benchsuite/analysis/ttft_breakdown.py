"""The parts of the time to first token, and the server's speed next to the client's. Pure; means only.

TTFT = client + network and HTTP + queue + prefill + rest. An unknown part stays empty and is in the rest.
docs/METHODS.md, Where TTFT goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import Floats, in_window, known_mean, rows_of, rows_where, tokens_after_first_chunk
from benchsuite.analysis.time_series import ServerSeries, ServerWindow
from benchsuite.level import Level
from benchsuite.warning_table import Finding, warn


@dataclass(frozen=True, slots=True)
class ServerUse:
    """One level over its repeats. Means are over time; several endpoints' requests add up, their cache shares average.

    The greatest of a sum over endpoints is the sum of each one's greatest: a bound. preemptions: over all repeats.
    prefix_cache_hit_ratio: of the prompt tokens looked up. None where the server does not tell, or no sample fell into
    the level; reasons says which, by field.
    """

    level: Level
    running_mean: float | None = None
    running_max: float | None = None
    waiting_mean: float | None = None
    waiting_max: float | None = None
    kv_cache_mean_ratio: float | None = None
    kv_cache_max_ratio: float | None = None
    prefix_cache_hit_ratio: float | None = None
    preemptions: float | None = None
    n_samples: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


def server_use(series: ServerSeries | None, windows: Sequence[ServerWindow]) -> list[ServerUse]:
    """One ServerUse per level, ascending. series None: nothing was sampled, all is unknown."""
    levels = sorted({window.level for window in windows})
    return [_server_level(series, level, [w for w in windows if w.level == level]) for level in levels]


_GAUGES = (("running", "running_mean", "running_max", True), ("waiting", "waiting_mean", "waiting_max", True),
           ("kv_cache_ratio", "kv_cache_mean_ratio", "kv_cache_max_ratio", False))  # fmt: skip


def _server_level(series: ServerSeries | None, level: Level, windows: Sequence[ServerWindow]) -> ServerUse:
    if series is None:
        return ServerUse(level, reasons={"all": "the server's metrics were not sampled"})
    found: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    n_samples = 0
    for name, mean_name, max_name, add in _GAUGES:
        parts = [(series.gauge(name, window, add=add), window.busy_s[1] - window.busy_s[0]) for window in windows]
        known = [(mean, most, seconds) for (mean, most, _), seconds in parts if mean is not None and most is not None]
        n_samples = max(n_samples, sum(n for (_, _, n), _ in parts))
        if not known:
            reasons[name] = "no sample within the level, or the server does not report it"
            continue
        found[mean_name] = sum(mean * seconds for mean, _, seconds in known) / sum(seconds for _, _, seconds in known)
        found[max_name] = max(most for _, most, _ in known)
    for name, fields in (
        ("prefix_cache", ("prefix_cache_hits", "prefix_cache_queries")),
        ("preemptions", ("preemptions",)),
    ):
        grown = [series.growth(fields, window) for window in windows]
        totals = [values for values, _ in grown if values is not None]
        if len(totals) < len(windows):
            reasons[name] = next(reason for values, reason in grown if values is None)
        elif name == "preemptions":
            found[name] = sum(values[0] for values in totals)
        elif (queries := sum(values[1] for values in totals)) > 0:
            found["prefix_cache_hit_ratio"] = sum(values[0] for values in totals) / queries
        else:
            reasons[name] = NO_QUERIES
    return ServerUse(level, n_samples=n_samples, reasons=reasons, **found)


NO_QUERIES = "no prefix-cache lookups: the prefix cache is off"
TOLERANCE = 0.02  # a server's count of requests may differ from ours by this share, else its mean is of others too
_NEGATIVE_S = 0.001  # a rest below minus this, and below minus 2 % of TTFT, is said to be wrong


@dataclass(frozen=True, slots=True)
class Attribution:
    """One level over its repeats; means over its n successful requests, in seconds.

    ttft_s: send to first token, as the client measured it; the other parts sum up to it with rest_s. client_s: the
    client's own part of it, 0 with kernel stamps. network_s: TTFT less the server's own, so the network and HTTP on
    both sides. rest_s: what no source explains; below zero where parts are larger than the whole, never cut off.
    dispatch_s, read_lag_p50_s: what the client adds before the send and after the kernel's stamp; neither is in TTFT.
    server_ttft_s: as the server counts it. server_itl_s: over all tokens after the first; client_itl_s: after the first
    chunk.
    sources, reasons: by part, from where it is, or why it is empty.
    """

    level: Level
    n: int
    ttft_s: float | None
    client_s: float | None
    network_s: float | None
    queue_s: float | None
    prefill_s: float | None
    rest_s: float | None
    dispatch_s: float | None = None
    read_lag_p50_s: float | None = None
    server_ttft_s: float | None = None
    server_itl_s: float | None = None
    client_itl_s: float | None = None
    sources: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Finding, ...] = ()


def attribute(requests: Any, windows: Sequence[ServerWindow], series: ServerSeries | None) -> list[Attribution]:
    """One Attribution per level, ascending.

    requests: pyarrow Table with the columns of RequestRecord; only rows of the windows' points are read, of a rate what
    was due in its window. series: the server's samples, None if there are none.
    """
    found = []
    for level in sorted({window.level for window in windows}):
        own = [window for window in windows if window.level == level]
        wanted = pa.array([window.point_id for window in own], pa.string())
        mine = pc.is_in(requests["point_id"].cast(pa.string()), wanted)
        found.append(_level(level, rows_where(requests, pc.and_(mine, in_window(requests))), own, series))
    return found


class _Level:
    """The successful rows of one level, and what the server's samples say of them."""

    def __init__(
        self, table: pa.Table, level: Level, windows: Sequence[ServerWindow], series: ServerSeries | None
    ) -> None:
        ok = pc.fill_null(pc.equal(table["status"].cast(pa.string()), "ok"), False)
        self._table, self._windows, self._series = rows_where(table, ok), windows, series
        self.rows = rows_of(self._table, level)
        points = self._table["point_id"].cast(pa.string())
        self._inside = [np.asarray(pc.equal(points, window.point_id), dtype=bool) for window in windows]
        self._foreign = 0  # rows that were answered by a server that was not sampled
        if series is not None:
            answered = self._table["endpoint"].cast(pa.string()).drop_null()
            sampled = pc.is_in(answered, pa.array(sorted(series.endpoints), pa.string()))
            self._foreign = len(answered) - int(pc.sum(sampled).as_py() or 0)

    def grown(self, fields: tuple[str, str], expected: Floats, counted: str) -> tuple[float, float] | str:
        """What two counters grew by over the windows, if the second grew by what was expected; else why not.

        expected: (n,), what each row adds to the second. counted: the word for that.
        """
        if self._series is None:
            return "the server's metrics were not sampled"
        if self.rows.level.rate_per_s is not None:
            return "the server's counters do not tell the window's requests from those before and behind it"
        if self._foreign:
            return f"{self._foreign} requests were answered by a server that was not sampled"
        total_s = count = 0.0
        for window, inside in zip(self._windows, self._inside, strict=True):
            ours = float(np.nansum(expected[inside]))
            values, reason = self._series.growth(fields, window, ours)
            if values is None:
                return reason
            if abs(values[1] - ours) > TOLERANCE * ours:
                return f"the server counted {values[1]:,.0f} {counted} and the client {ours:,.0f} in {window.point_id}"
            total_s, count = total_s + values[0], count + values[1]
        return (total_s, count) if count > 0 else "the counter did not increase"

    def server_mean(
        self, histogram: str, weights: Floats, counted: str, in_answers: str = "", total: str = ""
    ) -> tuple[float | None, str]:
        """Seconds by the server's own count, from the best source there is, and which; None and why there is none.

        The sources: what it said in each answer (the column `in_answers`), its histogram, a sum that it keeps without a
        count (`total`), which is sound if it generated just our tokens meanwhile. weights: (n,) what a row counts for.
        """
        seconds, counts = np.full(len(weights), np.nan), weights > 0
        if in_answers:
            seconds = self._table[in_answers].cast(pa.float64()).to_numpy()
        known = ~np.isnan(seconds) & counts
        if np.count_nonzero(known) >= (1 - TOLERANCE) * np.count_nonzero(counts) > 0:
            return float(seconds[known].sum() / weights[known].sum()), "each answer"
        grown = self.grown((f"{histogram}_sum_s", f"{histogram}_count"), weights, counted)
        if not isinstance(grown, str):
            return grown[0] / grown[1], "server histogram"
        if total and np.nansum(weights) > 0:
            summed = self.grown((f"{total}_sum_s", "generated_tokens"), self.rows.output_tokens, "tokens")
            if not isinstance(summed, str):
                return summed[0] / float(np.nansum(weights)), "server sum over our requests"
        return None, grown


def _level(level: Level, table: pa.Table, windows: Sequence[ServerWindow], series: ServerSeries | None) -> Attribution:
    of_level = _Level(table, level, windows, series)
    rows = of_level.rows
    ttft_s, n = rows.first_token_s - rows.sent_s, len(rows.ok)
    sources: dict[str, str] = {}
    reasons: dict[str, str] = {}
    each = np.ones(n)

    def keep(part: str, value: float | None, words: str) -> float | None:
        (reasons if value is None else sources)[part] = words
        return value

    ttft, after_first = known_mean(ttft_s), np.maximum(rows.output_tokens - 1, 0)
    if n == 0:
        client = keep("client", None, "no request succeeded")
    elif pc.unique(table["stamp_source"].cast(pa.string())).to_pylist() == ["kernel"]:
        client = keep("client", 0.0, "kernel timestamps: the client's lag is not in TTFT")
    else:
        why = "user-space timestamps: the client's lag is in the network part or the rest"
        client = keep("client", None, why)
    queue = keep("queue", *of_level.server_mean("queue", each, "requests", "server_queue_s", "queue"))
    prefill = keep("prefill", *of_level.server_mean("prefill", each, "requests", "server_prefill_s", "prefill"))
    server_ttft = keep("server_ttft", *of_level.server_mean("ttft", each, "first tokens"))
    of_itl = ("itl", after_first, "tokens after the first", "server_decode_s", "decode")
    server_itl = keep("server_itl", *of_level.server_mean(*of_itl))
    spans_s = rows.last_token_s - rows.first_token_s
    with_span = (after_first > 0) & ~np.isnan(spans_s)
    in_span = np.where(with_span, tokens_after_first_chunk(rows.sent_tokens, rows.n_chunks), 0.0)
    n_in_span = float(in_span.sum())
    network = None
    if ttft is not None and server_ttft is not None:
        network = ttft - server_ttft - (client or 0.0)
    keep("network", network, reasons.get("server_ttft", "") if network is None else "TTFT less the server's")
    parts = [part for part in (network, queue, prefill) if part is not None]
    rest = ttft - sum(parts, start=client or 0.0) if ttft is not None and parts else None
    if rest is None:
        reasons["rest"] = "none of the parts is known" if n else "no request succeeded"
    lags_us = [lag for window in windows if (lag := (window.client.get("read_lag") or {}).get("p50_us")) is not None]
    negative = [
        warn("ttft_breakdown_mismatch", level, excess_ms=-value * 1e3, part=name)
        for name, value in (("rest", rest), ("network", network))
        if ttft is not None and value is not None and value < -max(_NEGATIVE_S, TOLERANCE * ttft)
    ]
    return Attribution(
        level, n, ttft, client, network, queue, prefill, rest,
        dispatch_s=known_mean(rows.sent_s - rows.scheduled_s),
        read_lag_p50_s=float(np.mean(lags_us)) * 1e-6 if lags_us else None,
        server_ttft_s=server_ttft,
        server_itl_s=server_itl,
        client_itl_s=float(spans_s[in_span > 0].sum()) / n_in_span if n_in_span > 0 else None,
        sources=sources,
        reasons=reasons,
        warnings=tuple(negative),
    )  # fmt: skip
