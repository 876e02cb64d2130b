"""One demand, any number of candidates: own replicas, APIs, and blends of both; what a month costs at each. Pure.

Every candidate carries the same demand at its busiest hour, with the same target utilization and spare replicas, so
that no answer is cheaper because it forgot the peak. docs/METHODS.md, Capacity and cost of a month.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.intervals import ONE_RUN
from benchsuite.economics.demand import HOURS_PER_MONTH, Demand
from benchsuite.economics.prices import ApiPrice
from benchsuite.economics.replicas import Balancing, SpeedCurve, in_flight, replicas_for
from benchsuite.errors import InputError, PriceError
from benchsuite.results import EvaluatedLevel

TARGET_UTILIZATION = 0.8
STEP_TTFT = 1.35  # an arrival waits for the running step: open-loop TTFT over the closed loop's at as many in flight
_DRAWS, _SEED = 2000, 20260102
_MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Fleet:
    """What holds for all own candidates. spare_replicas: beyond those that carry the peak; of batch work usually 0."""

    target_utilization: float = TARGET_UTILIZATION
    spare_replicas: int = 1
    balancing: Balancing = "least-connections"
    hours_per_month: float = HOURS_PER_MONTH

    def __post_init__(self) -> None:
        _within("target_utilization", self.target_utilization, 1e-6, 1, "above 0 and at most 1 (0.7 to 0.8 is usual)")
        _within("spare_replicas", self.spare_replicas, 0, 1e6, "at least 0")
        _within("hours_per_month", self.hours_per_month, 1, 744, "hours of a month, 730 on average")


@dataclass(frozen=True, slots=True)
class Extras:
    """What applies to both sides. cache_hit_rate: of requests that a cache in front answers, at cache_hit_usd_per_1m.

    training_usd: at the start and retrain_usd_per_year after it, spread over training_years.
    """

    cache_hit_rate: float = 0.0
    cache_hit_usd_per_1m: float = 0.0
    training_usd: float = 0.0
    retrain_usd_per_year: float = 0.0
    training_years: float = 1.0

    def __post_init__(self) -> None:
        _within("cache_hit_rate", self.cache_hit_rate, 0, 1, "a share of the requests, from 0 to 1")
        for key in ("cache_hit_usd_per_1m", "training_usd", "retrain_usd_per_year"):
            _within(key, getattr(self, key), 0, math.inf, "at least 0")
        _within("training_years", self.training_years, 1 / 12, 100, "years, at least a month")

    @property
    def training_usd_per_month(self) -> float:
        """(start + retraining over the life) / months of the life."""
        return (self.training_usd + self.retrain_usd_per_year * self.training_years) / (self.training_years * 12)


@dataclass(frozen=True, slots=True)
class Own:
    """A machine that is one replica. usd_per_hour: of all its GPUs; reserved_usd_per_hour: paid for all hours instead.

    levels: the measured curve of one model on it, with `level` the one to run at; or requests_per_s as stated, of which
    no latency is known. purchase_usd, years: of machines that are bought; the hour's price spreads them over that life.
    """

    name: str
    gpus: int
    usd_per_hour: float
    source: str
    as_of: str | None = None
    levels: tuple[EvaluatedLevel, ...] = ()
    level: EvaluatedLevel | None = None
    requests_per_s: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    reserved_usd_per_hour: float | None = None
    fixed_usd_per_month: float = 0.0
    purchase_usd: float | None = None
    running_usd_per_hour: float = 0.0
    years: float = 3.0


@dataclass(frozen=True, slots=True)
class Api:
    """An API by its price. cached_ratio: share of the input tokens that it bills as cached."""

    name: str
    price: ApiPrice
    cached_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate's month. usd_low, usd_high: with the measured rate at the ends of its interval; None: no interval.

    replicas: with the spare ones. slo: met, not met, or not measured; p_slo: share of arrivals at the peak that find it
    kept. ttft_s, tok_s_per_user: at the peak, as predicted from the closed loop. break_even: (requests a day from which
    it is cheaper than the cheapest API); None where never or not asked. machine: the own candidate.
    """

    name: str
    kind: Literal["own", "API", "own + API", "reserved + on demand"]
    usd_per_month: float | None
    usd_low: float | None = None
    usd_high: float | None = None
    usd_per_1m_tokens: float | None = None
    usd_per_1m_output_tokens: float | None = None
    replicas: int | None = None
    working: int | None = None
    gpus: int | None = None
    concurrency: int | None = None
    utilization: float | None = None
    slo: str = "not measured"
    p_slo: float | None = None
    ttft_s: float | None = None
    tok_s_per_user: float | None = None
    break_even_requests_per_day: float | None = None
    payback_months: float | None = None
    npv_usd: float | None = None
    p_cheapest: float | None = None
    machine: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows, the cheapest first of those that can be chosen; winner: its name, None where none can.

    p_winner: share of draws in which it stays the cheapest; None without an interval. hangs_on: changes, one at a time,
    that change the winner.
    """

    demand: Demand
    rows: tuple[Row, ...]
    winner: str | None
    p_winner: float | None
    hangs_on: tuple[str, ...]
    assumptions: tuple[str, ...] = field(default=())


def plan(
    demand: Demand, candidates: Sequence[Own | Api], fleet: Fleet | None = None, extras: Extras | None = None
) -> Plan:
    """The month of every candidate and of the blends that are cheaper than both their parts. Raises InputError.

    Own candidates that were measured must have served the same mix where the demand does not name its tokens.
    """
    fleet, extras = fleet or Fleet(), extras or Extras()
    if not candidates:
        raise InputError("nothing to choose from", where="candidates", expected="a measured run, a price, an API")
    demand = _with_tokens(demand, [one for one in candidates if isinstance(one, Own)])
    rows = _rows(demand, candidates, fleet, extras)
    winner = rows[0].name if rows and rows[0].usd_per_month is not None and rows[0].slo != "not met" else None
    served = demand.scaled(1 - extras.cache_hit_rate) if extras.cache_hit_rate else demand
    p_cheapest = _p_cheapest(rows, served, candidates, fleet)
    rows = [replace(row, p_cheapest=p_cheapest.get(row.name)) for row in rows]
    return Plan(
        demand,
        tuple(rows),
        winner,
        None if winner is None else p_cheapest.get(winner),
        _hangs_on(winner, demand, candidates, fleet, extras),
        _assumptions(demand, fleet, extras),
    )


def _rows(demand: Demand, candidates: Sequence[Own | Api], fleet: Fleet, extras: Extras) -> list[Row]:
    served = demand.scaled(1 - extras.cache_hit_rate) if extras.cache_hit_rate else demand
    month_tokens = _tokens(demand) * demand.requests_per_month(fleet.hours_per_month)
    shared = extras.training_usd_per_month
    shared += extras.cache_hit_usd_per_1m * month_tokens * extras.cache_hit_rate / 1e6
    apis = [(one, _api_usd_per_request(one, demand)) for one in candidates if isinstance(one, Api)]
    rows = [
        _row(
            demand,
            month_tokens,
            name=api.name,
            kind="API",
            usd=usd * served.requests_per_month(fleet.hours_per_month) + shared,
        )
        for api, usd in apis
    ]
    for own in (one for one in candidates if isinstance(one, Own)):
        rows += _own_rows(own, demand, served, apis, fleet, shared, month_tokens)
    return sorted(rows, key=lambda r: (r.slo == "not met", r.usd_per_month is None, r.usd_per_month or 0.0, r.name))


def _row(demand: Demand, month_tokens: float, *, name: str, kind: Any, usd: float | None, **more: Any) -> Row:
    outputs = month_tokens * (demand.output_tokens or 0) / _tokens(demand) if _tokens(demand) else 0
    return Row(
        name,
        kind,
        usd,
        usd_per_1m_tokens=usd / month_tokens * 1e6 if usd is not None and month_tokens else None,
        usd_per_1m_output_tokens=usd / outputs * 1e6 if usd is not None and outputs else None,
        **more,
    )


def _own_rows(
    own: Own,
    demand: Demand,
    served: Demand,
    apis: Sequence[tuple[Api, float]],
    fleet: Fleet,
    shared: float,
    month_tokens: float,
) -> list[Row]:
    notes: list[str] = []
    sized = _sized(own, served, fleet, notes)
    if sized is None:
        return [Row(own.name, "own", None, slo="not met" if own.levels else "not measured", notes=tuple(notes))]
    working, figures, mean_capacity = sized
    replicas = working + fleet.spare_replicas
    fixed = own.fixed_usd_per_month + shared
    month = own.usd_per_hour * fleet.hours_per_month
    ends = [_working_at(own, served, fleet, factor) for factor in _rate_ends(own)]
    low, high = ((k + fleet.spare_replicas) * month + fixed if k else None for k in ends) if ends else (None, None)
    if own.levels and not ends:
        notes.append(ONE_RUN)
    usd = replicas * month + fixed
    best_api = min((usd for _, usd in apis), default=None)
    figures |= {
        "replicas": replicas,
        "working": working,
        "machine": own.name,
        "gpus": replicas * own.gpus,
        "utilization": served.mean_per_s / (replicas * mean_capacity),
    }
    rows = [
        _row(demand, month_tokens, name=own.name, kind="own", usd=usd, usd_low=low, usd_high=high,
             break_even_requests_per_day=_break_even(own, served, fleet, fixed - shared, best_api),
             **_capital(own, replicas, served, best_api, fleet), notes=tuple(notes), **figures)
    ]  # fmt: skip
    if own.reserved_usd_per_hour is not None:
        rows.append(_reserved_row(own, demand, served, working, fleet, fixed, month_tokens, figures))
    for api, usd_per_request in apis:
        blend = _blend(own, served, working, fleet, fixed, usd_per_request)
        if blend is not None and blend[1] < min(
            usd, usd_per_request * served.requests_per_month(fleet.hours_per_month) + shared
        ):
            k, cost, over = blend
            said = f"{over:.1%} of the requests go to the API"
            more = figures | {"replicas": k, "working": k, "gpus": k * own.gpus, "utilization": None}
            rows.append(_row(demand, month_tokens, name=f"{own.name} + {api.name}", kind="own + API", usd=cost,
                             notes=(said,), **more))  # fmt: skip
    return rows


def _sized(own: Own, demand: Demand, fleet: Fleet, notes: list[str]) -> tuple[int, dict[str, Any], float] | None:
    """Working replicas, figures at the peak, and what one replica carries at full use; None: it cannot serve this."""
    peak = demand.peak_per_s
    if own.level is None:
        if own.requests_per_s is None or own.levels:
            notes.append("no measured level meets the SLO")
            return None
        notes.append("capacity as stated: no latency is known")
        working = max(1, math.ceil(peak / (own.requests_per_s * fleet.target_utilization) - 1e-9))
        return working, {}, own.requests_per_s
    curve, mix = _curve(own, demand, notes)
    level = own.level.point.concurrency
    needed = replicas_for(curve, peak, level, target_utilization=fleet.target_utilization, balancing=fleet.balancing)
    if needed is None:
        raise InputError("the demand needs more than a million replicas", where="demand", given=demand.words)
    working = needed
    found = in_flight(curve, peak, working, fleet.balancing)
    assert found is not None  # replicas_for found it so
    if level == curve.highest:
        notes.append(f"{level} is the highest level measured: fewer replicas may do")
    if (below := float(found.shares[found.n < curve.levels[0]].sum())) > 0.5:
        notes.append(f"{below:.0%} of the time fewer are in flight than the lowest level measured")
    ttft = [(float(j.point.concurrency), j.point.ttft_s.mean) for j in own.levels if j.point.ttft_s.mean is not None]
    ttft_s = None
    if ttft:
        levels, values = zip(*sorted(ttft), strict=True)
        ttft_s = STEP_TTFT * found.average(lambda n: np.interp(np.log(np.maximum(n, 1e-9)), np.log(levels), values))
    tokens = demand.output_tokens
    figures = {
        "concurrency": level,
        "slo": "met" if own.level.meets_slo else "not met",
        "p_slo": found.kept(level),
        "ttft_s": ttft_s,
        "tok_s_per_user": tokens / found.time_s if tokens else None,
    }
    if mix != 1.0:
        notes.append(f"another mix than the measured one: {mix:.3g} of its requests a second, within its token rates")
    return working, figures, float(curve.at(level))


def _curve(own: Own, demand: Demand, notes: list[str]) -> tuple[SpeedCurve, float]:
    """Requests a second of the asked mix by level: neither output nor all tokens come faster than was measured."""
    assert own.level is not None
    mix = 1.0
    measured = _measured_tokens(own)
    if measured is not None and demand.input_tokens is not None and demand.output_tokens is not None:
        mine = measured[0] + measured[1], measured[1]
        asked = demand.input_tokens + demand.output_tokens, demand.output_tokens
        mix = min(one / other if other else math.inf for one, other in zip(mine, asked, strict=True))
        mix = 1.0 if abs(mix - 1) < 1e-3 or math.isinf(mix) else mix
    known = sorted((float(j.point.concurrency), j.point.request_per_s) for j in own.levels if j.point.request_per_s)
    if not known:
        raise InputError("the levels have no rate of requests", where=own.name, expected="requests and duration")
    falling = [n for (n, x), (_, before) in zip(known[1:], known, strict=False) if x < before]
    if falling:
        notes.append(f"throughput falls at {falling[0]:g}: a disturbed level, or beyond the peak")
    return SpeedCurve(tuple(n for n, _ in known), tuple(x * mix for _, x in known)), mix


def _measured_tokens(own: Own) -> tuple[float, float] | None:
    """Input and output tokens of a request, as measured at the level or as stated."""
    if own.level is not None:
        point = own.level.point
        if point.input_tokens is not None and point.output_tokens and point.n_ok:
            return point.input_tokens / point.n_ok, point.output_tokens / point.n_ok
    if own.input_tokens is not None and own.output_tokens is not None:
        return own.input_tokens, own.output_tokens
    return None


def _with_tokens(demand: Demand, owns: Sequence[Own]) -> Demand:
    """The demand with the tokens of its requests: its own, else those of the measured runs, if they agree."""
    if demand.input_tokens is not None and demand.output_tokens is not None:
        return demand
    known = {one.name: mix for one in owns if (mix := _measured_tokens(one)) is not None}
    if not known:
        return demand
    first, *others = known.items()
    for name, mix in others:
        if any(abs(a / b - 1) > 0.05 for a, b in zip(mix, first[1], strict=True) if b):
            raise InputError(
                "the candidates were measured with other requests, so one demand means two things",
                where=f"{first[0]}, {name}",
                given=f"{first[1][0]:.0f} + {first[1][1]:.0f} and {mix[0]:.0f} + {mix[1]:.0f} tokens a request",
                expected="one request set, or the demand's own --input-tokens and --output-tokens",
            )
    return replace(demand, input_tokens=first[1][0], output_tokens=first[1][1])


def _tokens(demand: Demand) -> float:
    return (demand.input_tokens or 0.0) + (demand.output_tokens or 0.0)


def _api_usd_per_request(api: Api, demand: Demand) -> float:
    """Input, cached input and output at their prices. Raises PriceError where a request's tokens are not known."""
    _within("cached_ratio", api.cached_ratio, 0, 1, "a share of the input tokens")
    if demand.input_tokens is None or demand.output_tokens is None:
        raise PriceError(
            "an API is paid by the token, and the tokens of a request are not known",
            where=api.name,
            expected="--input-tokens and --output-tokens, or a run that measured them",
        )
    price, cached = api.price, api.price.cached_input_usd_per_1m_tokens
    cached = price.input_usd_per_1m_tokens if cached is None else cached
    of_input = (1 - api.cached_ratio) * price.input_usd_per_1m_tokens + api.cached_ratio * cached
    return (demand.input_tokens * of_input + demand.output_tokens * price.output_usd_per_1m_tokens) / 1e6


def _rate_ends(own: Own) -> list[float]:
    """The measured rate's interval at the level, high end first, as factors; empty where there is none."""
    found = None if own.level is None else own.level.intervals.get("request_per_s")
    if found is None or found.low is None or found.high is None or not found.value:
        return []
    return [found.high / found.value, found.low / found.value]


def _working_at(own: Own, demand: Demand, fleet: Fleet, factor: float) -> int | None:
    """Working replicas if each were `factor` times as fast."""
    sized = _sized(own, demand.scaled(1 / factor), fleet, [])
    return None if sized is None else sized[0]


def _break_even(own: Own, demand: Demand, fleet: Fleet, fixed: float, usd_per_request: float | None) -> float | None:
    """Requests a day, in hours of this shape, from which own replicas stay cheaper than the API; None: never, no API.

    A step of replicas pays when the API's line passes it before the step is full.
    """
    if not usd_per_request:
        return None
    month_s, month = fleet.hours_per_month * 3600, own.usd_per_hour * fleet.hours_per_month
    each = _one_carries(own, demand, fleet)
    cheaper_from = None
    for k in range(1, _MOST_STEPS + 1):
        cost = (k + fleet.spare_replicas) * month + fixed
        meets = max(cost / usd_per_request / month_s, (k - 1) * each)
        if meets >= k * each:
            cheaper_from = None
        elif cheaper_from is None or meets > (k - 1) * each + 1e-12:
            cheaper_from = meets
    return None if cheaper_from is None else cheaper_from * 86400


def _one_carries(own: Own, demand: Demand, fleet: Fleet) -> float:
    """Mean requests a second, at this shape of hours, that one working replica carries at most."""
    low, high = 0.0, 1.0
    while _working_at(own, demand.scaled(high), fleet, 1.0) == 1:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _working_at(own, demand.scaled(middle), fleet, 1.0) == 1 else (low, middle)
    return low * demand.mean_per_s


def _capital(own: Own, replicas: int, demand: Demand, usd_per_request: float | None, fleet: Fleet) -> dict[str, Any]:
    """Payback against the cheapest API and present value at 8 % a year, of machines that are bought."""
    if own.purchase_usd is None or usd_per_request is None:
        return {}
    capex = own.purchase_usd * replicas
    running = own.running_usd_per_hour * replicas * fleet.hours_per_month + own.fixed_usd_per_month
    saved = usd_per_request * demand.requests_per_month(fleet.hours_per_month) - running
    months = round(own.years * 12)
    value = math.fsum(saved / 1.08 ** (m / 12) for m in range(1, months + 1)) - capex
    payback = capex / saved if saved > 0 else None
    return {"payback_months": payback if payback is not None and payback <= months else None, "npv_usd": value}


def _reserved_row(
    own: Own,
    demand: Demand,
    served: Demand,
    working: int,
    fleet: Fleet,
    fixed: float,
    month_tokens: float,
    figures: Any,
) -> Row:
    """The cheapest number of replicas to reserve for all hours, the others on demand in the hours that need them."""
    assert own.reserved_usd_per_hour is not None
    needed = [(max(1, math.ceil(working * rate / served.peak_per_s - 1e-9)), share) for rate, share in served.hours]

    def usd(reserved: int) -> float:
        peaks = math.fsum(max(k - reserved, 0) * share for k, share in needed) * own.usd_per_hour
        return (
            ((reserved + fleet.spare_replicas) * float(own.reserved_usd_per_hour or 0)) + peaks
        ) * fleet.hours_per_month + fixed

    best = min(range(working + 1), key=usd)
    return _row(demand, month_tokens, name=f"{own.name}, {best} reserved", kind="reserved + on demand", usd=usd(best),
                **figures)  # fmt: skip


def _blend(
    own: Own, demand: Demand, working: int, fleet: Fleet, fixed: float, usd_per_request: float
) -> tuple[int, float, float] | None:
    """The cheapest (replicas, usd, share to the API) with some of both; None where there is nothing between."""
    month, total = own.usd_per_hour * fleet.hours_per_month, demand.mean_per_s
    best = None
    for k in range(1, min(working, _MOST_STEPS) + 1):
        cap = demand.peak_per_s * k / working
        over = math.fsum(max(rate - cap, 0.0) * share for rate, share in demand.hours)
        if over <= 0:
            break
        usd = k * month + fixed + usd_per_request * over * fleet.hours_per_month * 3600
        if best is None or usd < best[1]:
            best = k, usd, over / total
    return best


def _p_cheapest(rows: Sequence[Row], demand: Demand, candidates: Sequence[Own | Api], fleet: Fleet) -> dict[str, float]:
    """How often each row is the cheapest that meets the SLO when measured rates and P(SLO) are drawn; empty: not every
    measured candidate has an interval, or nothing was measured.
    """
    owns = {one.name: one for one in candidates if isinstance(one, Own)}
    spread = {name: math.log(ends[0] / ends[1]) / (2 * 1.96) for name, one in owns.items() if (ends := _rate_ends(one))}
    if not spread or any(one.level is not None and name not in spread for name, one in owns.items()):
        return {}
    rng = np.random.default_rng(_SEED)
    factors = {name: rng.normal(0, sd, _DRAWS) for name, sd in spread.items()}
    meets = {name: rng.random(_DRAWS) for name in spread}
    costs = []
    for row in rows:
        usd = np.full(_DRAWS, math.inf if row.usd_per_month is None or row.slo == "not met" else row.usd_per_month)
        own = owns.get(row.machine or "")
        if own is not None and own.name in spread and row.working and row.usd_per_month is not None:
            grid = np.linspace(-3, 3, 13) * spread[own.name]
            at_grid = [_working_at(own, demand, fleet, math.exp(step)) or row.working for step in grid]
            needed = np.interp(factors[own.name], grid, np.array(at_grid, float)).round()
            usd = usd + (needed - at_grid[6]) * own.usd_per_hour * fleet.hours_per_month
            if own.level is not None and own.level.p_met is not None:
                usd = np.where(meets[own.name] < own.level.p_met, usd, math.inf)
        costs.append(usd)
    table = np.array(costs)
    best = table.argmin(axis=0)
    decided = np.isfinite(table).any(axis=0)
    return {row.name: float(np.mean(decided & (best == i))) for i, row in enumerate(rows)}


def _hangs_on(
    winner: str | None, demand: Demand, candidates: Sequence[Own | Api], fleet: Fleet, extras: Extras
) -> tuple[str, ...]:
    """Changes, one at a time, that make another candidate the cheapest."""
    if winner is None:
        return ()

    def dearer(factor: float) -> list[Own | Api]:
        return [
            replace(one, usd_per_hour=one.usd_per_hour * factor) if isinstance(one, Own) else one for one in candidates
        ]

    flat = Demand(((demand.mean_per_s, 1.0),), "flat", demand.input_tokens, demand.output_tokens)
    changes: list[tuple[str, Demand, Sequence[Own | Api], Fleet]] = [
        ("half the demand", demand.scaled(0.5), candidates, fleet),
        ("twice the demand", demand.scaled(2.0), candidates, fleet),
        ("a flat demand round the clock", flat, candidates, fleet),
        ("no spare replica", demand, candidates, replace(fleet, spare_replicas=0)),
        ("a GPU-hour 25 % cheaper", demand, dearer(0.75), fleet),
        ("a GPU-hour 25 % dearer", demand, dearer(1.25), fleet),
    ]
    found = []
    for words, asked, those, with_fleet in changes:
        rows = _rows(asked, those, with_fleet, extras)
        if rows and rows[0].usd_per_month is not None and rows[0].name != winner:
            found.append(f"{words}: {rows[0].name}")
    return tuple(found)


def _assumptions(demand: Demand, fleet: Fleet, extras: Extras) -> tuple[str, ...]:
    spread = {
        "least-connections": "new requests go to the replica with the fewest in flight",
        "round-robin": "requests go to the replicas in turn",
        "random": "requests go to replicas at random",
    }[fleet.balancing]
    words = [
        f"demand: {demand.words}",
        f"a month has {fleet.hours_per_month:g} hours, and a replica is paid for in all of them",
        f"replicas carry the p99 hour at {fleet.target_utilization:.0%} of the measured rate at most, "
        f"and {fleet.spare_replicas} more stand by; {spread}",
        "in flight by a birth-death chain of measured levels, arrivals at random; TTFT 1.35 times the closed loop's",
    ]
    if extras.cache_hit_rate:
        words.append(
            f"a cache answers {extras.cache_hit_rate:.0%} of requests, on both sides; false hits are not counted"
        )
    if extras.training_usd_per_month:
        words.append(f"training: {extras.training_usd_per_month:,.2f} USD a month, on both sides")
    return tuple(words)


def _within(key: str, value: float, low: float, high: float, expected: str) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError("a parameter makes no sense", where=key, given=value, expected=expected)
