"""The cost of a level: its run at the hourly price, its power, and the bill of a fallback API. Pure.

A rented price has its electricity in it and is never topped up.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from benchsuite.analysis.endpoints import Balance
from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.analysis.intervals import SEED
from benchsuite.economics.gpu_hour import cost_mode, hourly_cost
from benchsuite.errors import PriceError
from benchsuite.level import Level
from benchsuite.metrics import ALPHA
from benchsuite.quality.paired import DRAWS, is_binary, score_draws, wilson_draws
from benchsuite.results import (
    MAX_NOT_JUDGED,
    Estimate,
    PointCost,
    PointEnergy,
    PointSummary,
    Quality,
    ScenarioQuality,
)
from benchsuite.spec import PriceSpec
from benchsuite.warning_table import Finding, warn

SECONDS_PER_HOUR = 3600.0
HourPrice = float | Mapping[Level, float] | None  # one for all levels, or by level where it holds measured power


def total_usd_per_hour(usd_per_hour: float, gpus: int = 1) -> float:
    """The price of the whole machine: one GPU's times the number of GPUs. Raises PriceError for nonsense."""
    if not math.isfinite(usd_per_hour) or usd_per_hour < 0:
        raise PriceError("a price is out of range", where="usd_per_hour", given=usd_per_hour, expected="at least 0")
    if not 1 <= gpus < 2**31:
        raise PriceError("a number of GPUs is out of range", where="gpus", given=gpus, expected="at least 1")
    return usd_per_hour * gpus


def hour_at(price: HourPrice, level: Level) -> float | None:
    """The price of the whole machine's hour at a level; None if none is known. KeyError for a level without one."""
    return price[level] if isinstance(price, Mapping) else price


def is_free(price: HourPrice) -> bool:
    """True where an hour costs nothing."""
    return all(usd == 0 for usd in price.values()) if isinstance(price, Mapping) else price == 0


def point_cost(point: PointSummary, usd_per_hour_total: float | None) -> PointCost:
    """The cost of one run of the set at this point, and of its products.

    usd_per_hour_total: all GPUs together; None if no price is known, then every cost is None. Failed requests keep
    their time in the cost and are not among the products.
    """
    if usd_per_hour_total is None or point.duration_s is None:
        return PointCost(usd_per_hour_total, None, None, None, None)
    cost_usd = usd_per_hour_total * point.duration_s / SECONDS_PER_HOUR
    all_runs_usd, all_runs_s = cost_usd * point.repeat_count, point.duration_s * point.repeat_count

    def per(count: float | None, unit: float) -> float | None:
        return all_runs_usd / count * unit if count else None

    requests, output, tokens = point.products
    good_per_s = point.ratios.get("goodput_per_s")
    return PointCost(
        usd_per_hour=usd_per_hour_total,
        cost_usd=cost_usd,
        usd_per_1m_output_tokens=per(output, 1e6),
        usd_per_1m_total_tokens=per(tokens, 1e6),
        usd_per_request=per(requests, 1.0),
        usd_per_good_request=per(good_per_s and good_per_s * all_runs_s, 1.0),
    )


def cost_intervals(cost: PointCost, intervals: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """`cost_usd` and `usd_per_1m_output_tokens`, from the intervals of the time and of the tokens per second.

    Both are proportional to those at a fixed price: the price's own doubt is not in them. Empty where no cost is known.
    """
    found: dict[str, Estimate] = {}
    if cost.usd_per_hour is None:
        return found
    usd_per_s, per_1m = cost.usd_per_hour / SECONDS_PER_HOUR, cost.usd_per_1m_output_tokens
    wall, rate = intervals.get("duration_s"), intervals.get("output_tok_s")
    if cost.cost_usd is not None and wall is not None:
        low, high = _times(wall.low, usd_per_s), _times(wall.high, usd_per_s)
        found["cost_usd"] = Estimate(cost.cost_usd, low, high, wall.n, wall.method)
    if per_1m is not None and rate is not None:
        low, high = (usd_per_s * 1e6 / end if end else None for end in (rate.high, rate.low))
        found["usd_per_1m_output_tokens"] = Estimate(per_1m, low, high, rate.n, rate.method)
    return found


def usd_per_point(usd: float | None, points: float) -> float | None:
    """What was spent over the sum of the scores that it brought: dollars for a correct answer, or a score point."""
    return usd / points if usd is not None and points > 0 else None


_LOG_CAP = 50.0  # two runs that differ much: e^50 times as much is no cost


def usd_per_correct(cost: Estimate | None, runs: int, quality: ScenarioQuality | Quality) -> Estimate | None:
    """Dollars for a correct answer: the share of a level's cost that its scored requests had of the time in flight,
    over the sum of their scores.

    cost: of one run of the set, None if not known. The interval is of a joint bootstrap: run means that log-scale t
    allows, and items; of one run the cost is taken as exact. Where the score may be 0 there is no upper end. None too
    where the time in flight is not known, or what could not be judged is more than 1 %.
    """
    scenarios = quality.scenarios if isinstance(quality, Quality) else (quality,)
    n, points = sum(one.n for one in scenarios), sum(one.points for one in scenarios)
    shares, not_judged = [one.time_share for one in scenarios], sum(one.not_judged for one in scenarios)
    if cost is None or cost.value is None or None in shares or not_judged > MAX_NOT_JUDGED * n:
        return None
    spent = cost.value * runs * sum(share or 0.0 for share in shares)
    by_item, rng = np.array([score for one in scenarios for score in one.items.values()]), np.random.default_rng(SEED)
    if is_binary(by_item):
        drawn = np.clip(wilson_draws(float(by_item.mean()), len(by_item), rng.standard_normal(DRAWS)), 0, 1)
    else:
        drawn = score_draws({"": by_item})
    costs, method = np.ones(DRAWS), "items resampled, the cost of one run as exact"
    if cost.low and cost.high and cost.n > 1:
        t, half = rng.standard_t(cost.n - 1, DRAWS), special.stdtrit(cost.n - 1, 1 - ALPHA / 2)
        logs = np.clip(math.log(cost.high / cost.low) / 2 / half * t, -_LOG_CAP, _LOG_CAP)
        costs, method = np.exp(logs), f"{cost.n} runs and items resampled"
    per = np.where(drawn > 0, spent * costs / (n * np.where(drawn > 0, drawn, 1.0)), np.inf)
    low, high = (float(end) for end in np.quantile(per, [ALPHA / 2, 1 - ALPHA / 2], method="inverted_cdf"))
    value = usd_per_point(spent, points)
    low, high = (low, high) if value is None else (min(low, value), max(high, value))
    return Estimate(value, low, high if math.isfinite(high) else None, len(by_item), method)


def priced_answers(quality: Quality, cost: Estimate | None, runs: int) -> Quality:
    """`quality` with what a correct answer cost, overall and by scenario; cost, runs: as for usd_per_correct."""
    scenarios = tuple(
        dataclasses.replace(one, usd_per_correct=usd_per_correct(cost, runs, one)) for one in quality.scenarios
    )
    return dataclasses.replace(quality, scenarios=scenarios, usd_per_correct=usd_per_correct(cost, runs, quality))


def _times(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


def priced(energy: PointEnergy, point: PointSummary, price: PriceSpec) -> PointEnergy:
    """`energy` with its wall energy (times PUE), its electricity and its carbon, as far as `price` tells."""
    pue, owned = _pue(price), price.owned
    usd_per_kwh = price.usd_per_kwh
    if owned is not None and owned.electricity_per_kwh is not None:
        usd_per_kwh = owned.electricity_per_kwh / owned.currency_per_usd
    wall_j = _times(energy.gross_j, pue)
    kwh = None if wall_j is None else wall_j / J_PER_KWH
    usd, grams = _times(kwh, usd_per_kwh), _times(kwh, price.gco2_per_kwh)
    # both are of one run of the set, output tokens of all its repeats
    _, output, _ = point.products
    tokens = output / point.repeat_count / 1e6 if output else None
    return dataclasses.replace(
        energy,
        pue=pue,
        wall_j=wall_j,
        gco2_g=grams,
        gco2_g_per_1m_output_tokens=None if grams is None or tokens is None else grams / tokens,
        electricity_usd=usd,
        electricity_usd_per_1m_output_tokens=None if usd is None or tokens is None else usd / tokens,
    )


def owned_usd_per_hour(price: PriceSpec, power_kw: float | None = None, idle_kw: float | None = None) -> float | None:
    """One owned GPU's useful hour. power_kw, idle_kw: measured, of one GPU; the spec's own come first.

    None if the power is not known.
    """
    owned = price.owned
    assert owned is not None
    kw = power_kw if owned.power_kw is None else owned.power_kw
    if kw is None:
        return None
    electricity, mode = owned.electricity_per_kwh, cost_mode(owned)
    if electricity is None:
        electricity = (price.usd_per_kwh or 0.0) * owned.currency_per_usd
    known: dict[str, Any] = {"mode": mode, "power_kw": kw, "electricity_per_kwh": electricity, "pue": _pue(price)}
    if mode == "full" and owned.idle_kw is None:
        known["idle_kw"] = idle_kw
    return hourly_cost(owned.model_copy(update=known))


def level_prices(price: PriceSpec, energies: Mapping[Level, PointEnergy | None]) -> dict[Level, float] | None:
    """The whole machine's US dollars per hour at each level, owned GPUs at the power each level drew.

    None if that is unknown at some level: dollars at some levels only cannot be compared.
    """
    found = {}
    for level, energy in energies.items():
        watts = (None, None) if energy is None else (energy.mean_w, energy.idle_w)
        n_gpus = 1 if energy is None else energy.n_gpus
        usd = owned_usd_per_hour(price, *(None if w is None else w / n_gpus / 1000 for w in watts))
        if usd is None:
            return None
        found[level] = total_usd_per_hour(usd, price.gpus)
    return found


def power_warnings(price: PriceSpec, energies: Mapping[Level, PointEnergy | None]) -> list[Finding]:
    """Warnings at levels whose owned GPUs have no known power, or whose energy and price count different GPUs."""
    found = []
    has_price = price.owned is not None or price.usd_per_hour is not None or price.preset is not None
    for level, energy in energies.items():
        if price.owned is not None and price.owned.power_kw is None and (energy is None or energy.mean_w is None):
            found.append(warn("owned_power_unknown", level))
        of_a_slice = energy is not None and any(one.code == "energy_whole_card" for one in energy.codes)
        if has_price and energy is not None and energy.n_gpus != price.gpus and not of_a_slice:
            found.append(warn("gpu_count", level, measured=energy.n_gpus, priced=price.gpus))
    return found


def _pue(price: PriceSpec) -> float:
    return price.pue if price.owned is None or price.owned.pue is None else price.owned.pue


@dataclass(frozen=True, slots=True)
class FallbackUse:
    """A level's fallback, over all repeats.

    request_share, token_share: the API's part of the requests sent, of the output tokens. tries, skips: requests that
    went there after a refusal, and untried because of the queue; None if not told. api_usd: its bill, None if its
    prices or its tokens are not known. own_usd: the own machine's hours. usd_per_1m_output_tokens: both together over
    all output tokens; own_usd_per_1m_output_tokens: the own hours over the own tokens.
    """

    level: Level
    requests: int
    api_requests: int
    api_failures: int
    request_share: float | None
    token_share: float | None
    tries: int | None
    skips: int | None
    api_input_tokens: int | None
    api_output_tokens: int | None
    api_usd: float | None
    own_usd: float | None
    usd_per_1m_output_tokens: float | None
    own_usd_per_1m_output_tokens: float | None


def fallback_use(
    balance: Balance,
    *,
    usd_per_1m: tuple[float, float] | None,
    usd_per_hour_total: float | None,
    duration_s: float | None,
    tries: int | None = None,
    skips: int | None = None,
) -> FallbackUse:
    """The level's fallback and its cost.

    usd_per_1m: list price of input and output tokens, None if not known; cached input is billed as input. Failed
    requests are not billed. duration_s: of all repeats together, for which the own machine is paid, whoever answers.
    """
    # those that answered something: the others have no tokens and no bill
    own, api = ([part for part in balance.of(role) if part.requests > part.failures] for role in ("own", "fallback"))
    requests = sum(part.requests for part in balance.parts)
    api_requests = sum(part.requests for part in balance.of("fallback"))
    api_inputs, api_tokens = _sum(part.input_tokens for part in api), _sum(part.output_tokens for part in api)
    own_tokens = _sum(part.output_tokens for part in own)
    tokens = None if own_tokens is None or api_tokens is None else own_tokens + api_tokens
    api_usd = None if api else 0.0
    if api and usd_per_1m is not None and not any(part.tokens_unknown for part in api):
        bills = ((part.input_tokens or 0, part.output_tokens or 0) for part in api)
        api_usd = sum(read * usd_per_1m[0] / 1e6 + written * usd_per_1m[1] / 1e6 for read, written in bills)
    own_usd = _times(duration_s, None if usd_per_hour_total is None else usd_per_hour_total / SECONDS_PER_HOUR)
    both_usd = None if api_usd is None or own_usd is None else api_usd + own_usd
    return FallbackUse(
        level=balance.level,
        requests=requests,
        api_requests=api_requests,
        api_failures=sum(part.failures for part in balance.of("fallback")),
        request_share=api_requests / requests if requests else None,
        token_share=api_tokens / tokens if tokens and api_tokens is not None else None,
        tries=tries,
        skips=skips,
        api_input_tokens=api_inputs,
        api_output_tokens=api_tokens,
        api_usd=api_usd,
        own_usd=own_usd,
        usd_per_1m_output_tokens=_per_1m(both_usd, tokens),
        own_usd_per_1m_output_tokens=_per_1m(own_usd, own_tokens),
    )


def hours_with_bills(
    usd_per_hour_total: HourPrice,
    used: Sequence[FallbackUse],
    duration_s: Mapping[Level, float | None],
) -> dict[Level, float] | None:
    """The whole machine's hour by level with the API's bill spread over it, so that hour times time is the whole cost.

    duration_s: of all repeats together. None where a level's own price, bill or time is not known: a cost that leaves
    out the API would make the level that sends most of its requests there the cheapest.
    """
    hours = {}
    for use in used:
        level, time_s = use.level, duration_s.get(use.level)
        own = usd_per_hour_total.get(level) if isinstance(usd_per_hour_total, Mapping) else usd_per_hour_total
        if own is None or use.api_usd is None or not time_s:
            return None
        hours[level] = own + use.api_usd / time_s * SECONDS_PER_HOUR
    return hours


def _sum(known: Iterable[int | None]) -> int | None:
    """None where one is not known."""
    values = list(known)
    return None if None in values else sum(value or 0 for value in values)


def _per_1m(usd: float | None, tokens: int | None) -> float | None:
    return usd / tokens * 1e6 if usd is not None and tokens else None
