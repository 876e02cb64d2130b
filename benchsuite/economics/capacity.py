"""The demand of a month, how many of its requests are in flight at once, and how many replicas keep the SLO. Pure.

The chain: requests arrive at random (Poisson); with n in flight a replica completes X(n) a second, as the closed-loop
levels measured it. pi(n) ~ product of rate / X(i). Between measured levels a request's time n / X(n) is a line in n (a
step of the server takes so much, and so much more for each request in it); per-user speed is that of the lowest level
below it, and X stays flat above the highest, where nothing is known. Depends on the mean size
of a request only as far as the replica shares its speed among those in flight. docs/METHODS.md, Capacity.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchsuite.economics.plan_file import Balancing, DemandTable
from benchsuite.errors import InputError
from benchsuite.results import ClosedLoop, EvaluatedLevel, PointSummary
from benchsuite.strict_model import StrictModel, parse_csv

Floats = NDArray[np.float64]
HOURS_PER_MONTH = 730.0
PEAK_FACTOR = 3.0
KEPT = 0.95  # share of arrivals that must find at most the highest level that meets the SLO
_AGREE = 0.05  # requests and tokens that say the same
_PEAK_SHARE = 0.99  # the busiest 1 % of the hours of a history may be served late
_MOST_STATES = 400_000
_PHASES = 8  # of an Erlang arrival process: round robin over 8 replicas or more


@dataclass(frozen=True, slots=True)
class Demand:
    """hours: (requests per second, share of the month), the shares adding up to 1. input_tokens, output_tokens: of a
    request, None as measured. batch: nobody waits, so any hour can take work of another. words: what was given.
    """

    hours: tuple[tuple[float, float], ...]
    words: str
    input_tokens: float | None = None
    output_tokens: float | None = None
    batch: bool = False

    @property
    def mean_per_s(self) -> float:
        """Requests per second over the whole month."""
        return math.fsum(rate * share for rate, share in self.hours)

    @property
    def peak_per_s(self) -> float:
        """The rate that must be carried: the p99 hour's; of batch work the mean."""
        if self.batch:
            return self.mean_per_s
        below = 0.0
        for rate, share in sorted(self.hours):
            below += share
            if below >= _PEAK_SHARE - 1e-9:
                return max(rate, self.mean_per_s)
        return max(rate for rate, _ in self.hours)

    def scaled(self, factor: float, words: str = "") -> Demand:
        """`factor` times as many requests in every hour."""
        return replace(
            self, hours=tuple((rate * factor, share) for rate, share in self.hours), words=self.words + words
        )

    def requests_per_month(self, hours_per_month: float = HOURS_PER_MONTH) -> float:
        """All requests of a month."""
        return self.mean_per_s * hours_per_month * 3600


def of_mean(mean_per_s: float, peak_factor: float = PEAK_FACTOR, *, batch: bool = False, words: str = "") -> Demand:
    """A mean and its daily peak. The hours between are a day of one hump: rate(h) ~ exp(k cos(2 pi h / 24)), with k so
    that the busiest hour is peak_factor (1 to 20) times the mean.
    """
    if batch or peak_factor == 1:
        return Demand(
            ((mean_per_s, 1.0),), words + (", batch: constant over the day" if batch else ", flat"), batch=batch
        )
    from scipy.optimize import brentq  # here: half a second to import

    angle = np.cos(2 * np.pi * np.arange(24) / 24)

    def shape(k: float) -> Floats:
        rates = np.exp(k * (angle - 1))
        return np.asarray(rates / rates.mean())

    k = brentq(lambda k: shape(k)[0] - peak_factor, 0.0, 1e3)
    hours = tuple((float(mean_per_s * rate), 1 / 24) for rate in shape(k))
    return Demand(hours, f"{words}, busiest hour of the day {peak_factor:g} times the mean")


class _Hour(StrictModel):
    requests: float = Field(ge=0)


def parse_hours(text: str, where: str) -> list[float]:
    """The `requests` column of a CSV table with a line an hour. Raises InputError naming every mistake."""
    rows = parse_csv(text, _Hour, "the table of hours", where=where, expected="requests, a count an hour")
    return [row.requests for row in rows.values()]


def of_hours(requests_per_hour: Sequence[float], where: str = "hours") -> Demand:
    """A history of hours; its peak is the p99 hour. An hour's mean hides the bursts within it. Raises InputError."""
    n = len(requests_per_hour)
    if n < 24:
        raise InputError("too few hours for a peak", where=where, given=n, expected="at least 24, a whole day")
    if not any(requests_per_hour):
        raise InputError("no hour has a request", where=where, expected="some above 0")
    demand = Demand(tuple((hour / 3600, 1 / n) for hour in requests_per_hour), "")
    mean, peak = demand.mean_per_s * 3600, demand.peak_per_s * 3600
    words = f"{n} hours, {mean:,.6g} requests an hour on average, the p99 hour {peak / mean:.3g} times that"
    return replace(demand, words=words)


def tokens_of(point: PointSummary) -> tuple[float, float] | None:
    """Input and output tokens of a request; None where not known."""
    if point.input_tokens is None or not point.output_tokens or not point.n_ok:
        return None
    return point.input_tokens / point.n_ok, point.output_tokens / point.n_ok


def demand_of(
    asked: DemandTable, measured: PointSummary | None, hours_per_month: float, read: Callable[[str], str]
) -> Demand:
    """measured: the level of the first machine that has one."""
    measured_tokens = None if measured is None else tokens_of(measured)
    tokens = None
    if asked.input_tokens is not None and asked.output_tokens is not None:
        tokens = asked.input_tokens, asked.output_tokens
    elif asked.input_ratio is not None:
        if measured_tokens is None:
            expected = "a run that measured its tokens"
            raise InputError("a share of unknown tokens", where="--input-ratio", expected=expected)
        tokens = sum(measured_tokens) * asked.input_ratio, sum(measured_tokens) * (1 - asked.input_ratio)
    if asked.demand_csv is not None:
        demand = of_hours(parse_hours(read(asked.demand_csv), asked.demand_csv), asked.demand_csv)
    else:
        factor = PEAK_FACTOR if asked.peak_factor is None else asked.peak_factor
        mean_per_s, words = _mean(asked, measured, tokens or measured_tokens, factor, hours_per_month)
        demand = of_mean(mean_per_s, factor, batch=asked.batch, words=words)
    if asked.growth is not None and asked.in_months is not None:
        factor = (1 + asked.growth) ** (asked.in_months / 12)
        demand = demand.scaled(factor, f", in {asked.in_months:g} months at {asked.growth:+.0%} a year")
    return demand if tokens is None else replace(demand, input_tokens=tokens[0], output_tokens=tokens[1])


def _mean(
    asked: DemandTable,
    point: PointSummary | None,
    tokens: tuple[float, float] | None,
    peak_factor: float,
    hours_per_month: float,
) -> tuple[float, str]:
    """Requests a second on average, and what was given in words. tokens: input and output of a request, if known."""
    stated = {
        unit: (given / seconds, seconds, f"{given:,.6g} {unit} a {word}")
        for unit in ("requests", "tokens")
        for word, seconds in (("day", 86400.0), ("month", hours_per_month * 3600))
        if (given := getattr(asked, f"{unit}_per_{word}")) is not None
    }
    if asked.users is not None:
        if point is None or not point.request_per_s:
            raise InputError("users need a measured level: its time per request", where="--users", expected="a run")
        users = point.level.concurrency
        request_s = point.distributions["e2e_s"].mean if users is None else users / point.request_per_s
        peak_per_s = asked.users / ((request_s or 0.0) + asked.think_time_s)
        words = f"{asked.users:,.6g} users at the peak, {asked.think_time_s:g} s between answer and next request"
        return peak_per_s / (1 if asked.batch else peak_factor), words
    if "tokens" not in stated:
        per_s, _, words = stated["requests"]
        return per_s, words
    tokens_per_s, seconds, of_tokens = stated["tokens"]
    if tokens is None or not sum(tokens):
        expected = "a run that measured them, or --input-tokens and --output-tokens"
        what = "tokens cannot be converted to requests: the tokens per request are not known"
        raise InputError(what, where="demand", given=of_tokens, expected=expected)
    each = sum(tokens)
    if "requests" not in stated:
        return tokens_per_s / each, f"{of_tokens} at {each:,.0f} tokens a request"
    per_s, _, words = stated["requests"]
    if abs(tokens_per_s / each / per_s - 1) > _AGREE:
        raise InputError(
            "requests and tokens contradict each other",
            where="demand",
            given=f"{words} of {each:,.0f} tokens are {per_s * each * seconds:,.4g} tokens, not {of_tokens}",
            expected="one of them, or tokens of a request that fit both",
        )
    return per_s, words


@dataclass(frozen=True, slots=True)
class SpeedCurve:
    """Requests a second that one replica completes with n in flight. levels: ascending; per_s: at each."""

    levels: tuple[float, ...]
    per_s: tuple[float, ...]

    def at(self, n: Floats | float) -> Floats:
        """X(n) for any n >= 0."""
        n = np.asarray(n, dtype=np.float64)
        levels, per_s = np.array(self.levels), np.array(self.per_s)
        inside = n / np.interp(n, levels, levels / per_s)
        return np.asarray(np.where(n > levels[-1], per_s[-1], inside))

    @property
    def highest(self) -> float:
        """The highest measured level."""
        return self.levels[-1]

    @classmethod
    def of(cls, points: Iterable[PointSummary]) -> SpeedCurve | None:
        """Of the levels of a closed loop, in the steady window where they have one; None where none has a rate."""
        rates = ((p.level.number, (p.steady and p.steady.request_per_s) or p.request_per_s) for p in points)
        known = sorted((level, per_s) for level, per_s in rates if per_s)
        return cls(tuple(level for level, _ in known), tuple(per_s for _, per_s in known)) if known else None


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests in flight on each of several replicas. n: (states,) in flight on one of them.

    shares: of time; on_arrival: of arrivals, that meet n already there. per_s: completed by one.
    """

    n: Floats
    shares: Floats
    on_arrival: Floats
    per_s: float

    @property
    def mean(self) -> float:
        """Mean number in flight on a replica."""
        return float(self.n @ self.shares)

    @property
    def time_s(self) -> float:
        """Mean time of a request in the system, by Little's law."""
        return self.mean / self.per_s

    @property
    def idle_share(self) -> float:
        """The share of time with nothing in flight on any of those that share a stream."""
        return float(self.shares[0])

    @property
    def joined(self) -> Floats:
        """In flight on an arrival's replica with it, by state: of a pool it joins one of those with the fewest."""
        return np.floor(self.n) + 1

    def kept(self, highest: float) -> float:
        """Share of the arrivals after which at most `highest` are in flight on their replica."""
        return float(self.on_arrival[self.joined <= highest].sum())

    def average(self, figure: Callable[[Floats], Floats]) -> float:
        """A figure of n, averaged over what arrivals find once they are in."""
        return float(figure(self.joined) @ self.on_arrival)


def in_flight(
    curve: SpeedCurve, rate_per_s: float, replicas: int = 1, balancing: Balancing = "least-connections"
) -> InFlight | None:
    """The requests in flight when `rate_per_s` arrive at `replicas`; None if they cannot complete as many.

    least-connections: one pool whose n spread evenly. random: each replica has a stream of its own. round-robin: each
    gets every k-th arrival, an Erlang process of k phases (8 at most).
    """
    share_per_s = rate_per_s / replicas
    if share_per_s >= curve.per_s[-1] or not rate_per_s > 0:
        return None
    if balancing == "least-connections":
        total = _states(curve, share_per_s, replicas)
        counts = np.arange(total + 1, dtype=np.float64)
        done = replicas * curve.at(counts / replicas)
        pi = _birth_death(rate_per_s, done)
        return InFlight(counts / replicas, pi, pi, share_per_s)
    counts = np.arange(_states(curve, share_per_s, 1) + 1, dtype=np.float64)
    done = curve.at(counts)
    if balancing == "random" or replicas == 1:
        pi = _birth_death(share_per_s, done)
        return InFlight(counts, pi, pi, share_per_s)
    pi, on_arrival = _erlang_arrivals(share_per_s, done, min(replicas, _PHASES))
    return InFlight(counts, pi, on_arrival, share_per_s)


def _states(curve: SpeedCurve, share_per_s: float, replicas: int) -> int:
    """So many that the geometric tail beyond the highest level holds less than 1e-9."""
    ratio = share_per_s / curve.per_s[-1]
    tail = math.log(1e-9) / math.log(ratio)
    return int(min(_MOST_STATES, math.ceil(replicas * curve.highest + tail + 50)))


def _birth_death(rate_per_s: float, done_per_s: Floats) -> Floats:
    steps = np.log(rate_per_s) - np.log(done_per_s[1:])
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    pi = np.exp(logs - logs.max())
    return np.asarray(pi / pi.sum())


def _erlang_arrivals(rate_per_s: float, done_per_s: Floats, phases: int) -> tuple[Floats, Floats]:
    """Shares of time, and of what arrivals find, with states (n, phase); phases pass at phases x rate."""
    from scipy.sparse import diags_array, linalg, vstack

    size = len(done_per_s) * phases
    # state n * phases + phase: the next one is the next phase, or an arrival; a request ends `phases` states below
    up, down = np.full(size - 1, rate_per_s * phases), np.repeat(done_per_s[1:], phases)
    leaving = np.append(up, 0.0)
    leaving[phases:] += down
    balance = diags_array([up, -leaving, down], offsets=[-1, 0, phases]).tocsr()
    # the last balance follows from the others; in its place: all shares add up to 1
    whole = vstack([balance[:-1], np.ones((1, size))], format="csc")
    pi = np.asarray(linalg.spsolve(whole, np.append(np.zeros(size - 1), 1.0))).reshape(-1, phases)
    on_arrival = pi[:, -1].clip(0)
    return pi.sum(axis=1), on_arrival / on_arrival.sum()


def replicas_for(
    curve: SpeedCurve,
    rate_per_s: float,
    highest: float,
    *,
    target_utilization: float,
    balancing: Balancing = "least-connections",
    most: int = 1_000_000,
) -> int | None:
    """The fewest replicas at which 95 % of the arrivals find the SLO kept; None: more than `most`.

    highest: the highest level that meets the SLO. target_utilization: of what a replica completes there.
    """
    least = max(1, math.ceil(rate_per_s / (float(curve.at(highest)) * target_utilization) - 1e-9))

    def keeps(replicas: int) -> bool:
        found = in_flight(curve, rate_per_s, replicas, balancing)
        return found is not None and found.kept(highest) >= KEPT

    low, high = least - 1, least
    while high <= most and not keeps(high):
        low, high = high, high + max(1, high // 8)
    return None if high > most else bisect_left(range(high), True, low + 1, key=keeps)


def closed_loop(curve: SpeedCurve, rate_per_s: float, optimum: EvaluatedLevel | None) -> ClosedLoop:
    """What the closed loop with this curve says of a rate at one machine. optimum: its level under the same SLO."""
    found = in_flight(curve, rate_per_s)
    level = usd_per_1m = usd_per_request = mean = time_s = idle_share = None
    if found is not None:
        mean, time_s, idle_share = found.mean, found.time_s, found.idle_share
    if optimum is not None:
        level, cost = optimum.point.level, optimum.cost
        usd_per_1m, usd_per_request = cost.usd_per_1m_output_tokens, cost.usd_per_request
    met = optimum is not None and optimum.slo_verdict == "met"
    return ClosedLoop(curve.per_s[-1], mean, time_s, idle_share, level, usd_per_1m, usd_per_request, met)
