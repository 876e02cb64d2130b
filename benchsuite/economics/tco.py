"""API or own: what a month costs either way, where one's line crosses the other's staircase, and when capital is back.

A demand is in tokens per month, input and output together. Own capacity comes in whole replicas (the GPUs that serve
one copy of the model), so its cost is a staircase and break-even is a set of intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchsuite.economics.api_prices import ApiPrice
from benchsuite.economics.demand import HOURS_PER_MONTH
from benchsuite.errors import PriceError

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
