"""What a rented GPU costs per useful hour: on demand, spot, reserved, or a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite.economics.hourly import PARTS, HourlyCost
from benchsuite.errors import PriceError


@dataclass(frozen=True, slots=True)
class OnDemand:
    """Paid while it is used, stopped when it is not."""

    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Spot:
    """Cheap, and taken away at times.

    interruptions_per_hour: mean number. redo_hours: work lost, plus the time until it runs again, for each.
    fallback_ratio: share of the useful hours for which no spot GPU is to be had; fallback_usd_per_hour is paid then.
    """

    usd_per_hour: float
    interruptions_per_hour: float = 0.0
    redo_hours: float = 0.0
    fallback_ratio: float = 0.0
    fallback_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """Paid for every hour, used or not. utilisation: share of all hours with billable work, in (0, 1]."""

    usd_per_hour: float
    utilisation: float


Rent = OnDemand | Spot | Reserved


def rent_cost(rent: Rent) -> HourlyCost:
    """The cost of one useful hour, with c the price:

    on demand  c
    spot       (1 - s) c / (1 - f t) + s c_fallback, f interruptions per hour, t hours redone for each, s fallback share
    reserved   c / u: it pays for all hours, so utilisation enters

    Raises PriceError naming the parameter that makes no sense.
    """
    _check(rent)
    parts = rent_parts(rent)
    mode = {OnDemand: "on-demand", Spot: "spot", Reserved: "reserved"}[type(rent)]
    return HourlyCost(sum(parts.values()), mode=mode, assumptions=_assumptions(rent), **parts)


def rent_parts(rent: Any) -> dict[str, Any]:
    """The parts of a useful hour by name, unchecked. rent: a Rent whose fields are numbers or arrays of one shape."""
    price = rent.usd_per_hour
    match rent:
        case Spot():
            on_spot = 1 - rent.fallback_ratio
            lost = rent.interruptions_per_hour * rent.redo_hours
            parts = {"rent_usd_per_hour": on_spot * price, "redone_usd_per_hour": on_spot * price * lost / (1 - lost)}
            if rent.fallback_usd_per_hour is not None:
                parts["fallback_usd_per_hour"] = rent.fallback_ratio * rent.fallback_usd_per_hour
            return parts
        case Reserved():
            return {"rent_usd_per_hour": price, "idle_usd_per_hour": price * (1 / rent.utilisation - 1)}
    return {"rent_usd_per_hour": price}


def mixture(shares: Sequence[tuple[float, HourlyCost]]) -> HourlyCost:
    """The mean useful hour where each cost bears a share of the work: base load reserved, peak on demand.

    shares: (share of the useful hours, its cost), adding up to 1. Raises PriceError if they do not.
    """
    total = math.fsum(share for share, _ in shares)
    if any(not 0 <= share <= 1 for share, _ in shares) or not math.isclose(total, 1, abs_tol=1e-9):
        raise PriceError(
            "the shares of a mixture do not add up", where="shares", given=total, expected="1, each 0 to 1"
        )
    parts: dict[str, Any] = {}
    for name in PARTS:
        terms = [share * usd for share, cost in shares if (usd := cost.parts().get(name)) is not None]
        if terms:
            parts[name] = math.fsum(terms)
    said = [f"{share:g} of the useful hours: {'; '.join(cost.assumptions)}" for share, cost in shares]
    return HourlyCost(math.fsum(parts.values()), mode="mixture", assumptions=tuple(said), **parts)


def _assumptions(rent: Rent) -> tuple[str, ...]:
    price = f"{rent.usd_per_hour:g} USD/h"
    match rent:
        case Spot():
            lost = f"{rent.interruptions_per_hour:g} interruptions an hour, {rent.redo_hours:g} h redone for each"
            said = [f"spot {price}", lost]
            if rent.fallback_usd_per_hour is not None:
                said.append(f"{rent.fallback_ratio:g} of the hours at {rent.fallback_usd_per_hour:g} USD/h instead")
            return tuple(said)
        case Reserved():
            return (f"reserved {price}, paid for all hours", f"utilisation {rent.utilisation:g} of all hours")
        case OnDemand():
            return (f"{price} for each useful hour, stopped when idle",)


def _check(rent: Rent) -> None:
    def demand(key: str, holds: bool, expected: str) -> None:
        value = getattr(rent, key)
        if not (math.isfinite(value) and holds):
            raise PriceError("a rent parameter makes no sense", where=key, given=value, expected=expected)

    demand("usd_per_hour", rent.usd_per_hour >= 0, "a price of at least 0")
    match rent:
        case Reserved():
            demand("utilisation", 0 < rent.utilisation <= 1, "a share of all hours, above 0 and at most 1")
        case Spot():
            demand("interruptions_per_hour", rent.interruptions_per_hour >= 0, "at least 0")
            demand("redo_hours", rent.redo_hours >= 0, "hours, at least 0")
            lost = rent.interruptions_per_hour * rent.redo_hours
            demand("redo_hours", lost < 1, "interruptions_per_hour x redo_hours below 1, or nothing ever gets done")
            demand("fallback_ratio", 0 <= rent.fallback_ratio <= 1, "a share of the hours, from 0 to 1")
            if rent.fallback_usd_per_hour is not None:
                demand("fallback_usd_per_hour", rent.fallback_usd_per_hour >= 0, "a price of at least 0")
            elif rent.fallback_ratio:
                raise PriceError(
                    "hours without a spot GPU have no price",
                    where="fallback_usd_per_hour",
                    given="nothing",
                    expected="the price paid in them",
                )
