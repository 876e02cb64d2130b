"""Cost scenarios that someone has printed, worked out again: the figure as it is, beside the one that was printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import Field

from benchsuite.economics.capacity import HOURS_PER_MONTH
from benchsuite.economics.prices import ApiPrice
from benchsuite.errors import PriceError, read_toml
from benchsuite.strict_model import StrictModel, validated

_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class TokenMix:
    """What a month's tokens are made of. input_ratio: of all tokens; cached_ratio: of the input tokens. 0 to 1 both."""

    input_ratio: float
    cached_ratio: float = 0.0

    def __post_init__(self) -> None:
        for key in ("input_ratio", "cached_ratio"):
            require(key, getattr(self, key), 0, 1, "a share, from 0 to 1")


@dataclass(frozen=True, slots=True)
class SelfHost:
    """One replica and what runs beside it. usd_per_hour: all its GPUs, paid for every hour of the month.

    capacity_tokens_per_month: what one replica serves within the SLO; None if not known, then one is taken as enough.
    energy_usd_per_1m: what a million tokens cost on top of the idle hour. fixed_usd_per_month: whatever the load.
    spare: replicas kept beside those needed.
    """

    usd_per_hour: float
    capacity_tokens_per_month: float | None
    energy_usd_per_1m: float = 0.0
    fixed_usd_per_month: float = 0.0
    spare: int = 0
    hours_per_month: float = HOURS_PER_MONTH

    def __post_init__(self) -> None:
        for key in ("usd_per_hour", "energy_usd_per_1m", "fixed_usd_per_month", "spare"):
            require(key, getattr(self, key), 0, math.inf, "at least 0")
        require("hours_per_month", self.hours_per_month, 1, 744, "hours of a month, 730 on average")
        if self.capacity_tokens_per_month is not None and not 0 < self.capacity_tokens_per_month < math.inf:
            given = self.capacity_tokens_per_month
            raise PriceError(
                "a capacity makes no sense", where="capacity_tokens_per_month", given=given, expected="> 0"
            )

    @property
    def replica_usd_per_month(self) -> float:
        """One replica, all hours."""
        return self.usd_per_hour * self.hours_per_month

    def replicas(self, tokens_per_month: float) -> int:
        """k = ceil(demand / capacity), at least 1, without the spare ones."""
        if self.capacity_tokens_per_month is None:
            return 1
        return max(1, math.ceil(tokens_per_month / self.capacity_tokens_per_month))

    def month_usd(self, tokens_per_month: float) -> float:
        """fixed + (k + spare) x replica + energy."""
        return self._step_usd(self.replicas(tokens_per_month)) + self.energy_usd_per_1m * tokens_per_month / 1e6

    def _step_usd(self, k: int) -> float:
        return self.fixed_usd_per_month + (k + self.spare) * self.replica_usd_per_month


@dataclass(frozen=True, slots=True)
class Interval:
    """Tokens per month above `low`, up to and with `high`; None: no end."""

    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where own hosting is cheaper than the API.

    simple_tokens: (fixed + replica) / (API - energy), the one division that is right for one replica; None if there is
    no such point or one replica cannot serve it. intervals: of the staircase. reason: why there is none, or its limits.
    """

    simple_tokens: float | None
    intervals: tuple[Interval, ...]
    reason: str | None


def blended_usd_per_1m(price: ApiPrice, mix: TokenMix) -> float:
    """What a million tokens of this mix cost at the API. Cached input without a price of its own is input."""
    cached = price.cached_input_usd_per_1m_tokens
    cached = price.input_usd_per_1m_tokens if cached is None else cached
    of_input = (1 - mix.cached_ratio) * price.input_usd_per_1m_tokens + mix.cached_ratio * cached
    return mix.input_ratio * of_input + (1 - mix.input_ratio) * price.output_usd_per_1m_tokens


def api_month_usd(price: ApiPrice, tokens_per_month: float, mix: TokenMix) -> float:
    """M_in p_in + M_cached p_cached + M_out p_out, prices per million."""
    require("tokens_per_month", tokens_per_month, 0, math.inf, "at least 0")
    return tokens_per_month / 1e6 * blended_usd_per_1m(price, mix)


def capacity_tokens_per_month(tok_s: float, u_max: float = 1.0, *, hours_per_month: float = HOURS_PER_MONTH) -> float:
    """What a replica that serves `tok_s` within the SLO serves in a month at most; u_max: share of the hours it may."""
    if not 0 < tok_s < math.inf:
        raise PriceError("a capacity makes no sense", where="capacity_tok_s", given=tok_s, expected="tokens/s, above 0")
    if not 0 < u_max <= 1:
        raise PriceError("a share makes no sense", where="u_max", given=u_max, expected="above 0 and at most 1")
    return tok_s * u_max * hours_per_month * 3600


def break_even(api_usd_per_1m: float, host: SelfHost) -> BreakEven:
    """Every demand at which own hosting costs less, scanned step by step: on step k the API's line a M meets
    f_k + v M at M = f_k / (a - v), which counts if it lies on the step.

    A step of the staircase costs F and is worth (a - v) capacity: with F above that, more replicas only lose more.
    """
    margin = (api_usd_per_1m - host.energy_usd_per_1m) / 1e6  # US dollars saved by a token served at home
    if margin <= 0:
        said = f"never: energy alone costs {host.energy_usd_per_1m:g} USD/1M, the API {api_usd_per_1m:g}"
        return BreakEven(None, (), said)
    first = host._step_usd(1) / margin
    capacity, step = host.capacity_tokens_per_month, host.replica_usd_per_month
    if capacity is None:
        return BreakEven(first, (Interval(first, None),), "capacity not known: one replica is taken as enough")
    simple = first if first <= capacity else None
    if step >= margin * capacity:
        needed = f"{step / margin:,.0f} tokens a month on each replica, which serves {capacity:,.0f} at most"
        return BreakEven(None, (), f"never: it would take {needed}")
    intervals, whole = _scan(host, margin, capacity)
    reason = None if simple is not None else "one replica alone never pays: what is fixed is too much for it"
    if not whole:
        reason = f"scanned up to {_MAX_STEPS} replicas"
    return BreakEven(simple, intervals, reason)


def _scan(host: SelfHost, margin: float, capacity: float) -> tuple[tuple[Interval, ...], bool]:
    found: list[Interval] = []
    for k in range(1, _MAX_STEPS + 1):
        start, meets, end = (k - 1) * capacity, host._step_usd(k) / margin, k * capacity
        low = max(start, meets)
        if low >= end:
            continue
        joins = bool(found) and low == start and found[-1].high == start
        begin = found.pop().low if joins else low
        if meets <= start:  # and so on every later step: each adds more worth than cost
            found.append(Interval(begin, None))
            return tuple(found), True
        found.append(Interval(begin, end))
    return tuple(found), False


def payback_months(capex_usd: float, api_usd_per_month: float, opex_usd_per_month: float) -> float | None:
    """Months until what the API would have cost has paid for the machines; None: never."""
    require("capex_usd", capex_usd, 0, math.inf, "at least 0")
    require("opex_usd_per_month", opex_usd_per_month, 0, math.inf, "at least 0")
    saved = api_usd_per_month - opex_usd_per_month
    return capex_usd / saved if saved > 0 else None


def npv_usd(capex_usd: float, saved_usd_per_month: float, rate_per_year: float, years: float) -> float:
    """Net present value: -capex + the savings at each month's end, discounted at (1 + r)^(months / 12)."""
    require("capex_usd", capex_usd, 0, math.inf, "at least 0")
    require("discount_rate", rate_per_year, 0, 1, "a ratio per year, from 0 to 1")
    require("years", years, 1 / 12, 100, "years, at least a month")
    months = round(years * 12)
    return math.fsum(saved_usd_per_month / (1 + rate_per_year) ** (m / 12) for m in range(1, months + 1)) - capex_usd


def require(key: str, value: float, low: float, high: float, expected: str) -> None:
    """Raises PriceError naming `key` unless low <= value <= high and value is finite."""
    try:
        sensible = math.isfinite(value) and low <= value <= high
    except OverflowError:  # an integer beyond every float
        sensible = False
    if not sensible:
        raise PriceError("a parameter makes no sense", where=key, given=value, expected=expected)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenHours:
    """A histogram of a month: `hours[i]` hours with `tok_s[i]` tokens per second. Hours are scaled to the month's."""

    tok_s: tuple[float, ...]
    hours: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.tok_s or len(self.tok_s) != len(self.hours):
            raise PriceError("a demand histogram has no rows", where="demand", expected="rows of tok_s, hours")
        for key, values in (("tok_s", self.tok_s), ("hours", self.hours)):
            for value in values:
                require(f"demand: {key}", value, 0, math.inf, "at least 0")
        if not math.fsum(self.hours) or not math.fsum(rate * h for rate, h in zip(self.tok_s, self.hours, strict=True)):
            raise PriceError(
                "a demand histogram is empty", where="demand", given="all zero", expected="hours and tok_s"
            )

    def month(self, hours_per_month: float = HOURS_PER_MONTH) -> tuple[tuple[float, float], ...]:
        """(tokens per second, hours of the month)."""
        scale = hours_per_month / math.fsum(self.hours)
        return tuple((rate, hours * scale) for rate, hours in zip(self.tok_s, self.hours, strict=True))

    def tokens_per_month(self, hours_per_month: float = HOURS_PER_MONTH) -> float:
        """All tokens of the month."""
        return math.fsum(rate * hours * 3600 for rate, hours in self.month(hours_per_month))


@dataclass(frozen=True, slots=True)
class CacheBlend:
    """A semantic cache in front of own replicas. usd_*: per month. It saves nothing until a replica can go."""

    replicas_without: int
    replicas_with: int
    usd_without: float
    usd_with: float


@dataclass(frozen=True, slots=True)
class Overflow:
    """K own replicas and the API for what they cannot take. overflow_ratio: share of the tokens. usd: per month."""

    replicas: int
    overflow_ratio: float
    usd: float


@dataclass(frozen=True, slots=True)
class BaseLoad:
    """Reserved replicas for the base load, another kind of rent for the peaks. usd: per month."""

    reserved: int
    peak_replica_hours: float
    usd: float


def token_hours(requests_per_hour: Sequence[float], tokens_per_request: float) -> TokenHours:
    """A history of hours as a histogram. tokens_per_request: input and output together, as measured."""
    require("tokens_per_request", tokens_per_request, 0, math.inf, "at least 0")
    rates = tuple(requests * tokens_per_request / 3600 for requests in requests_per_hour)
    return TokenHours(rates, (1.0,) * len(rates))


def semantic_cache(tokens_per_month: float, hit_rate: float, host: SelfHost, hit_usd_per_1m: float = 0.0) -> CacheBlend:
    """A cache that answers `hit_rate` of the demand at hit_usd_per_1m; replicas are recomputed for the rest.

    What false hits cost in quality is not in it.
    """
    require("cache_hit_rate", hit_rate, 0, 1, "a share of the requests, from 0 to 1")
    require("hit_usd_per_1m", hit_usd_per_1m, 0, math.inf, "at least 0")
    rest = tokens_per_month * (1 - hit_rate)
    return CacheBlend(
        replicas_without=host.replicas(tokens_per_month),
        replicas_with=host.replicas(rest),
        usd_without=host.month_usd(tokens_per_month),
        usd_with=host.month_usd(rest) + hit_usd_per_1m * tokens_per_month * hit_rate / 1e6,
    )


def overflow(load: TokenHours, replicas: int, replica_tok_s: float, host: SelfHost, api_usd_per_1m: float) -> Overflow:
    """K replicas take what they can, the API the share o = E[(demand - K capacity)+] / E[demand]."""
    kept = replicas * replica_tok_s
    total = load.tokens_per_month(host.hours_per_month)
    over = math.fsum(max(rate - kept, 0) * hours * 3600 for rate, hours in load.month(host.hours_per_month))
    # with no replica there is nothing to keep a spare or a fixed cost for
    own = replicas * host.replica_usd_per_month
    own += host.fixed_usd_per_month + host.spare * host.replica_usd_per_month if replicas else 0.0
    usd = own + host.energy_usd_per_1m * (total - over) / 1e6 + api_usd_per_1m * over / 1e6
    return Overflow(replicas, over / total, usd)


def own_only(load: TokenHours, replica_tok_s: float, host: SelfHost) -> Overflow:
    """Enough replicas for the busiest hour, and no API."""
    return overflow(load, _replicas_for(max(load.tok_s), replica_tok_s), replica_tok_s, host, 0.0)


def best_overflow(load: TokenHours, replica_tok_s: float, host: SelfHost, api_usd_per_1m: float) -> Overflow:
    """The cheapest number of replicas from none (all API) to enough for the peak (no API)."""
    most = _replicas_for(max(load.tok_s), replica_tok_s)
    return _cheapest(most, lambda k: overflow(load, k, replica_tok_s, host, api_usd_per_1m), lambda o: o.usd)


def base_load(
    load: TokenHours,
    replica_tok_s: float,
    reserved_usd_per_hour: float,
    peak_usd_per_hour: float,
    *,
    hours_per_month: float = HOURS_PER_MONTH,
) -> BaseLoad:
    """The cheapest split: reserved replicas are paid for all hours, the others for the hours that need them.

    Prices of one replica; peak_usd_per_hour is that of a useful hour (spot: with its interruptions).
    """
    for key, price in (("reserved_usd_per_hour", reserved_usd_per_hour), ("usd_per_hour", peak_usd_per_hour)):
        require(key, price, 0, math.inf, "at least 0")
    month = [(_replicas_for(rate, replica_tok_s), hours) for rate, hours in load.month(hours_per_month)]

    def split(reserved: int) -> BaseLoad:
        peak = math.fsum(max(k - reserved, 0) * hours for k, hours in month)
        usd = reserved * reserved_usd_per_hour * hours_per_month + peak * peak_usd_per_hour
        return BaseLoad(reserved, peak, usd)

    return _cheapest(max(k for k, _ in month), split, lambda one: one.usd)


def fine_tuning_usd_per_month(first_usd: float, retrain_usd_per_year: float, life_years: float) -> float:
    """(F + retraining per year x life) spread over the months of the model's life."""
    require("fine_tune_usd", first_usd, 0, math.inf, "at least 0")
    require("retrain_usd_per_year", retrain_usd_per_year, 0, math.inf, "at least 0")
    require("fine_tune_years", life_years, 1 / 12, 100, "years, at least a month")
    return (first_usd + retrain_usd_per_year * life_years) / (life_years * 12)


def training_usd(tokens: float, epochs: float, train_tok_s: float, usd_per_hour: float) -> float:
    """What a training run costs: tokens x epochs / speed, at the price of the machine that trains."""
    require("train_tokens", tokens, 0, math.inf, "at least 0")
    require("train_epochs", epochs, 0, math.inf, "at least 0")
    require("train_usd_per_hour", usd_per_hour, 0, math.inf, "at least 0")
    if not 0 < train_tok_s < math.inf:
        raise PriceError("a speed makes no sense", where="train_tok_s", given=train_tok_s, expected="above 0")
    return tokens * epochs / train_tok_s / 3600 * usd_per_hour


def _replicas_for(rate: float, replica_tok_s: float) -> int:
    if not 0 < replica_tok_s < math.inf:
        raise PriceError("a capacity makes no sense", where="capacity_tok_s", given=replica_tok_s, expected="above 0")
    return math.ceil(rate / replica_tok_s)


def _cheapest(most: int, make: Callable[[int], T], usd: Callable[[T], float]) -> T:
    return min((make(k) for k in range(most + 1)), key=usd)


_AtLeast0 = Annotated[float, Field(ge=0, strict=True)]


class _Printed(StrictModel):
    api_usd: float | None = None
    own_usd: float | None = None
    saving_ratio: float | None = None


class _ScenarioEntry(StrictModel):
    """One [[scenario]] of a file."""

    name: str | None = None
    what: str = ""
    requests_per_day: _AtLeast0
    tokens_per_request: _AtLeast0
    days: _AtLeast0
    api_usd_per_1m_tokens: _AtLeast0
    usd_per_hour: _AtLeast0
    gpus: _AtLeast0
    hours_per_month: Annotated[float, Field(ge=1, le=744, strict=True)] = HOURS_PER_MONTH
    printed: _Printed = _Printed()
    why: str = ""


class _ScenarioFile(StrictModel):
    scenario: Annotated[list[_ScenarioEntry], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One month, API against own hosting. saving_ratio: 1 - own / API, negative where own hosting is dearer.

    break_even_tokens: tokens per month, own capacity not limited. printed: the same figures as they were printed
    (api_usd, own_usd, saving_ratio); why: what makes them differ.
    """

    name: str
    what: str
    tokens_per_month: float
    api_usd_per_1m_tokens: float
    api_usd: float
    own_usd: float
    saving_ratio: float
    break_even_tokens: float | None
    printed: Mapping[str, float]
    why: str


def parse_scenarios(text: str, where: str) -> tuple[Scenario, ...]:
    """A TOML file of [[scenario]] tables, worked out. Raises PriceError naming the scenario and the key."""
    try:
        tree = read_toml(text)
    except ValueError as error:
        raise PriceError("the scenarios do not parse", where=where, given=error, expected="TOML") from None
    file = validated(_ScenarioFile, tree, "the scenario file", where=where, error_type=PriceError)
    return tuple(_scenario(entry, f"{where}: scenario {i}") for i, entry in enumerate(file.scenario, 1))


def _scenario(entry: _ScenarioEntry, where: str) -> Scenario:
    tokens = entry.requests_per_day * entry.tokens_per_request * entry.days
    host = SelfHost(entry.usd_per_hour * entry.gpus, None, hours_per_month=entry.hours_per_month)
    api, own = tokens / 1e6 * entry.api_usd_per_1m_tokens, host.month_usd(tokens)
    if not api:
        raise PriceError("a scenario without API cost has no saving", where=where, given=0, expected="tokens, a price")
    return Scenario(
        name=entry.name or where,
        what=entry.what,
        tokens_per_month=tokens,
        api_usd_per_1m_tokens=entry.api_usd_per_1m_tokens,
        api_usd=api,
        own_usd=own,
        saving_ratio=1 - own / api,
        break_even_tokens=break_even(entry.api_usd_per_1m_tokens, host).simple_tokens,
        printed=entry.printed.model_dump(exclude_none=True),
        why=entry.why,
    )
