"""One probe of a search: how far each limit is kept or missed by what it has measured, and how sure that is. Pure.

A margin is ln(limit / figure), signed so that above 0 the limit is kept. Of a share of requests it is that of its bad
part: an attainment of 98 % against 95 % is ln(5 / 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy import special

from benchsuite.analysis.autocorrelation import autocorrelation, effective_size
from benchsuite.analysis.intervals import MAX_LAG1
from benchsuite.analysis.requests import Bools, Floats, Rows, arrived_tokens, as_table, per_request, sums_of
from benchsuite.level import Level, LevelKind
from benchsuite.metrics import Metric
from benchsuite.slo import Limit, Slo

PARTS = 20  # batches of requests, and equal parts of the window
LOOKS = 3
BAND = 0.03  # what a run may be off by: a verdict within it is none
_TAIL = 0.05 / LOOKS / 2  # each side of an interval, so that all looks together miss in 5 %
_CAP = 5.0  # a margin of e^5 is as good as any
Verdict = Literal["kept", "missed", "undecided"]


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """What a probe has so far: requests that began in it, from its settling on, so many that all of them have ended.

    each: by key of metrics.LATENCIES (n,) in order of beginning, NaN where a request has none. sums: (n,) by the names
    in Metric.ratio that requests have. parts: (PARTS,) by those names, what came in equal parts of the window, of
    part_s seconds each. cycle_s: (n,) what each took of its user's time, from when that was free; of a rate unused.
    """

    each: Mapping[str, Floats]
    sums: Mapping[str, Floats]
    parts: Mapping[str, Floats]
    part_s: float
    cycle_s: Floats


@dataclass(frozen=True, slots=True)
class Look:
    """margins: by the limit's name (value, standard error); of a guard of the SLO only where it is proven exceeded.
    shares: of a limit on a share its margin; of a percentile that of the share of requests beyond the limit. ln_x: of
    ln(what is paid for, a second): good requests where a rate has per-request limits, else output tokens; None: none.
    A rate that does not saturate is served as it comes.
    """

    verdict: Verdict
    margins: dict[str, tuple[float, float]]
    shares: dict[str, tuple[float, float]]
    ln_x: tuple[float, float] | None


_IN_PARTS = ("arrived_tokens", "completed", "good_completed", "prefilled_tokens")


def can_judge(metric: Metric, kind: LevelKind) -> bool:
    """Whether a probe tells it: no gaps between chunks, and nothing of a run with a beginning and an end."""
    if metric.of_kind not in (None, kind):
        return False
    if metric.ratio is None:
        return callable(metric.each)
    above, below = metric.ratio
    above = tuple("arrived_tokens" if name == "output_tokens" else name for name in above)
    return below not in ("duration_s", "user_s") or set(above) <= {*_IN_PARTS}


def rows_of_probe(table: Any, level: Level, slo: Slo, start_s: float) -> tuple[int, ProbeRows | None]:
    """How many requests of a probe that began after start_s have ended up to the first that has not; and what they say,
    in the window up to when the last of them began; None below PARTS. At a rate one begins when it is due; so does one
    that was never sent, as its connection failed.

    table: the probe's rows so far, as for requests.as_table, with `request_id`, which ends with a request's number.
    """
    number = np.array([int(name.rpartition("-")[2]) for name in table["request_id"].to_pylist()], dtype=np.int64)
    due_s, sent_s = (table[name].cast("float64").to_numpy() for name in ("scheduled_s", "sent_s"))
    began_s = due_s if level.rate_per_s is not None else np.where(np.isnan(sent_s), due_s, sent_s)  # no connection
    inside = np.flatnonzero(began_s >= start_s)
    before = number[began_s < start_s].max(initial=-1)
    if level.rate_per_s is None:  # a process may send later what it took earlier, and the set does not begin at 0
        inside = inside[number[inside] > before]
        if before < 0 and len(inside):
            before = number[inside].min() - 1
    inside = inside[np.argsort(number[inside])]
    n = int(np.sum(np.cumprod(np.diff(number[inside], prepend=before) == 1))) if len(inside) else 0
    if n < PARTS:
        return n, None
    prefix = inside[:n]
    end_s = float(began_s[prefix[-1]])
    around = Rows(as_table(table), level)
    measured = Rows(as_table(table.take(prefix)), level)
    each = per_request(measured, level)
    edges_s, tokens = np.linspace(start_s, end_s, PARTS + 1), np.where(around.ok, around.output_tokens, np.nan)
    times_s = (around.first_token_s, around.last_token_s, around.closed_s)
    came = [np.nansum(arrived_tokens(tokens, *times_s, around.gaps_at, *pair)) for pair in pairwise(edges_s)]
    sums = sums_of(measured, {}, each, slo.goodput)
    whole = sums_of(around, {}, per_request(around, level), slo.goodput)
    parts = {"arrived_tokens": np.array(came)}
    for name, at_s in {
        "completed": around.closed_s,
        "good_completed": around.closed_s,
        "prefilled_tokens": times_s[0],
    }.items():
        if name in whole:
            at_s, weights = np.nan_to_num(at_s, nan=-1.0), np.nan_to_num(whole[name])
            parts[name] = np.histogram(at_s, edges_s, weights=weights)[0]
    cycle_s = np.nan_to_num(measured.closed_s - measured.scheduled_s)
    return n, ProbeRows(each, sums, parts, (end_s - start_s) / PARTS, cycle_s)


def look(slo: Slo, rows: ProbeRows, level: Level) -> Look:
    """The verdict: kept where every interval is beyond 3 %, missed where one is beyond -3 %.

    Intervals are of 95 % over three looks. A figure that is not known keeps nothing.
    """
    margins, shares = dict[str, tuple[float, float]](), dict[str, tuple[float, float]]()
    verdicts = list[Verdict]()
    for place, limit in enumerate(slo.effective):
        value, error, low, high = _margin(limit, rows, level)
        if place >= len(slo.limits) and high >= 0:
            continue
        margins[limit.name] = value, error
        each = rows.each.get(limit.metric)
        if limit.statistic.metric.share:
            shares[limit.name] = value, error
        elif limit.share not in (None, 1) and each is not None and not np.isnan(each).all():
            shares[limit.name] = _of_share(~limit.holds(each[~np.isnan(each)]), 1 - (limit.share or 0))[:2]
        verdicts.append("kept" if low > BAND else "missed" if high < -BAND else "undecided")
    paid = rows.sums.get("good" if level.kind == "rate" and slo.goodput else "output_tokens")
    ln_x = None
    if paid is not None and np.nansum(paid) > 0:
        # by Little's law, over requests, which says it with less error than what came in equal parts of the window
        each_s = np.full(len(paid), 1 / level.number) if level.kind == "rate" else rows.cycle_s / level.users
        value = float(np.nansum(paid) / each_s.sum())
        error = _mean(np.nan_to_num(paid) - value * each_s)[1] / float(each_s.mean())
        ln_x = math.log(value), error / value
    missed = "missed" in verdicts or ln_x is None
    kept = all(verdict == "kept" for verdict in verdicts)
    return Look("missed" if missed else "kept" if kept else "undecided", margins, shares, ln_x)


def _margin(limit: Limit, rows: ProbeRows, level: Level) -> tuple[float, float, float, float]:
    """The margin, its standard error, and the ends of its interval."""
    metric = limit.statistic.metric
    if metric.share:
        assert metric.ratio is not None
        counted = rows.sums.get(metric.ratio[0][0])
        if counted is None:
            return -_CAP, 0.0, -_CAP, -_CAP
        return _of_share(counted, limit.value) if limit.is_upper else _of_share(1 - counted, 1 - limit.value)
    values = rows.each.get(metric.key, np.empty(0))
    values = values[~np.isnan(values)]
    if metric.ratio is not None:
        found = _ratio(metric.ratio, rows, level)
    elif len(values) < PARTS:
        found = None
    elif limit.stat == "mean":
        found = _mean(values)
    else:
        return _quantile(limit, values)
    if found is None or found[0] <= 0:
        return -_CAP, 0.0, -_CAP, -_CAP
    value, error, t = found
    margin, relative = _signed(limit, value), error / value
    return margin, relative, margin - t * relative, margin + t * relative


def _signed(limit: Limit, figure: float) -> float:
    margin = math.log(max(limit.value, 1e-12) / max(figure, 1e-12))
    return float(np.clip(margin if limit.is_upper else -margin, -_CAP, _CAP))


def _mean(values: Floats) -> tuple[float, float, float]:
    """The mean, its standard error by batches, half as many while neighbours correlate, and t of so many."""
    batches = PARTS
    while True:
        means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
        if batches <= PARTS // 4 or autocorrelation(means)[1] <= MAX_LAG1:
            break
        batches //= 2
    error = float(means.std(ddof=1) / math.sqrt(batches))
    return float(values.mean()), error, float(special.stdtrit(batches - 1, 1 - _TAIL))


def _ratio(ratio: tuple[tuple[str, ...], str], rows: ProbeRows, level: Level) -> tuple[float, float, float] | None:
    above, below = ratio
    above = tuple("arrived_tokens" if name == "output_tokens" and below != "issued" else name for name in above)
    if below in ("duration_s", "user_s"):
        if any(name not in rows.parts for name in above) or (below == "user_s" and level.concurrency is None):
            return None
        each_s = rows.part_s * (level.users if below == "user_s" else 1)
        return _mean(sum((rows.parts[name] for name in above), start=np.zeros(PARTS)) / each_s)
    over, under = (np.nan_to_num(rows.sums[name]) for name in (above[0], below))
    if under.sum() <= 0 or len(over) < PARTS:
        return None
    value = float(over.sum() / under.sum())
    _, error, t = _mean(over - value * under)
    return value, error / float(under.mean()), t


def _of_share(bad: Floats | Bools, allowed: float) -> tuple[float, float, float, float]:
    """The margin of the bad share. bad: (n,) 0 or 1, of which as many count as are independent.

    By the share's posterior with Jeffreys' prior: its median, and an error with which a normal margin is above 0 as
    likely as the share is allowed, as few bad requests are far from normal. The ends are Clopper and Pearson's.
    """
    n, k = len(bad), float(bad.sum())
    m = max(effective_size(np.asarray(bad, np.float64)), 1.0)
    allowed, m_bad = max(allowed, 1e-9), k * m / n
    margin = math.log(allowed / float(special.betaincinv(k + 0.5, n - k + 0.5, 0.5)))
    a, b = m_bad + 0.5, m - m_bad + 0.5
    z = float(special.ndtri(np.clip(special.betainc(a, b, min(allowed, 1.0)), 1e-9, 1 - 1e-9)))
    error = math.log(allowed / float(special.betaincinv(a, b, 0.5))) / z if abs(z) > 0.1 else math.sqrt(b / a / (m + 2))
    margin = float(np.clip(margin, -_CAP, _CAP))
    most = special.betaincinv(m_bad + 1, m - m_bad, 1 - _TAIL) if m_bad < m else 1.0
    least = special.betaincinv(m_bad, m - m_bad + 1, _TAIL) if k else 1e-12
    return margin, error, min(math.log(allowed / most), margin), max(math.log(allowed / max(least, 1e-12)), margin)


def _quantile(limit: Limit, values: Floats) -> tuple[float, float, float, float]:
    """By the ranks that as many independent values would have; no upper end of the figure where no rank supports it."""
    assert limit.share is not None
    p, n, ordered = limit.share, len(values), np.sort(values)
    value = float(ordered[max(math.ceil(n * p - 1e-9), 1) - 1])
    n_eff = max(effective_size((values > value).astype(np.float64)), 1.0)
    spread = math.sqrt(max(p * (1 - p), 1 / n) / n_eff)
    t = float(special.stdtrit(max(n_eff - 1, 1), 1 - _TAIL))

    def at(share: float) -> float:
        return float(ordered[min(max(math.ceil(n * share), 1), n) - 1])

    def ln(one: float) -> float:
        return math.log(max(one, 1e-12))

    below, above = ln(value) - ln(at(p - spread)), ln(at(p + spread)) - ln(value)
    error = (below + above) / 2 if p + spread <= 1 else below
    worst = math.inf if p + t * spread > 1 else at(p + t * spread)
    ends = _signed(limit, at(p - t * spread)), -_CAP if worst == math.inf else _signed(limit, worst)
    return _signed(limit, value), max(error, 1e-4), min(ends), max(ends)
