"""What a measured point costs at an hourly price (equation 4): C = c T / 3600."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchsuite.errors import PriceError
from benchsuite.results import Estimate, PointCost, PointSummary

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
    if usd_per_hour_total is None or point.wall_s is None:
        return PointCost(usd_per_hour_total, None, None, None, None)
    cost_usd = usd_per_hour_total * point.wall_s / SECONDS_PER_HOUR
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
    wall, rate = intervals.get("wall_s"), intervals.get("output_tok_s")
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
