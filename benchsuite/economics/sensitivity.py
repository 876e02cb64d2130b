"""How much an hour's cost depends on each input: one at a time, and all at once. Pure; randomness is a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchsuite.economics.gpu_hour import Mixture, Terms, complete, hour_parts, hourly_cost
from benchsuite.errors import PriceError
from benchsuite.strict_model import validated

Floats = NDArray[np.float64]
_WITHIN = {"utilisation": (0.0, 1.0), "pue": (1.0, math.inf), "fallback_ratio": (0.0, 1.0)}
# how far each input may be off, (low, high) in its own unit; low may be the larger (5 to 2)
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Swing:
    """What one input does alone: US dollars per hour at either end of its range."""

    key: str
    low: float
    high: float
    usd_at_low: float
    usd_at_high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Observed percentiles of n draws. value: with every input as it stands."""

    value: float
    p5: float
    p50: float
    p95: float
    n: int


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What moves the cost of an hour. ranges: where they are from; quarter: each input 25 % either way.

    uniform: the ranges that are drawn from. sobol_total: over the ranges of `tornado`. share_below: share of draws
    below a price of a million output tokens.
    """

    ranges: Literal["given", "preset", "quarter"]
    tornado: tuple[Swing, ...]
    uniform: dict[str, tuple[float, float]]
    seed: int
    usd_per_hour: Spread
    sobol_total: dict[str, float]
    usd_per_1m_output_tokens: Spread | None = None
    share_below: float | None = None


def sensitivity(
    terms: Terms,
    uncertain: Ranges | None = None,
    preset: tuple[Ranges, Ranges] = ({}, {}),
    *,
    gpus: int = 1,
    samples: int = 20_000,
    seed: int = 0,
    output_tok_s: float | None = None,
    versus_usd_per_1m: float | None = None,
) -> Sensitivity:
    """uncertain: (low, high) by input. preset: those of the terms' source, alone and together, where it has some.

    output_tok_s: of `gpus` GPUs. Raises PriceError.
    """
    if isinstance(terms, Mixture):
        raise PriceError("a mix of prices has no sensitivity", where="--sensitivity", expected="one of its parts")
    if versus_usd_per_1m is not None and output_tok_s is None:
        raise PriceError("tokens need a throughput", where="--output-tok-s", given="nothing", expected="as measured")
    if output_tok_s is not None and not 0 < output_tok_s < math.inf:
        raise PriceError("a throughput is out of range", where="--output-tok-s", given=output_tok_s, expected="above 0")
    told: Literal["given", "preset", "quarter"] = "given" if uncertain else "preset" if all(preset) else "quarter"
    alone, together = preset if told == "preset" else [uncertain or ranges_about(terms)] * 2
    drawn = draw(terms, together, n=samples, seed=seed)
    value = hourly_cost(terms)
    found = Sensitivity(
        ranges=told,
        tornado=tornado(terms, alone),
        uniform=dict(together),
        seed=seed,
        usd_per_hour=spread(drawn, value),
        sobol_total=sobol_total(terms, alone, seed=seed),
    )
    if output_tok_s is None:
        return found
    per_1m = gpus * 1e6 / 3600 / output_tok_s
    below = None if versus_usd_per_1m is None else float(np.mean(drawn * per_1m < versus_usd_per_1m))
    return replace(found, usd_per_1m_output_tokens=spread(drawn * per_1m, value * per_1m), share_below=below)


def inputs(terms: Terms) -> dict[str, float]:
    """Every input that may vary, by name; an exchange rate of US dollars does not."""
    found = complete(terms).model_dump()
    if found.get("currency") == "USD":
        del found["currency_per_usd"]
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def ranges_about(terms: Terms) -> Ranges:
    """Every input off by a quarter of its value either way, within what makes sense; those at 0 are left out."""
    found = {}
    for name, value in inputs(terms).items():
        lowest, highest = _WITHIN.get(name, (0.0, math.inf))
        if value:
            found[name] = max(0.75 * value, lowest), min(1.25 * value, highest)
    return found


def tornado(terms: Terms, ranges: Ranges) -> tuple[Swing, ...]:
    """Each input moved alone to both ends of its range, the widest swing first. Raises PriceError for nonsense."""
    _check(terms, ranges)
    swings = [Swing(name, *ends, *(_cost(terms, {name: end}) for end in ends)) for name, ends in ranges.items()]
    return tuple(sorted(swings, key=lambda swing: -abs(swing.usd_at_high - swing.usd_at_low)))


def draw(terms: Terms, ranges: Ranges, *, n: int = 20_000, seed: int = 0) -> Floats:
    """n costs with every input drawn on its own, uniform over its range. (n,) US dollars per hour."""
    _check(terms, ranges)
    return _costs(terms, ranges, np.random.default_rng(seed).random((len(ranges), n)))


def spread(values: Floats, value: float) -> Spread:
    """The 5th, 50th and 95th percentile, observed values."""
    low, middle, high = (float(q) for q in np.quantile(values, (0.05, 0.5, 0.95), method="inverted_cdf"))
    return Spread(value, low, middle, high, len(values))


def sobol_total(terms: Terms, ranges: Ranges, *, n: int = 2**16, seed: int = 0) -> dict[str, float]:
    """The share of the variance that would remain if all other inputs were known: Sobol's total-order index by input.

    n: a power of 2. Inputs independent and uniform. Source: scipy.stats.sobol_indices (Saltelli 2010, Jansen).
    """
    from scipy.stats import sobol_indices

    _check(terms, ranges)
    d = len(ranges)
    if d == 1 or all(low == high for low, high in ranges.values()):
        # scipy stumbles over one input, which has all the variance, and over none
        ends = _costs(terms, ranges, np.array([[0.0, 1.0]] * d))
        return dict.fromkeys(ranges, float(ends[0] != ends[1]))
    a, b = np.random.default_rng(seed).random((2, d, n))
    mixed = np.repeat(a[None], d, axis=0)
    for i in range(d):
        mixed[i, i] = b[i]
    values = {
        "f_A": _costs(terms, ranges, a)[None],
        "f_B": _costs(terms, ranges, b)[None],
        "f_AB": np.stack([_costs(terms, ranges, one) for one in mixed])[:, None],
    }
    found = sobol_indices(func=values, n=n)
    return dict(zip(ranges, map(float, found.total_order.reshape(-1)), strict=True))


def _costs(terms: Terms, ranges: Ranges, unit: Floats) -> Floats:
    """unit: (inputs, n) in [0, 1]. Unchecked: a model's copy takes arrays too."""
    drawn = {name: low + (high - low) * u for (name, (low, high)), u in zip(ranges.items(), unit, strict=True)}
    cost: Any = sum(hour_parts(complete(terms).model_copy(update=drawn)).values())
    return np.broadcast_to(np.asarray(cost, dtype=np.float64), unit.shape[1:])


def _cost(terms: Terms, changes: Mapping[str, float]) -> float:
    tree = {**terms.model_dump(), **changes}
    changed = validated(type(terms), tree, "the range", where="--uncertain", error_type=PriceError)
    return hourly_cost(changed)


def _check(terms: Terms, ranges: Ranges) -> None:
    if not ranges:
        raise PriceError("nothing to vary", where="--uncertain", given="no range", expected="KEY=LOW:HIGH")
    known = inputs(terms)
    for name, ends in ranges.items():  # every rule but two is about one input, so both ends in order means all between
        if name not in known:
            raise PriceError("no such input", where="--uncertain", given=name, expected="one of " + ", ".join(known))
        for end in ends:
            _cost(terms, {name: end})
    if ranges.keys() >= {"salvage", "purchase_price"}:
        _cost(terms, {"salvage": max(ranges["salvage"]), "purchase_price": min(ranges["purchase_price"])})
    if ranges.keys() >= {"interruptions_per_hour", "interruption_hours"}:
        _cost(terms, {name: max(ranges[name]) for name in ("interruptions_per_hour", "interruption_hours")})
