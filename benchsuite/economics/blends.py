"""Neither API nor own alone: a cache before the model, the API for what overflows, two kinds of rent, fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchsuite.economics.demand import HOURS_PER_MONTH
from benchsuite.economics.tco import SelfHost, require
from benchsuite.errors import PriceError

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
