"""What a chart shows, as its title: the finding in a few words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchsuite.economics.optimum import measured
from benchsuite.report.charts import Series
from benchsuite.report.words import number
from benchsuite.results import Judged
from benchsuite.slo import Limit


def whole_percent(ratio: float) -> str:
    """A share for a sentence: '34 %', which no line break parts."""
    return f"{100 * ratio:.0f}\u00a0%"


def least(said: str, values: Sequence[tuple[Judged, float | None]], show: Callable[[float], str]) -> str:
    """'output costs least at 32: $0.0180 per 1M tokens'."""
    known = [(value, j.point.concurrency) for j, value in values if value is not None]
    if not known:
        return f"where {said} is not known"
    value, level = min(known)
    return f"{said} at {level}: {show(value)}"


def against(what: str, limits: Sequence[Limit], judged: Sequence[Judged]) -> str | None:
    """'TTFT keeps ttft_mean < 1 s up to 16': how the levels stand to the first limit. None without a limit."""
    if not limits or not judged:
        return None
    limit = limits[0]
    values = [(j.point.concurrency, measured(j.point, limit)) for j in judged]
    if all(value is None for _, value in values):
        return None
    missing = [level for level, value in values if value is not None and not limit.holds(value)]
    if not missing:
        unknown = any(value is None for _, value in values)
        return f"{what} keeps {limit} at every {'known ' * unknown}level"
    if len(missing) == len(values):
        return f"{what} misses {limit} at every level"
    if len(missing) > 1 and all(level in missing for level, _ in values if level >= missing[0]):
        return f"{what} misses {limit} from {missing[0]} up"
    return f"{what} misses {limit} at {', '.join(str(level) for level in missing)}"


def course(what: str, series: Series, unit: str) -> str:
    """'mean TPOT goes from 10.0 ms at 2 to 30.0 ms at 8'."""
    known = [p for p in series.points if p.y is not None]
    if not known:
        return f"{what} is not known"
    first, last = known[0], known[-1]
    if first is last:
        return f"{what} at {first.x:g}: {number(first.y)} {unit}"
    if len({number(p.y) for p in known}) == 1:
        return f"{what} stays at {number(first.y)} {unit}"
    return f"{what} goes from {number(first.y)} {unit} at {first.x:g} to {number(last.y)} {unit} at {last.x:g}"
