"""One demand, any number of candidates: own replicas, APIs, and blends of both; what a month costs at each. Pure.

Every candidate carries the same demand at its busiest hour, with the same target utilization and spare replicas, so
that no answer is cheaper because it forgot the peak. docs/METHODS.md, Capacity and cost of a month.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.intervals import ONE_RUN, Z
from benchsuite.economics import capacity
from benchsuite.economics.capacity import Demand, SpeedCurve, in_flight, replicas_for, tokens_of
from benchsuite.economics.decision import JudgedLevels, p_least
from benchsuite.economics.gpu_hour import complete, hour_parts, hourly_cost
from benchsuite.economics.plan_file import Candidate, Extras, Fleet, MachineTerms, PlanFile
from benchsuite.economics.prices import AS_GIVEN, GENAI, ApiPrice, PriceBook, api_price, genai_price
from benchsuite.errors import InputError, PriceError
from benchsuite.level import Level
from benchsuite.results import EvaluatedLevel
from benchsuite.slo import parse_slo
from benchsuite.spec import OwnedSpec

STEP_TTFT = 1.35  # an arrival waits for the running step: open-loop TTFT over the closed loop's at as many in flight
_DISCOUNT = 1.08  # a year
_DRAWS, _SEED = 2000, 20260102
_MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Own:
    """A machine that is one replica. usd_per_hour: of all its GPUs.

    levels: the measured curve of one model on it, with `level` the one to run at, and `proven` the highest that is met,
    taken where it needs no more replicas; or requests_per_s as stated, of which no latency is known. owned: of machines
    that are bought; the hour's price spreads the purchase over their life.
    """

    name: str
    gpus: int
    usd_per_hour: float
    source: str = AS_GIVEN
    as_of: str | None = None
    levels: tuple[EvaluatedLevel, ...] = ()
    level: EvaluatedLevel | None = None
    proven: EvaluatedLevel | None = None
    requests_per_s: float | None = None
    terms: MachineTerms = field(default_factory=MachineTerms)
    owned: OwnedSpec | None = None
    model: str = ""
    slo: str | None = None
    workload_hash: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[float, float] | None:
        """Input and output tokens of a request, as measured at the level."""
        return None if self.level is None else tokens_of(self.level.point)

    @property
    def rate_ends(self) -> tuple[float, float] | None:
        """The measured rate's interval at the level, high end first, as factors; None where there is none."""
        rate = None if self.level is None else self.level.intervals.get("request_per_s")
        if rate is None or rate.low is None or rate.high is None or not rate.value:
            return None
        return rate.high / rate.value, rate.low / rate.value


@dataclass(frozen=True, slots=True)
class Api:
    """An API by its price. cached_ratio: share of the input tokens that it bills as cached."""

    name: str
    price: ApiPrice
    cached_ratio: float = 0.0

    def usd_per_request(self, demand: Demand) -> float:
        """Input, cached input and output at their prices. Raises PriceError where a request's tokens are not known."""
        if demand.input_tokens is None or demand.output_tokens is None:
            raise PriceError(
                "an API is paid by the token, and the tokens of a request are not known",
                where=self.name,
                expected="--input-tokens and --output-tokens, or a run that measured them",
            )
        price, cached = self.price, self.price.cached_input_usd_per_1m_tokens
        cached = price.input_usd_per_1m_tokens if cached is None else cached
        of_input = (1 - self.cached_ratio) * price.input_usd_per_1m_tokens + self.cached_ratio * cached
        return (demand.input_tokens * of_input + demand.output_tokens * price.output_usd_per_1m_tokens) / 1e6


Kind = Literal["own", "API", "own + API", "reserved + on demand"]


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate's month. usd_low, usd_high: with the measured rate at the ends of its interval; None: no interval.

    replicas: with the spare ones. slo: met, not met, or not measured; p_slo: share of arrivals at the peak that find it
    kept. ttft_s, tok_s_per_user: at the peak, as predicted from the closed loop. break_even: (requests a day from which
    it is cheaper than the cheapest API); None where never or not asked. machine: the own candidate.
    """

    name: str
    kind: Kind
    usd_per_month: float | None
    usd_low: float | None = None
    usd_high: float | None = None
    usd_per_1m_tokens: float | None = None
    usd_per_1m_output_tokens: float | None = None
    replicas: int | None = None
    working: int | None = None
    gpus: int | None = None
    level: Level | None = None
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
class PriceSource:
    """Where the price of a candidate is from."""

    name: str
    source: str
    as_of: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows, the cheapest first of those that can be chosen; winner: its name, None where none can.

    p_winner: share of draws in which it stays the cheapest; None without an interval. hangs_on: the winner by the one
    thing that is changed, where it is another. fleet, extras: what was assumed. models: those of the candidates, where
    they are not one: what each costs is compared, not what it answers.
    """

    demand: Demand
    rows: tuple[Row, ...]
    winner: str | None
    p_winner: float | None
    hangs_on: dict[str, str]
    fleet: Fleet
    extras: Extras
    prices: tuple[PriceSource, ...]
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Question:
    """What every candidate is asked for. demand: with the tokens of a request, where they are known."""

    demand: Demand
    candidates: Sequence[Own | Api]
    fleet: Fleet
    extras: Extras

    @property
    def owns(self) -> list[Own]:
        return [one for one in self.candidates if isinstance(one, Own)]

    @property
    def apis(self) -> list[Api]:
        return [one for one in self.candidates if isinstance(one, Api)]

    @property
    def served(self) -> Demand:
        """The requests that no cache answers."""
        return self.demand.scaled(1 - self.extras.cache_hit_rate) if self.extras.cache_hit_rate else self.demand

    @property
    def requests(self) -> float:
        return self.served.requests_per_month(self.fleet.hours_per_month)

    @property
    def tokens(self) -> float:
        """Input and output of a request; 0 where they are not known."""
        return (self.demand.input_tokens or 0.0) + (self.demand.output_tokens or 0.0)

    @property
    def shared_usd(self) -> float:
        """What is paid whoever serves: training, and the cache's answers."""
        extras, tokens = self.extras, self.tokens * self.demand.requests_per_month(self.fleet.hours_per_month)
        return extras.training_usd_per_month + extras.cache_hit_usd_per_1m * tokens * extras.cache_hit_rate / 1e6

    def row(self, name: str, kind: Kind, usd: float | None, **more: Any) -> Row:
        requests = self.demand.requests_per_month(self.fleet.hours_per_month)
        each = {"usd_per_1m_tokens": self.tokens, "usd_per_1m_output_tokens": self.demand.output_tokens}
        per_1m: dict[str, Any] = {key: usd / (n * requests) * 1e6 for key, n in each.items() if usd is not None and n}
        return Row(name, kind, usd, **per_1m, **more)


def plan(
    demand: Demand, candidates: Sequence[Own | Api], fleet: Fleet | None = None, extras: Extras | None = None
) -> Plan:
    """The month of every candidate and of the blends that are cheaper than both their parts. Raises InputError.

    Own candidates that were measured must have served the same mix where the demand does not name its tokens.
    """
    fleet = fleet or Fleet()
    if fleet.spare_replicas is None:
        fleet = fleet.model_copy(update={"spare_replicas": 0 if demand.batch else 1})
    if not candidates:
        raise InputError("no candidates", where="candidates", expected="a measured run, a price, an API")
    asked = _Question(demand, candidates, fleet, extras or Extras())
    asked = replace(asked, demand=_with_tokens(demand, asked.owns))
    rows = _rows(asked)
    winner = rows[0].name if rows[0].usd_per_month is not None and rows[0].slo != "not met" else None
    p_cheapest = _p_cheapest(rows, asked)
    priced = [(one.name, one) if isinstance(one, Own) else (one.price.name, one.price) for one in candidates]
    return Plan(
        asked.demand,
        tuple(replace(row, p_cheapest=p_cheapest.get(row.name)) for row in rows),
        winner,
        None if winner is None else p_cheapest.get(winner),
        {} if winner is None else _hangs_on(winner, asked),
        fleet,
        asked.extras,
        tuple(PriceSource(name, price.source, price.as_of) for name, price in priced),
        _models(asked),
    )


def _models(asked: _Question) -> tuple[str, ...]:
    """The models by their names, where they are not one: qwen3-30b and openrouter/qwen3-30b-a3b are."""
    listed = [one.price.name.rpartition("/")[2] for one in asked.apis if one.price.as_of]
    names = list(dict.fromkeys(filter(None, [*(one.model for one in asked.owns), *listed])))
    words = [set(re.split(r"[^a-z0-9.]+", name.lower())) for name in names]
    one = all(a <= b or b <= a for a, b in itertools.combinations(words, 2))
    return () if one else tuple(names)


def _rows(asked: _Question) -> list[Row]:
    rows = []
    for api in asked.apis:
        unlisted = api.cached_ratio and api.price.cached_input_usd_per_1m_tokens is None
        notes = ("no price of cached input is listed: billed as input",) if unlisted else ()
        notes = (*notes, f"price: {api.price.note}") if api.price.note else notes
        usd = api.usd_per_request(asked.demand) * asked.requests + asked.shared_usd
        rows.append(asked.row(api.name, "API", usd, notes=notes))
    for own in asked.owns:
        rows += _own_rows(own, asked)
    return sorted(rows, key=lambda r: (r.slo == "not met", r.usd_per_month is None, r.usd_per_month or 0.0, r.name))


def _own_rows(own: Own, asked: _Question) -> list[Row]:
    """Its own replicas alone, partly reserved, and with each API above what they carry."""
    served, fleet, spare = asked.served, asked.fleet, asked.fleet.spare_replicas or 0
    if own.level is None and (own.requests_per_s is None or own.levels):
        notes = (*own.notes, "no measured level meets the SLO")
        return [asked.row(own.name, "own", None, slo="not met" if own.levels else "not measured", notes=notes)]
    replica = _Replica(own, served, fleet)
    working = replica.working(served.peak_per_s)
    figures, each_per_s, said = replica.at_peak(served, working)
    notes = (*own.notes, *replica.notes, *said)
    if own.levels and own.rate_ends is None:
        notes = (*notes, ONE_RUN)
    each = replica.carried(served.peak_per_s)
    month_usd, fixed = own.usd_per_hour * fleet.hours_per_month, own.terms.fixed_usd_per_month + asked.shared_usd

    def month(working: int) -> float:
        return (working + spare) * month_usd + fixed

    replicas, usd = working + spare, month(working)
    ends = [month(replica.working(served.peak_per_s / factor)) for factor in own.rate_ends or ()]
    bills = [(api, api.usd_per_request(asked.demand)) for api in asked.apis]
    best_api = min((bill for _, bill in bills), default=None)
    figures |= {"replicas": replicas, "working": working, "machine": own.name, "gpus": replicas * own.gpus,
                "utilization": served.mean_per_s / (replicas * each_per_s)}  # fmt: skip
    most = own.terms.max_replicas
    capped = most is not None and replicas > most
    if capped:
        few = f"{replicas} replicas are needed, and there are {most} at most"
        rows = [asked.row(own.name, "own", None, notes=(few, *notes), **figures)]
    else:
        pays_from = _break_even(own, fleet, each * served.mean_per_s / served.peak_per_s, best_api)
        alone = (
            figures | _capital(own, replicas, asked, best_api) | dict(zip(("usd_low", "usd_high"), ends, strict=False))
        )
        rows = [asked.row(own.name, "own", usd, notes=notes, break_even_requests_per_day=pays_from, **alone)]
    if own.terms.reserved_usd_per_hour is not None and not capped:
        reserved, cost = _reserved(own, own.terms.reserved_usd_per_hour * own.gpus, asked, working, each, fixed)
        note = f"{reserved} of the working replicas and the spare ones are reserved"
        rows.append(asked.row(f"{own.name}, partly reserved", "reserved + on demand", cost, notes=(note,), **figures))
    for api, bill in bills:
        blend = _blend(own, asked, min(working, most or working), each, fixed, bill)
        if blend is not None and (capped or blend[1] < min(usd, bill * asked.requests + asked.shared_usd)):
            k, cost, over = blend
            carried = served.scaled(k * each / served.peak_per_s)
            more = figures | replica.at_peak(carried, replica.working(carried.peak_per_s))[0]
            more |= {"replicas": k, "working": k, "gpus": k * own.gpus, "utilization": None, "slo": "not measured"}
            note = f"{over:.1%} of the requests go to the API, whose latency was not measured"
            rows.append(asked.row(f"{own.name} + {api.name}", "own + API", cost, notes=(note,), **more))
    return rows


class _Replica:
    """One replica of an own candidate under the asked mix. notes: what that mix and its curve ask to be said."""

    def __init__(self, own: Own, demand: Demand, fleet: Fleet) -> None:
        self.own, self.fleet, self.notes = own, fleet, list[str]()
        of_rate = own.level is not None and own.level.point.level.rate_per_s is not None
        self.curve = None if own.level is None or of_rate else _curve(own, demand, self.notes)

    def working(self, peak_per_s: float) -> int:
        """Replicas that carry the peak. Raises InputError for more than a million."""
        own, use = self.own, self.fleet.target_utilization
        if self.curve is None or own.level is None:
            each_per_s = (own.requests_per_s or 0.0) * use
            few = peak_per_s <= 1e6 * each_per_s
            needed = max(1, math.ceil(peak_per_s / each_per_s - 1e-9)) if few else None
        else:
            highest, balancing = own.level.point.level.number, self.fleet.balancing
            needed = replicas_for(self.curve, peak_per_s, highest, target_utilization=use, balancing=balancing)
        if needed is None:
            given = f"{peak_per_s:,.6g} requests/s at the peak"
            raise InputError("the demand needs more than a million replicas", where="demand", given=given)
        return needed

    def carried(self, scale_per_s: float) -> float:
        """The rate at the peak that one working replica carries at most; k carry k times that, or a little more."""
        low, high = 0.0, 1.0  # times scale_per_s
        while self.working(high * scale_per_s) == 1:
            low, high = high, 2 * high
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.working(middle * scale_per_s) == 1 else (low, middle)
        return low * scale_per_s

    def at_peak(self, demand: Demand, working: int) -> tuple[dict[str, Any], float, list[str]]:
        """What arrivals find at the peak, the rate of one replica at full use, and what there is to say of it."""
        own, curve, fleet, notes = self.own, self.curve, self.fleet, list[str]()
        if own.level is None:
            return {}, own.requests_per_s or 0.0, ["capacity as stated: no latency is known"]
        if curve is None:  # measured at a rate: what it carries is that rate, its latency the one measured there
            point, verdict = own.level.point, own.level.slo_verdict
            other = _other_mix(own, demand, 0.05)
            notes = [f"each replica carries the measured {point.level.words}"]
            notes += ["another mix than the measured one: its rate and its latency are not known"] * other
            found = {"level": point.level, "slo": "not measured" if other else verdict, "ttft_s": point.ttft_s.mean}
            return found, own.requests_per_s or 0.0, notes
        chosen = own.level
        if own.proven is not None and own.proven is not chosen:
            highest, use = own.proven.point.level.number, fleet.target_utilization
            peak, way = demand.peak_per_s, fleet.balancing
            if replicas_for(curve, peak, highest, target_utilization=use, balancing=way) == working:
                chosen = own.proven
        level, flight = chosen.point.level, in_flight(curve, demand.peak_per_s, working, fleet.balancing)
        assert flight is not None  # replicas_for found it so
        if level.number == curve.highest:
            notes.append(f"{level} is the highest level measured: fewer replicas may be enough")
        if (above := float(flight.shares[flight.n > curve.highest].sum())) > 0.01:
            notes.append(f"{above:.0%} of the time more are in flight than the highest level measured")
        if curve.levels[0] > 1 and (below := float(flight.shares[flight.n < curve.levels[0]].sum())) > 0.5:
            notes.append(f"{below:.0%} of the time fewer are in flight than the lowest level measured")
        ttft_s = None
        ttft = [(j.point.level.number, j.point.ttft_s.mean) for j in own.levels if j.point.ttft_s.mean is not None]
        if ttft:
            at, values = zip(*sorted(ttft), strict=True)
            ttft_s = STEP_TTFT * flight.average(lambda n: np.interp(np.log(np.maximum(n, 1e-9)), np.log(at), values))
        slo: str = chosen.slo_verdict
        if slo in ("met", "undecided") and _other_mix(own, demand, 0.05):
            slo = "not measured"  # its latency is that of the measured mix
        if slo == "undecided":
            notes.append(
                f"whether level {level} meets the SLO is undecided: `benchsuite decide` says what would settle it"
            )
        figures = {
            "level": level,
            "slo": slo,
            "p_slo": flight.kept(level.number),
            "ttft_s": ttft_s,
            "tok_s_per_user": demand.output_tokens / flight.time_s if demand.output_tokens else None,
        }
        return figures, float(curve.at(level.number)), notes


def _curve(own: Own, demand: Demand, notes: list[str]) -> SpeedCurve:
    """Requests a second of the asked mix by level: neither output nor all tokens come faster than was measured."""
    mix, measured = 1.0, own.tokens
    if measured is not None and _other_mix(own, demand, 1e-3):
        asked = sum(_asked(demand)), _asked(demand)[1]
        mix = min(a / b for a, b in zip((sum(measured), measured[1]), asked, strict=True) if b)
        notes.append(
            f"another mix than the measured one ({measured[0]:.0f} + {measured[1]:.0f} tokens a request): {mix:.3g} "
            "times its requests a second, by its token rates; latency is that of the measured mix"
        )
    known = sorted((j.point.level.number, j.point.request_per_s) for j in own.levels if j.point.request_per_s)
    if not known:
        raise InputError("the levels have no rate of requests", where=own.name, expected="requests and duration")
    falling = [n for (n, x), (_, before) in zip(known[1:], known, strict=False) if x < before]
    if falling:
        notes.append(f"throughput falls at {falling[0]:g}: a disturbed level, or beyond the peak")
    return SpeedCurve(tuple(n for n, _ in known), tuple(x * mix for _, x in known))


def _asked(demand: Demand) -> tuple[float, float]:
    return demand.input_tokens or 0.0, demand.output_tokens or 0.0


def _other_mix(own: Own, demand: Demand, tolerance: float) -> bool:
    if own.tokens is None or demand.input_tokens is None:
        return False
    return any(abs(a - b) > tolerance * b for a, b in zip(_asked(demand), own.tokens, strict=True))


def _with_tokens(demand: Demand, owns: Sequence[Own]) -> Demand:
    """The demand with the tokens of its requests: its own, else those of the measured runs, if they agree."""
    known = [one for one in owns if one.tokens is not None]
    if not known or (demand.input_tokens is not None and demand.output_tokens is not None):
        return demand
    first = known[0].tokens or (0.0, 0.0)
    for one in known[1:]:
        hashes = known[0].workload_hash, one.workload_hash
        mix = one.tokens or first
        if (None not in hashes and hashes[0] != hashes[1]) or any(
            abs(a / b - 1) > 0.05 for a, b in zip(mix, first, strict=True) if b
        ):
            raise InputError(
                "the candidates were measured with other requests, so their costs do not compare",
                where=f"{known[0].name}, {one.name}",
                given=f"{first[0]:.0f} + {first[1]:.0f} and {mix[0]:.0f} + {mix[1]:.0f} tokens a request"
                + "".join(f", request set {text[:12]}" for text in hashes if text),
                expected="one request set, or the demand's own --input-tokens and --output-tokens",
            )
    return replace(demand, input_tokens=first[0], output_tokens=first[1])


def _break_even(own: Own, fleet: Fleet, each_mean_per_s: float, usd_per_request: float | None) -> float | None:
    """Requests a day, in hours of this shape, from which own replicas stay cheaper than the API; None: never, no API.

    A step of replicas pays when the API's line passes it before the step is full.
    """
    if not usd_per_request:
        return None
    month_s, month_usd = fleet.hours_per_month * 3600, own.usd_per_hour * fleet.hours_per_month
    each, cheaper_from = each_mean_per_s, None
    for k in range(1, _MOST_STEPS + 1):
        cost = (k + (fleet.spare_replicas or 0)) * month_usd + own.terms.fixed_usd_per_month
        meets = max(cost / usd_per_request / month_s, (k - 1) * each)
        if meets >= k * each:
            cheaper_from = None
        elif cheaper_from is None or meets > (k - 1) * each + 1e-12:
            cheaper_from = meets
    return None if cheaper_from is None else cheaper_from * 86400


def _capital(own: Own, replicas: int, asked: _Question, usd_per_request: float | None) -> dict[str, Any]:
    """Payback against the cheapest API and present value at 8 % a year, of machines that are bought."""
    owned, machines = own.owned, own.gpus * replicas
    if owned is None or usd_per_request is None:
        return {}
    capex = owned.purchase_price / owned.currency_per_usd * machines
    hour_usd = own.usd_per_hour / own.gpus - hour_parts(complete(owned))["depreciation_usd_per_hour"]
    running = hour_usd * machines * asked.fleet.hours_per_month + own.terms.fixed_usd_per_month
    saved, months = usd_per_request * asked.requests - running, round(owned.years * 12)
    value = math.fsum(saved / _DISCOUNT ** (m / 12) for m in range(1, months + 1)) - capex
    payback = capex / saved if saved > 0 else None
    return {"payback_months": payback if payback is not None and payback <= months else None, "npv_usd": value}


def _reserved(
    own: Own, reserved_usd: float, asked: _Question, working: int, each: float, fixed: float
) -> tuple[int, float]:
    """The cheapest number of replicas to reserve for all hours, the others on demand in the hours that need them."""
    served, hours = asked.served, asked.fleet.hours_per_month
    needed = [(min(working, max(1, math.ceil(rate / each - 1e-9))), share) for rate, share in served.hours]

    def usd(reserved: int) -> float:
        peaks = math.fsum(max(k - reserved, 0) * share for k, share in needed) * own.usd_per_hour
        return ((reserved + (asked.fleet.spare_replicas or 0)) * reserved_usd + peaks) * hours + fixed

    best = min(range(working + 1), key=usd)
    return best, usd(best)


def _blend(
    own: Own, asked: _Question, most: int, each: float, fixed: float, usd_per_request: float
) -> tuple[int, float, float] | None:
    """The cheapest (replicas, usd, share to the API) with some of both; None where there is nothing between."""
    demand, hours, best = asked.served, asked.fleet.hours_per_month, None
    for k in range(1, min(most, _MOST_STEPS) + 1):
        over = math.fsum(max(rate - k * each, 0.0) * share for rate, share in demand.hours)
        if over <= 0:
            break
        usd = k * own.usd_per_hour * hours + fixed + usd_per_request * over * hours * 3600
        if best is None or usd < best[1]:
            best = k, usd, over / demand.mean_per_s
    return best


def _p_cheapest(rows: Sequence[Row], asked: _Question) -> dict[str, float]:
    """How often each row is the cheapest that meets the SLO when measured rates and P(SLO) are drawn; empty: not every
    measured candidate has an interval, or nothing was measured.
    """
    owns = {one.name: one for one in asked.owns}
    spread = {name: math.log(ends[0] / ends[1]) / (2 * Z) for name, one in owns.items() if (ends := one.rate_ends)}
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
            replica, peak_per_s = _Replica(own, asked.served, asked.fleet), asked.served.peak_per_s
            grid = np.linspace(-3, 3, 13) * spread[own.name]
            at_grid = [replica.working(peak_per_s / math.exp(step)) for step in grid]
            needed = np.interp(factors[own.name], grid, np.array(at_grid, float)).round()
            usd = usd + (needed - at_grid[6]) * own.usd_per_hour * asked.fleet.hours_per_month
            p_met = next((one.p_met for one in own.levels if one.point.level == row.level), None)
            if p_met is not None:
                usd = np.where(meets[own.name] < p_met, usd, math.inf)
        costs.append(usd)
    return dict(zip((row.name for row in rows), p_least(np.array(costs)), strict=True))


def _hangs_on(winner: str, asked: _Question) -> dict[str, str]:
    """Changes, one at a time, that make another candidate the cheapest, with its name."""
    if not asked.apis and [one.terms.reserved_usd_per_hour for one in asked.owns] == [None]:
        return {}  # there is no other, and asking seven times takes most of a report's time
    demand = asked.demand
    flat = replace(demand, hours=((demand.mean_per_s, 1.0),), words="flat", batch=False)

    def at_price(factor: float) -> _Question:
        owns = [replace(own, usd_per_hour=own.usd_per_hour * factor) for own in asked.owns]
        return replace(asked, candidates=[*owns, *asked.apis])

    changes = {
        "half the demand": replace(asked, demand=demand.scaled(0.5)),
        "twice the demand": replace(asked, demand=demand.scaled(2.0)),
        "a demand constant over the day": replace(asked, demand=flat),
        "no spare replica": replace(asked, fleet=asked.fleet.model_copy(update={"spare_replicas": 0})),
        "a GPU-hour 25 % cheaper": at_price(0.75),
        "a GPU-hour 25 % more expensive": at_price(1.25),
    }
    first = {change: _rows(question)[0] for change, question in changes.items()}
    return {change: row.name for change, row in first.items() if row.usd_per_month is not None and row.name != winner}


Judge = Callable[[Candidate, str | None, float | None], JudgedLevels]


def answer(asked: PlanFile, book: PriceBook, judge: Judge, read: Callable[[str], str], now: Any) -> Plan:
    """The plan of a question. judge: a candidate's run or table of levels, judged. read: a file's text.

    now: a datetime, for prices that have a day. Raises InputError, PriceError and what `judge` raises.
    """
    candidates = [_api(one, book, now) if one.is_api else _own(one, asked.slo, book, judge) for one in asked.candidate]
    names = [one.name for one in candidates]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("two candidates have one name", where="candidate", given=twice, expected="a name each")
    slos = {parse_slo(one.slo): one.name for one in candidates if isinstance(one, Own) and one.slo is not None}
    if len(slos) > 1:
        given = "; ".join(f"{slo} ({name})" for slo, name in slos.items())
        raise InputError("the candidates have different SLOs", where="slo", given=given, expected="one for all: --slo")
    measured = next((one.level.point for one in candidates if isinstance(one, Own) and one.level is not None), None)
    demand = capacity.demand_of(asked.demand, measured, asked.fleet.hours_per_month, read)
    return plan(demand, candidates, asked.fleet, asked.extras)


def _api(asked: Candidate, book: PriceBook, now: Any) -> Api:
    if asked.api is None:
        read, written, *cached = asked.api_usd_per_1m or ()
        price = api_price(asked.name or "API", (read, cached[0] if cached else None, written), AS_GIVEN)
    else:
        price = genai_price(asked.api.removeprefix(GENAI), now) if asked.api.startswith(GENAI) else book.api(asked.api)
    if price.as_of is None and price.source != AS_GIVEN:
        if asked.price_as_of is None:
            what, expected = "the price has no date", "--price-as-of (price_as_of): the day you checked it"
            raise PriceError(what, where=price.name, given=price.source, expected=expected)
        price = price.model_copy(update={"as_of": asked.price_as_of})
    return Api(asked.name or price.name, price, asked.cached_ratio)


def _own(asked: Candidate, slo: str | None, book: PriceBook, judge: Judge) -> Own:
    preset = None if asked.preset is None else book.gpu(asked.preset)
    unit, notes = asked.usd_per_hour if preset is None else preset.usd_per_hour, []
    owned = asked.owned if preset is None else preset.owned
    if owned is not None:
        owned = owned.model_copy(update={"utilisation": 1.0})  # idle hours are in the demand
        unit = hourly_cost(owned)
    if asked.spot is not None:
        unit = hourly_cost(asked.spot)
        notes.append(f"a useful GPU-hour on spot is {unit:.4g} USD, with interruptions and their replacement")
    gpus, model = asked.gpus or 1, asked.model
    more: dict[str, Any] = {}
    if asked.capacity_per_s is None:
        judged = judge(asked, slo, unit)
        gpus, model, decision = judged.gpus, judged.model, judged.decision
        unit = judged.usd_per_hour if unit is None else unit
        level = decision.recommended if decision.kind == "optimum" else None
        more = {"levels": judged.judged, "level": level, "slo": str(judged.slo), "workload_hash": judged.workload_hash}
        proven = [one for one in judged.judged if one.slo_verdict == "met"]
        if level is not None and level.point.level.rate_per_s is not None:
            more["requests_per_s"] = level.point.level.rate_per_s
        elif asked.concurrency is not None:
            more["level"] = _level(judged.judged, asked.concurrency)
        elif proven:
            more["proven"] = max(proven, key=lambda one: one.point.level)
    if unit is None:
        raise PriceError("the machine has no price", where=asked.name or model, expected="--usd-per-hour, or a preset")
    return Own(
        name=asked.name or f"{model or 'own'} on {gpus} GPU{'s' * (gpus != 1)}",
        gpus=gpus,
        usd_per_hour=unit * gpus,
        source=AS_GIVEN if preset is None else preset.source,
        as_of=None if preset is None else preset.as_of,
        terms=asked,
        owned=owned,
        model=model or "",
        notes=tuple(notes),
        **{"requests_per_s": asked.capacity_per_s, **more},
    )


def _level(levels: Sequence[EvaluatedLevel], asked: int) -> EvaluatedLevel:
    known = {one.point.level.concurrency: one for one in levels}
    if asked not in known:
        what, expected = "the level was not measured, and the curve is not extended", ", ".join(map(str, known))
        raise InputError(what, where="--concurrency", given=asked, expected=expected)
    return known[asked]
