"""What measured power costs: electricity and carbon of a level, and the hour of an owned GPU at the power it drew.

A rented price has its electricity in it and is never topped up. Pure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.economics.gpu_hour import cost_mode, hourly_cost
from benchsuite.errors import PriceError
from benchsuite.results import Estimate, PointCost, PointEnergy, PointSummary
from benchsuite.spec import PriceSpec
from benchsuite.warning_table import Finding, warn

SECONDS_PER_HOUR = 3600.0
HourPrice = float | Mapping[int, float] | None  # one for all levels, or by level where it holds measured power


def total_usd_per_hour(usd_per_hour: float, gpus: int = 1) -> float:
    """The price of the whole machine: one GPU's times the number of GPUs. Raises PriceError for nonsense."""
    if not math.isfinite(usd_per_hour) or usd_per_hour < 0:
        raise PriceError("a price makes no sense", where="usd_per_hour", given=usd_per_hour, expected="at least 0")
    if gpus < 1:
        raise PriceError("a number of GPUs makes no sense", where="gpus", given=gpus, expected="at least 1")
    return usd_per_hour * gpus


def hour_at(price: HourPrice, concurrency: int) -> float | None:
    """The price of the whole machine's hour at a level; None if none is known. KeyError for a level without one."""
    return price[concurrency] if isinstance(price, Mapping) else price


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
    all_runs_usd = cost_usd * point.repeat_count

    def per(count: int | None, unit: float) -> float | None:
        return all_runs_usd / count * unit if count else None

    tokens = (
        None if point.input_tokens is None or point.output_tokens is None else point.input_tokens + point.output_tokens
    )
    return PointCost(
        usd_per_hour=usd_per_hour_total,
        cost_usd=cost_usd,
        usd_per_1m_output_tokens=per(point.output_tokens, 1e6),
        usd_per_1m_total_tokens=per(tokens, 1e6),
        usd_per_request=per(point.n_ok, 1.0),
    )


def cost_intervals(cost: PointCost, intervals: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """`cost_usd` and `usd_per_1m_output_tokens`, from the intervals of the time and of the tokens per second.

    Both are proportional to those at a fixed price: the price's own doubt is not in them. Empty where no cost is known.
    """
    found = {}
    wall, rate = intervals.get("duration_s"), intervals.get("output_tok_s")
    usd_per_s = None if cost.usd_per_hour is None else cost.usd_per_hour / SECONDS_PER_HOUR
    if usd_per_s is not None and cost.cost_usd is not None and wall is not None:
        found["cost_usd"] = Estimate(
            cost.cost_usd, _times(wall.low, usd_per_s), _times(wall.high, usd_per_s), wall.n, wall.method
        )
    per_1m = cost.usd_per_1m_output_tokens
    if usd_per_s is not None and per_1m is not None and rate is not None:
        low = usd_per_s * 1e6 / rate.high if rate.high else None
        high = usd_per_s * 1e6 / rate.low if rate.low else None
        found["usd_per_1m_output_tokens"] = Estimate(per_1m, low, high, rate.n, rate.method)
    return found


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def priced(energy: PointEnergy, point: PointSummary, price: PriceSpec) -> PointEnergy:
    """`energy` with its wall energy (times PUE), its electricity and its carbon, as far as `price` tells."""
    pue = _pue(price)
    wall_j = None if energy.gross_j is None else energy.gross_j * pue
    kwh = None if wall_j is None else wall_j / J_PER_KWH
    usd = _power_times(kwh, _usd_per_kwh(price))
    grams = _power_times(kwh, price.gco2_per_kwh)
    # both are of one run of the set, output_tokens of all its repeats
    tokens = None if not point.output_tokens else point.output_tokens / point.repeat_count / 1e6
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
    return hourly_cost(owned.model_copy(update=known)).usd_per_hour


def level_prices(price: PriceSpec, energies: Mapping[int, PointEnergy | None]) -> dict[int, float] | None:
    """The whole machine's US dollars per hour at each level, owned GPUs at the power each level drew.

    None if that is unknown at some level: dollars at some levels and none at others do not compare.
    """
    found = {}
    for level, energy in energies.items():
        watts = None if energy is None else energy.mean_w
        idle_w = None if energy is None else energy.idle_w
        n_gpus = 1 if energy is None else energy.n_gpus
        usd = owned_usd_per_hour(price, _kw_each(watts, n_gpus), _kw_each(idle_w, n_gpus))
        if usd is None:
            return None
        found[level] = total_usd_per_hour(usd, price.gpus)
    return found


def power_warnings(price: PriceSpec, energies: Mapping[int, PointEnergy | None]) -> list[Finding]:
    """What stands against putting the levels' measured power beside their price, by level."""
    found = []
    has_price = price.owned is not None or price.usd_per_hour is not None or price.preset is not None
    for level, energy in energies.items():
        if price.owned is not None and price.owned.power_kw is None and (energy is None or energy.mean_w is None):
            found.append(warn("owned_power_unknown", level))
        if has_price and energy is not None and energy.n_gpus != price.gpus and not _of_a_slice(energy):
            found.append(warn("gpu_count", level, measured=energy.n_gpus, priced=price.gpus))
    return found


def _pue(price: PriceSpec) -> float:
    return price.pue if price.owned is None or price.owned.pue is None else price.owned.pue


def _usd_per_kwh(price: PriceSpec) -> float | None:
    if price.owned is not None and price.owned.electricity_per_kwh is not None:
        return price.owned.electricity_per_kwh / price.owned.currency_per_usd
    return price.usd_per_kwh


def _kw_each(watts: float | None, n_gpus: int) -> float | None:
    return None if watts is None else watts / n_gpus / 1000


def _power_times(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


def _of_a_slice(energy: PointEnergy) -> bool:
    return any(warn.code == "energy_whole_card" for warn in energy.codes)


def _gpus(n: int) -> str:
    return f"{n} GPU{'s' * (n > 1)}"
