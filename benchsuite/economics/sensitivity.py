"""How much a cost depends on each input: one at a time, and all at once. Pure; randomness is a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.economics.gpu_hour import CostMode, Ownership, Rent, hourly_cost, owned_parts, rent_cost, rent_parts
from benchsuite.errors import PriceError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """An input and how far it may be off. low and high in the input's own unit; low may be the larger (5 to 2)."""

    key: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A cost in US dollars per hour as a function of its inputs.

    base: every input that may vary, by name. at(changes): one cost, refusing nonsense by name.
    many(changes): arrays of one shape to an array of costs, unchecked.
    """

    base: Mapping[str, float]
    at: Callable[[dict[str, Any]], float]
    many: Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Swing:
    """What one input does alone: US dollars per hour at either end of its range."""

    key: str
    low: float
    high: float
    usd_at_low: float
    usd_at_high: float

    @property
    def width_usd(self) -> float:
        """The length of the bar."""
        return abs(self.usd_at_high - self.usd_at_low)


@dataclass(frozen=True, slots=True)
class Spread:
    """Observed percentiles of n draws."""

    p5: float
    p50: float
    p95: float
    n: int


def owned_hour(owned: Ownership, mode: CostMode = "eq5") -> Uncertain:
    """The hour of an owned GPU as a function of its parameters. An exchange rate of US dollars does not vary."""
    base = _numbers(owned)
    if owned.currency == "USD":
        del base["currency_per_usd"]
    return Uncertain(
        base,
        lambda changes: hourly_cost(replace(owned, **changes), mode).usd_per_hour,
        lambda changes: sum(owned_parts(replace(owned, **changes), mode)),
    )


def rented_hour(rent: Rent) -> Uncertain:
    """The hour of a rented GPU as a function of its parameters."""
    return Uncertain(
        _numbers(rent),
        lambda changes: rent_cost(replace(rent, **changes)).usd_per_hour,
        lambda changes: sum(rent_parts(replace(rent, **changes)).values()),
    )


def ranges_about(cost: Uncertain, ratio: float = 0.25) -> tuple[Range, ...]:
    """Every input off by `ratio` of its value either way, within what makes sense; those at 0 are left out."""
    limits = {"utilisation": (0.0, 1.0), "pue": (1.0, math.inf), "fallback_ratio": (0.0, 1.0)}
    found = []
    for key, value in cost.base.items():
        lowest, highest = limits.get(key, (0.0, math.inf))
        if value:
            found.append(Range(key, max(value * (1 - ratio), lowest), min(value * (1 + ratio), highest)))
    return tuple(found)


def tornado(cost: Uncertain, ranges: Sequence[Range]) -> tuple[Swing, ...]:
    """Each input moved alone to both ends of its range, the widest swing first. Raises PriceError for nonsense."""
    _check(cost, ranges)
    swings = [Swing(r.key, r.low, r.high, cost.at({r.key: r.low}), cost.at({r.key: r.high})) for r in ranges]
    return tuple(sorted(swings, key=lambda swing: -swing.width_usd))


def draw(cost: Uncertain, ranges: Sequence[Range], *, n: int = 20_000, seed: int = 0) -> Floats:
    """n costs with every input drawn on its own, uniform over its range. (n,) US dollars per hour."""
    _check(cost, ranges)
    return _costs(cost, ranges, np.random.default_rng(seed).random((len(ranges), n)))


def spread(values: Floats) -> Spread:
    """The 5th, 50th and 95th percentile, observed values."""
    low, middle, high = (float(q) for q in np.quantile(values, (0.05, 0.5, 0.95), method="inverted_cdf"))
    return Spread(low, middle, high, len(values))


def share_below(values: Floats, limit: float) -> float:
    """The share of draws below `limit`: how sure a choice against a fixed price is."""
    return float(np.mean(values < limit))


def sobol_total(cost: Uncertain, ranges: Sequence[Range], *, n: int = 2**16, seed: int = 0) -> dict[str, float]:
    """The share of the variance that would remain if all other inputs were known: Sobol's total-order index by input.

    n: a power of 2. Inputs independent and uniform. Source: scipy.stats.sobol_indices (Saltelli 2010, Jansen).
    """
    from scipy.stats import sobol_indices

    _check(cost, ranges)
    d = len(ranges)
    if all(r.low == r.high for r in ranges):
        return {r.key: 0.0 for r in ranges}  # no variance to share
    if d == 1:  # scipy stumbles over one input, which has all the variance
        ends = _costs(cost, ranges, np.array([[0.0, 1.0]]))
        return {ranges[0].key: float(ends[0] != ends[1])}
    a, b = np.random.default_rng(seed).random((2, d, n))
    mixed = np.repeat(a[None], d, axis=0)
    for i in range(d):
        mixed[i, i] = b[i]
    values = {
        "f_A": _costs(cost, ranges, a)[None],
        "f_B": _costs(cost, ranges, b)[None],
        "f_AB": np.stack([_costs(cost, ranges, one) for one in mixed])[:, None],
    }
    found = sobol_indices(func=values, n=n)
    return {r.key: float(index) for r, index in zip(ranges, found.total_order.reshape(-1), strict=True)}


def _costs(cost: Uncertain, ranges: Sequence[Range], unit: Floats) -> Floats:
    """unit: (inputs, n) in [0, 1]."""
    drawn = {r.key: r.low + (r.high - r.low) * u for r, u in zip(ranges, unit, strict=True)}
    return np.broadcast_to(np.asarray(cost.many(drawn), dtype=np.float64), unit.shape[1:])


def _check(cost: Uncertain, ranges: Sequence[Range]) -> None:
    if not ranges:
        raise PriceError("nothing to vary", where="--uncertain", given="no range", expected="KEY=LOW:HIGH")
    seen: set[str] = set()
    for r in ranges:
        if r.key not in cost.base:
            raise PriceError(
                "no such input", where="--uncertain", given=r.key, expected="one of " + ", ".join(cost.base)
            )
        if r.key in seen:
            raise PriceError("an input has two ranges", where="--uncertain", given=r.key)
        seen.add(r.key)
        for end in (r.low, r.high):  # every rule is about one input, so both ends in order means all between
            cost.at({r.key: end})
    if {"salvage", "purchase_price"} <= seen:
        ends = {r.key: (r.low, r.high) for r in ranges}
        cost.at({"salvage": max(ends["salvage"]), "purchase_price": min(ends["purchase_price"])})
    if {"interruptions_per_hour", "interruption_hours"} <= seen:
        cost.at(
            {r.key: max(r.low, r.high) for r in ranges if r.key in ("interruptions_per_hour", "interruption_hours")}
        )


def _numbers(parameters: Any) -> dict[str, float]:
    found = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}
