"""How full the server was at each level, in its own words: queue, running, caches, preemptions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchsuite.analysis.server_series import ServerSeries, Window


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


def server_use(series: ServerSeries | None, windows: Sequence[Window]) -> list[ServerUse]:
    """One ServerUse per level, ascending. series None: nothing was sampled, all is unknown."""
    levels = sorted({window.concurrency for window in windows})
    return [_level(series, level, [w for w in windows if w.concurrency == level]) for level in levels]


_GAUGES = (("running", "running_mean", "running_max", True), ("waiting", "waiting_mean", "waiting_max", True),
           ("kv_cache_ratio", "kv_cache_mean_ratio", "kv_cache_max_ratio", False))  # fmt: skip


def _level(series: ServerSeries | None, level: int, windows: Sequence[Window]) -> ServerUse:
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
    series: ServerSeries, fields: tuple[str, ...], windows: Sequence[Window], name: str, reasons: dict[str, str]
) -> list[float] | None:
    grown = [series.growth(fields, window) for window in windows]
    lacking = next((one.reason for one in grown if one.values is None), None)
    if lacking is not None:
        reasons[name] = lacking
        return None
    return [sum(values) for values in zip(*(one.values for one in grown if one.values is not None), strict=True)]
