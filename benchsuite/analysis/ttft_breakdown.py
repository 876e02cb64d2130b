"""Where the time to the first token goes, and whether the server's speed is the client's. Pure; means only.

TTFT = client + network and HTTP + queue + prefill + rest. What a source cannot tell stays empty, and the rest holds it.
docs/METHODS.md, Where TTFT goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.requests import Floats
from benchsuite.analysis.time_series import ServerSeries, ServerWindow
from benchsuite.warning_table import Finding, warn


@dataclass(frozen=True, slots=True)
class ServerUse:
    """One level over its repeats. Means are over time; several endpoints' requests add up, their cache shares average.

    The greatest of a sum over endpoints is the sum of each one's greatest: a bound. preemptions: over all repeats.
    prefix_cache_hit_ratio: of the prompt tokens looked up. None where the server does not tell, or no sample fell into
    the level; reasons says which, by field.
    """

    concurrency: int
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
    levels = sorted({window.concurrency for window in windows})
    return [_server_level(series, level, [w for w in windows if w.concurrency == level]) for level in levels]


_GAUGES = (("running", "running_mean", "running_max", True), ("waiting", "waiting_mean", "waiting_max", True),
           ("kv_cache_ratio", "kv_cache_mean_ratio", "kv_cache_max_ratio", False))  # fmt: skip


def _server_level(series: ServerSeries | None, level: int, windows: Sequence[ServerWindow]) -> ServerUse:
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
            reasons[name] = "no sample inside the level, or the server does not tell"
            continue
        found[mean_name] = sum(mean * seconds for mean, _, seconds in known) / sum(seconds for _, _, seconds in known)
        found[max_name] = max(most for _, most, _ in known)
    hits = _sum(series, ("prefix_cache_hits", "prefix_cache_queries"), windows, "prefix_cache", reasons)
    if hits is not None and hits[1] > 0:
        found["prefix_cache_hit_ratio"] = hits[0] / hits[1]
    preempted = _sum(series, ("preemptions",), windows, "preemptions", reasons)
    if preempted is not None:
        found["preemptions"] = preempted[0]
    return ServerUse(level, n_samples=n_samples, reasons=reasons, **found)


def _sum(
    series: ServerSeries, fields: tuple[str, ...], windows: Sequence[ServerWindow], name: str, reasons: dict[str, str]
) -> list[float] | None:
    grown = [series.growth(fields, window) for window in windows]
    lacking = next((one.reason for one in grown if one.values is None), None)
    if lacking is not None:
        reasons[name] = lacking
        return None
    return [sum(values) for values in zip(*(one.values for one in grown if one.values is not None), strict=True)]


TOLERANCE = 0.02  # a server's count of requests may differ from ours by this share, else its mean is of others too
_NEGATIVE_S = 0.001  # a rest below minus this, and below minus 2 % of TTFT, is said to be wrong
_COLUMNS = (
    "point_id", "status", "endpoint", "stamp_source", "scheduled_s", "sent_s", "first_token_s", "last_token_s",
    "output_tokens", "server_queue_s", "server_prefill_s", "server_decode_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribution:
    """One level over its repeats; means over its n successful requests, in seconds.

    ttft_s: send to first token, as the client measured it; the other parts sum up to it with rest_s. client_s: the
    client's own part of it, 0 with kernel stamps. network_s: TTFT less the server's own, so the network and HTTP on
    both sides. rest_s: what no source explains; below zero where parts are larger than the whole, never cut off.
    dispatch_s, read_lag_p50_s: what the client adds before the send and after the kernel's stamp; neither is in TTFT.
    server_ttft_s: as the server counts it. server_itl_s and client_itl_s: per token after the first, over all tokens.
    sources, reasons: by part, from where it is, or why it is empty.
    """

    concurrency: int
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

    requests: pyarrow Table with the columns of RequestRecord; only rows of the windows' points are read. series: the
    server's samples, None if there are none.
    """
    requests = requests.select([name for name in _COLUMNS if name in requests.column_names])
    found = []
    for level in sorted({window.concurrency for window in windows}):
        own = [window for window in windows if window.concurrency == level]
        wanted = pa.array([window.point_id for window in own], pa.string())
        found.append(
            _level(level, requests.filter(pc.is_in(requests["point_id"].cast(pa.string()), wanted)), own, series)
        )
    return found


class _Level:
    """The successful rows of one level, and what the server's samples say of them."""

    def __init__(self, table: pa.Table, windows: Sequence[ServerWindow], series: ServerSeries | None) -> None:
        ok = pc.fill_null(pc.equal(table["status"].cast(pa.string()), "ok"), False)
        self._table, self._windows, self._series = table.filter(ok), windows, series
        points = self._table["point_id"].cast(pa.string())
        self._own = [np.asarray(pc.equal(points, window.point_id), dtype=bool) for window in windows]
        self.foreign = self._foreign()

    def column(self, name: str) -> Floats:
        """(n,) float64, NaN where missing; all NaN where the table has no such column."""
        if name not in self._table.column_names:
            return np.full(self._table.num_rows, np.nan)
        values: Floats = self._table[name].cast(pa.float64()).to_numpy()
        return values

    def _foreign(self) -> int:
        """How many rows were answered by a server that was not sampled."""
        if self._series is None or "endpoint" not in self._table.column_names:
            return 0
        known = self._series.endpoints
        counted = pc.value_counts(self._table["endpoint"].cast(pa.string())).to_pylist()
        return sum(one["counts"] for one in counted if one["values"] is not None and one["values"] not in known)

    def mean(self, figure: str, expected: Floats, unit: str) -> tuple[float | None, str]:
        """The server's mean of a histogram, or None and why. expected: (n,), what each row adds to its count."""
        if self._series is None:
            return None, "the server's metrics were not sampled"
        if self.foreign:
            return None, f"{self.foreign} requests were answered by a server that was not sampled"
        total_s = count = 0.0
        for window, own in zip(self._windows, self._own, strict=True):
            ours = float(np.nansum(expected[own]))
            grown = self._series.growth((f"{figure}_sum_s", f"{figure}_count"), window, ours)
            if grown.values is None:
                return None, grown.reason
            if abs(grown.values[1] - ours) > TOLERANCE * ours:
                return None, f"the server counted {grown.values[1]:,.0f} {unit} and we {ours:,.0f} in {window.point_id}"
            total_s, count = total_s + grown.values[0], count + grown.values[1]
        return (total_s / count, "server histogram") if count > 0 else (None, "nothing was counted")

    def share(self, figure: str, per: float, tokens: Floats) -> tuple[float | None, str]:
        """A sum that the server keeps without a count, over `per`; sound if it generated just our tokens meanwhile."""
        if self._series is None or self.foreign or not per > 0:
            return None, ""
        total_s = 0.0
        for window, own in zip(self._windows, self._own, strict=True):
            ours = float(np.nansum(tokens[own]))
            grown = self._series.growth((f"{figure}_sum_s", "generated_tokens"), window, ours)
            if grown.values is None:
                return None, grown.reason
            if abs(grown.values[1] - ours) > TOLERANCE * ours:
                return None, f"the server generated {grown.values[1]:,.0f} tokens and we got {ours:,.0f}"
            total_s += grown.values[0]
        return total_s / per, "server sum over our requests"


def _level(level: int, table: pa.Table, windows: Sequence[ServerWindow], series: ServerSeries | None) -> Attribution:
    rows = _Level(table, windows, series)
    sent_s, first_s = rows.column("sent_s"), rows.column("first_token_s")
    ttft_s, tokens = first_s - sent_s, rows.column("output_tokens")
    n = len(ttft_s)
    sources: dict[str, str] = {}
    reasons: dict[str, str] = {}
    each = np.ones(n)

    def keep(part: str, value: float | None, words: str) -> float | None:
        (reasons if value is None else sources)[part] = words
        return value

    ttft = _mean(ttft_s)
    client = keep("client", *(_client(table) if n else (None, "no request succeeded")))
    queue = keep("queue", *_server_part(rows, "queue", each, tokens))
    prefill = keep("prefill", *_server_part(rows, "prefill", each, tokens))
    server_ttft = keep("server_ttft", *rows.mean("ttft", each, "first tokens"))
    network = None if ttft is None or server_ttft is None else ttft - server_ttft - (client or 0.0)
    network = keep(
        "network", network, "TTFT less the server's" if network is not None else reasons.get("server_ttft", "")
    )
    told = [part for part in (client, network, queue, prefill) if part is not None]
    explained = any(part is not None for part in (network, queue, prefill))
    rest = None if ttft is None or not explained else ttft - sum(told)
    if rest is None:
        reasons["rest"] = "nothing is known of the parts" if n else "no request succeeded"
    server_itl, client_itl = _itl(rows, tokens, keep)
    return Attribution(
        level, n, ttft, client, network, queue, prefill, rest,
        dispatch_s=_mean(sent_s - rows.column("scheduled_s")),
        read_lag_p50_s=_read_lag(windows),
        server_ttft_s=server_ttft,
        server_itl_s=server_itl,
        client_itl_s=client_itl,
        sources=sources,
        reasons=reasons,
        warnings=_warnings(level, ttft, rest, network),
    )  # fmt: skip


def _server_part(rows: _Level, part: str, each: Floats, tokens: Floats) -> tuple[float | None, str]:
    """The best source there is: what the server said of each request, its histogram, its sum."""
    said = rows.column(f"server_{part}_s")
    known = int(np.count_nonzero(~np.isnan(said)))
    if known and known >= (1 - TOLERANCE) * len(said):
        return _mean(said), "each answer"
    value, words = rows.mean(part, each, "requests")
    if value is None:
        by_sum, instead = rows.share(part, float(len(each)), tokens)
        if by_sum is not None:
            return by_sum, instead
    return value, words


def _itl(rows: _Level, tokens: Floats, keep: Any) -> tuple[float | None, float | None]:
    """Seconds per token after the first, by the server and by us."""
    after_first = np.maximum(tokens - 1, 0)
    n_after = float(np.nansum(after_first))
    span_s = rows.column("last_token_s") - rows.column("first_token_s")
    spans = float(np.nansum(span_s[after_first > 0]))
    ours = spans / n_after if n_after > 0 else None
    said = rows.column("server_decode_s")
    known = ~np.isnan(said) & (after_first > 0)
    if np.count_nonzero(known) >= (1 - TOLERANCE) * np.count_nonzero(after_first > 0) > 0:
        theirs: float | None = float(said[known].sum() / after_first[known].sum())
        return keep("server_itl", theirs, "each answer"), ours
    value, words = rows.mean("itl", after_first, "tokens after the first")
    if value is None:
        by_sum, instead = rows.share("decode", n_after, tokens)
        if by_sum is not None:
            value, words = by_sum, instead
    return keep("server_itl", value, words), ours


def _client(table: pa.Table) -> tuple[float | None, str]:
    stamps = set(pc.unique(table["stamp_source"].cast(pa.string())).to_pylist())
    if stamps == {"kernel"}:
        return 0.0, "kernel stamps: the client's own lag is not in TTFT"
    return None, "stamps of the client's own process: its lag is in the network's part or the rest"


def _read_lag(windows: Sequence[ServerWindow]) -> float | None:
    known = [lag for window in windows if (lag := (window.client.get("read_lag") or {}).get("p50_us")) is not None]
    return float(np.mean(known)) * 1e-6 if known else None


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _warnings(level: int, ttft: float | None, rest: float | None, network: float | None) -> tuple[Finding, ...]:
    found = []
    for name, value in (("rest", rest), ("network", network)):
        if ttft is not None and value is not None and value < -max(_NEGATIVE_S, TOLERANCE * ttft):
            found.append(warn("ttft_breakdown_mismatch", level, excess_ms=-value * 1e3, part=name))
    return tuple(found)
