"""How many replicas carry a demand, with what headroom, at what monthly cost. One replica is the machine measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field
from scipy.special import gammaincc, gammaln

from benchsuite.economics.decision import measured
from benchsuite.errors import InputError
from benchsuite.results import EvaluatedLevel, Finding, PointSummary
from benchsuite.slo import Limit, Slo
from benchsuite.strict_model import StrictModel, parse_csv

HOURS_PER_MONTH = 730.0
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
PEAK_FACTOR = 3.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests per second: the mean, and the peak that must be carried. told: what was given, in words."""

    mean_per_s: float
    peak_per_s: float
    told: str


def per_day(requests_per_day: float, peak_factor: float = PEAK_FACTOR) -> Demand:
    """peak = requests / 86400 x peak factor. Raises InputError."""
    _above_zero("requests_per_day", requests_per_day)
    _peak_factor(peak_factor)
    mean_per_s = requests_per_day / _DAY_S
    told = f"{requests_per_day:,.6g} requests a day, peak {peak_factor:g} times the mean"
    return Demand(mean_per_s, mean_per_s * peak_factor, told)


def per_month(tokens_per_month: float, tokens_per_request: float | None, peak_factor: float = PEAK_FACTOR) -> Demand:
    """Tokens (input and output) over those of a measured request. tokens_per_request: None is refused, not guessed."""
    _above_zero("tokens_per_month", tokens_per_month)
    _peak_factor(peak_factor)
    if not tokens_per_request:
        raise InputError(
            "tokens do not become requests: the measured level does not tell its tokens",
            where="tokens_per_month",
            expected="points with input_tokens and output_tokens",
            hint="give the demand as requests per day",
        )
    mean_per_s = tokens_per_month / tokens_per_request / SECONDS_PER_MONTH
    told = (
        f"{tokens_per_month:,.6g} tokens a month at {tokens_per_request:,.0f} tokens a request (as measured), "
        f"peak {peak_factor:g} times the mean"
    )
    return Demand(mean_per_s, mean_per_s * peak_factor, told)


def of_users(users: float, service_s: float, *, think_s: float = 0.0, peak_factor: float = PEAK_FACTOR) -> Demand:
    """Concurrent users at the peak: each sends, waits service_s for the answer and thinks: peak = users / (W + Z)."""
    _above_zero("users", users)
    _peak_factor(peak_factor)
    if not math.isfinite(think_s) or think_s < 0:
        raise InputError("a time to think makes no sense", where="think_s", given=think_s, expected="at least 0 s")
    peak_per_s = users / (service_s + think_s)
    told = (
        f"{users:,.6g} users at the peak, {think_s:g} s between answer and next request, "
        f"peak {peak_factor:g} times the mean"
    )
    return Demand(peak_per_s / peak_factor, peak_per_s, told)


def of_hours(requests_per_hour: Sequence[float], where: str = "hours") -> Demand:
    """From a history of hours: the mean, and as the peak the p99 hour (the largest of fewer than 100).

    An hour's mean hides the bursts within it. Raises InputError.
    """
    if len(requests_per_hour) < 24:
        raise InputError(
            "too few hours for a peak", where=where, given=len(requests_per_hour), expected="at least 24, a whole day"
        )
    bad = [hour for hour in requests_per_hour if not math.isfinite(hour) or hour < 0]
    if bad or not any(requests_per_hour):
        raise InputError(
            "an hour's requests make no sense",
            where=where,
            given=bad[0] if bad else "0 in every hour",
            expected="counts of at least 0, and some above",
        )
    n = len(requests_per_hour)
    peak = sorted(requests_per_hour)[math.ceil(0.99 * n) - 1]  # an observed hour
    if not peak:
        peak = max(requests_per_hour)
    mean = sum(requests_per_hour) / n
    peak = max(peak, mean)
    told = f"{n} hours, {mean:,.6g} requests an hour in the mean, the p99 hour {peak / mean:.3g} times that"
    return Demand(mean / 3600, peak / 3600, told)


class _Hour(StrictModel):
    requests: float = Field(ge=0)


def parse_hours(text: str, where: str) -> list[float]:
    """The `requests` column of a CSV table with a line an hour. Raises InputError naming the line."""
    rows = parse_csv(text, _Hour, "the table of hours", where=where, expected="requests, a count an hour")
    return [row.requests for row in rows.values()]


def _above_zero(key: str, value: float) -> None:
    if not math.isfinite(value) or value <= 0:
        raise InputError("a demand makes no sense", where=key, given=value, expected="a number above 0")


def _peak_factor(value: float) -> None:
    if not math.isfinite(value) or value < 1:
        raise InputError(
            "a peak below the mean makes no sense", where="peak_factor", given=value, expected="at least 1"
        )


_QUEUED = ("ttft", "ttfa", "e2e")  # latencies that a wait for a slot adds to
_MOST_REPLICAS = 1_000_000


def erlang_c(slots: int, offered: float) -> float:
    """Probability that an arrival has to wait: M/M/c with c = slots and a = offered = arrival rate x service time.

    1.0 from offered >= slots on, where the queue grows without end. B by the Poisson identity
    B = P(X = c) / P(X <= c) with X ~ Poisson(a); C = B / (1 - (a/c)(1 - B)).
    """
    if offered <= 0:
        return 0.0
    if offered >= slots:
        return 1.0
    exactly = math.exp(slots * math.log(offered) - offered - float(gammaln(slots + 1)))
    blocked = exactly / float(gammaincc(slots + 1, offered))
    return blocked / (1 - offered / slots * (1 - blocked))


@dataclass(frozen=True, slots=True)
class Queue:
    """Slots with one line before them. offered: mean slots busy. service_s: time in a slot."""

    slots: int
    offered: float
    service_s: float

    @property
    def p_wait(self) -> float:
        """Share of the requests that wait at all."""
        return erlang_c(self.slots, self.offered)

    @property
    def mean_wait_s(self) -> float:
        """Over all requests: C W / (c - a). Infinite when overloaded."""
        free = self.slots - self.offered
        return self.p_wait * self.service_s / free if free > 0 else math.inf

    def p_wait_over(self, t_s: float) -> float:
        """Share of the requests that wait longer than t_s: C exp(-(c - a) t / W)."""
        return self.p_wait * math.exp(-max(self.slots - self.offered, 0.0) * t_s / self.service_s)

    def wait_quantile_s(self, share: float) -> float:
        """The wait that `share` of the requests stay within. Infinite when overloaded."""
        waiting, free = self.p_wait, self.slots - self.offered
        if free <= 0:
            return math.inf
        return self.service_s / free * math.log(waiting / (1 - share)) if waiting > 1 - share else 0.0


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """Replicas for a demand. working: those that carry the peak; replicas: with the spare ones; gpus: of all of them.

    raised_by_wait: replicas beyond the ratio of rates, needed to keep the waits within the SLO. queue: the working
    replicas at the peak. *_load_ratio: of what the working (peak) and of what all replicas (mean, idle hours included)
    could carry. usd_*: None without a price; per product at the mean load, so idle hours are in it. unchecked: limits
    that a wait adds to but whose figure is not known. measured_levels: where the curve is known. warnings: the
    level's own, and what the plan adds.
    """

    model: str | None
    concurrency: int
    demand: Demand
    request_per_s: float
    headroom_ratio: float
    working: int
    spare: int
    replicas: int
    gpus: int
    raised_by_wait: int
    queue: Queue
    peak_load_ratio: float
    mean_load_ratio: float
    usd_per_month: float | None
    usd_per_request: float | None
    usd_per_1m_output_tokens: float | None
    usd_per_1m_output_tokens_full: float | None
    unchecked: tuple[str, ...]
    measured_levels: tuple[int, int]
    warnings: tuple[Finding, ...]


def service_time_s(point: PointSummary) -> float:
    """Time in a slot at this level: W = N / X. X over the whole run, its drain included, so W errs to the long side.

    Raises InputError if the level has no rate of requests.
    """
    return point.concurrency / _rate(point)


def tokens_per_request(point: PointSummary) -> float | None:
    """Mean tokens of a request, input and output; None if not known."""
    if point.input_tokens is None or point.output_tokens is None or not point.n_ok:
        return None
    return (point.input_tokens + point.output_tokens) / point.n_ok


def plan(
    level: EvaluatedLevel,
    judged: Sequence[EvaluatedLevel],
    demand: Demand,
    slo: Slo,
    *,
    headroom_ratio: float = 0.8,
    spare: int = 1,
    gpus_per_replica: int = 1,
) -> CapacityPlan:
    """Replicas k = ceil(peak / (X(N) h)), raised until the waits keep the SLO, and `spare` more.

    level: the level N to run at, one of `judged` (the measured curve of one model on one machine). Waits by Erlang-C on
    c = k N slots and a = peak x W: service times as at full batch and exponential, so on the safe side of a server that
    is faster when less full. Mean limits: mean wait + measured mean; percentiles: the sum of both percentiles.
    Raises InputError naming the key.
    """
    _check(headroom_ratio, spare, gpus_per_replica)
    point = level.point
    rate, service_s = _rate(point), service_time_s(point)
    needed = math.ceil(demand.peak_per_s / (rate * headroom_ratio) - 1e-9)
    by_rate = max(1, needed)
    if by_rate > _MOST_REPLICAS:
        raise InputError(
            f"the demand needs more than {_MOST_REPLICAS:,} replicas",
            where="demand",
            given=demand.told,
            expected="a demand in requests that one fleet can serve",
        )
    limits = [limit for limit in slo.limits if limit.metric in _QUEUED]
    known = [limit for limit in limits if (value := measured(point, limit)) is not None and limit.holds(value)]
    checked = [limit for limit in known if limit.stat != "max"]

    def queue(replicas: int) -> Queue:
        return Queue(replicas * point.concurrency, demand.peak_per_s * service_s, service_s)

    working = by_rate
    while not _keeps(queue(working), point, checked):
        working += 1
    replicas, hourly = working + spare, level.cost.usd_per_hour
    month_usd = None if hourly is None else replicas * hourly * HOURS_PER_MONTH
    request_usd = None if month_usd is None else month_usd / (demand.mean_per_s * SECONDS_PER_MONTH)
    answer_tokens = None if point.output_tokens is None or not point.n_ok else point.output_tokens / point.n_ok
    return CapacityPlan(
        model=point.model,
        concurrency=point.concurrency,
        demand=demand,
        request_per_s=rate,
        headroom_ratio=headroom_ratio,
        working=working,
        spare=spare,
        replicas=replicas,
        gpus=replicas * gpus_per_replica,
        raised_by_wait=working - by_rate,
        queue=queue(working),
        peak_load_ratio=demand.peak_per_s / (working * rate),
        mean_load_ratio=demand.mean_per_s / (replicas * rate),
        usd_per_month=month_usd,
        usd_per_request=request_usd,
        usd_per_1m_output_tokens=request_usd / answer_tokens * 1e6
        if request_usd is not None and answer_tokens
        else None,
        usd_per_1m_output_tokens_full=level.cost.usd_per_1m_output_tokens,
        unchecked=tuple(str(limit) for limit in limits if limit not in checked),
        measured_levels=_range(judged),
        warnings=tuple(_warnings(level, judged, demand, replicas, service_s)),
    )


def _keeps(queue: Queue, point: PointSummary, limits: Sequence[Limit]) -> bool:
    if queue.offered >= queue.slots:
        return False
    for limit in limits:
        value = measured(point, limit)
        stat = limit.stat or "mean"
        wait_s = queue.mean_wait_s if stat == "mean" else queue.wait_quantile_s(int(stat[1:]) / 100)
        if value is not None and not limit.holds(value + wait_s):
            return False
    return True


def _warnings(
    level: EvaluatedLevel, judged: Sequence[EvaluatedLevel], demand: Demand, replicas: int, service_s: float
) -> list[Finding]:
    low, high = _range(judged)
    at, found = level.point.concurrency, [*level.point.warnings]
    if not level.meets_slo:
        doubts = ", ".join((*level.misses, *level.unknown))
        found.append(Finding("misses_slo", f"the level does not keep the SLO: {doubts}", "plan at one that does", at))
    if at == high:
        finding = f"{at} is the highest level measured, and nothing is known beyond"
        found.append(Finding("end_of_curve", finding, "measure higher: fewer replicas may do", at))
    busy = demand.mean_per_s * service_s / replicas
    if busy < low:
        finding = f"at the mean load about {busy:.2g} slots a replica are busy; below {low} nothing was measured"
        found.append(Finding("below_curve", finding, "measure lower levels if latency in quiet hours matters", low))
    return found


def _range(judged: Sequence[EvaluatedLevel]) -> tuple[int, int]:
    levels = [j.point.concurrency for j in judged]
    return min(levels), max(levels)


def _rate(point: PointSummary) -> float:
    if not point.request_per_s:
        raise InputError(
            "the level has no rate of requests", where=f"concurrency {point.concurrency}", expected="requests and time"
        )
    return point.request_per_s


def _check(headroom_ratio: float, spare: int, gpus_per_replica: int) -> None:
    if not (math.isfinite(headroom_ratio) and 0 < headroom_ratio <= 1):
        raise InputError(
            "a headroom makes no sense",
            where="headroom",
            given=headroom_ratio,
            expected="the share of the measured rate to plan with, above 0 and at most 1 (0.7 to 0.8)",
        )
    if spare < 0:
        raise InputError("spare replicas make no sense", where="spare", given=spare, expected="at least 0")
    if gpus_per_replica < 1:
        raise InputError("a number of GPUs makes no sense", where="gpus", given=gpus_per_replica, expected="at least 1")
