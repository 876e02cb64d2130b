"""Axes of charts: ticks on round numbers, and where a value lies. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` ascending multiples of 1, 2 or 5 times a power of ten, the first <= low and the last >= high.

    Raises ValueError if low > high or either is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"no ticks from {low} to {high}")
    if high - low <= max(abs(low), abs(high)) * 1e-9:
        high = low + (abs(low) or 1.0)
    step = _nice_step(max((high - low) / max(n, 1), 1e-300))  # a subnormal number has no power of ten
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    # the power of ten is divided by where it is small: 3 / 10 is the float 0.3, 3 * 0.1 is not
    power = math.floor(math.log10(step) + 1e-9)
    factor = round(step / 10.0**power)
    return [i * factor * 10**power if power >= 0 else i * factor / 10**-power for i in range(first, last + 1)]


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def log_ticks(low: float, high: float) -> list[float]:
    """Ascending 1, 2, 5 times powers of ten, or the powers alone where those are many; low > 0. Covers low to high."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [f * 10.0**power for power in range(first, last + 1) for f in factors]
    start = max((i for i, tick in enumerate(ticks) if tick <= low * (1 + 1e-9)), default=0)
    stop = next((i for i, tick in enumerate(ticks) if tick >= high * (1 - 1e-9)), len(ticks) - 1)
    return ticks[start : stop + 1]


def tick_text(tick: float, step: float) -> str:
    """A tick with the decimals that its step needs; the shortest form where those are more than eight."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if decimals > 8:
        return f"{tick:.3g}"
    return f"{tick:,.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from low to high onto pixels from start to end; log: by their logarithm (all > 0)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of `value`; the middle if the scale has no extent."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if high <= low:
            return (self.start + self.end) / 2
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.end - self.start)


def spaced(places: Sequence[float], gap: float) -> list[int]:
    """Indices of ascending `places` that can be labelled so that labels are `gap` apart; the first always."""
    chosen: list[int] = []
    for i, place in enumerate(places):
        if not chosen or place - places[chosen[-1]] >= gap:
            chosen.append(i)
    return chosen
