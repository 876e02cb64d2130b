"""What a rented GPU costs per useful hour: on demand, spot, reserved, or a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from benchsuite.errors import PriceError

HOURS_PER_YEAR = 8760
CostMode = Literal["eq5", "note", "full"]
COST_MODES: tuple[str, ...] = get_args(CostMode)


@dataclass(frozen=True, slots=True)
class Ownership:
    """One bought GPU. Money is in `currency`; `currency_per_usd` units of it are one US dollar.

    utilisation: share of all hours with billable work, in (0, 1]; not the driver's "GPU utilisation".
    power_kw: mean electric power while working, before PUE. idle_kw: while idle; None takes power_kw (an upper bound).
    maintenance_ratio: share of the price per year. salvage: resale value after `years`. hosting_per_hour: host
    server, rack, network, labour. idle_kw, salvage and hosting_per_hour need mode 'full'.
    """

    purchase_price: float
    years: float
    power_kw: float
    electricity_per_kwh: float
    currency: str = "USD"
    currency_per_usd: float = 1.0
    utilisation: float = 1.0
    pue: float = 1.5
    maintenance_ratio: float = 0.03
    idle_kw: float | None = None
    salvage: float | None = None
    hosting_per_hour: float | None = None

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # for price files  # noqa: RUF012


@dataclass(frozen=True, slots=True)
class HourlyCost:
    """US dollars per useful GPU-hour, owned or rented, and the parts that add up to it; None: not in this mode.

    mode: 'eq5', 'note', 'full' (owned), 'on-demand', 'spot', 'reserved', 'mixture' (rented).
    assumptions: everything that it was computed from, as text.
    """

    usd_per_hour: float
    depreciation_usd_per_hour: float | None = None
    power_usd_per_hour: float | None = None
    maintenance_usd_per_hour: float | None = None
    hosting_usd_per_hour: float | None = None
    rent_usd_per_hour: float | None = None
    redone_usd_per_hour: float | None = None
    fallback_usd_per_hour: float | None = None
    idle_usd_per_hour: float | None = None
    mode: str = "eq5"
    assumptions: tuple[str, ...] = field(default=(), compare=False)

    def parts(self) -> dict[str, float]:
        """The parts by name, without those that the mode leaves out."""
        named = {name: getattr(self, name) for name in PARTS}
        return {name: usd for name, usd in named.items() if usd is not None}


PARTS = tuple(name for name in HourlyCost.__dataclass_fields__ if name not in ("usd_per_hour", "mode", "assumptions"))


def hourly_cost(owned: Ownership, mode: CostMode = "eq5") -> HourlyCost:
    """The cost of one useful hour, with P price, Y years, m maintenance, u utilisation, S salvage, H hosting:

    eq5   [P/(8760 Y u) + kW PUE E + P m/8760] / fx: only depreciation bears idleness (equation 5 as written)
    note  eq5 at u = 1, all of it / u (the note under the same equation; the two disagree when u < 1)
    full  [(P-S)/(8760 Y) + P m/8760 + H + PUE E (u kW + (1-u) kW_idle)] / u / fx: what an idle GPU really costs

    Raises PriceError naming the parameter that makes no sense or that the mode would silently leave out.
    Source: equations 5 to 7 and Appendix A of arXiv 2510.26136.
    """
    _check(owned, mode)
    depreciation, power, maintenance, hosting = owned_parts(owned, mode)
    return HourlyCost(
        depreciation + power + maintenance + hosting,
        depreciation,
        power,
        maintenance,
        hosting if mode == "full" else None,
        mode=mode,
        assumptions=_assumptions(owned, mode),
    )


def natural_mode(owned: Ownership) -> CostMode:
    """'full' where a parameter is given that only it uses, else the paper's 'eq5'."""
    return "eq5" if owned.idle_kw is None and owned.salvage is None and owned.hosting_per_hour is None else "full"


def owned_parts(owned: Any, mode: CostMode) -> tuple[Any, Any, Any, Any]:
    """Depreciation, power, maintenance and hosting in US dollars per useful hour, unchecked.

    owned: an Ownership whose fields are numbers, or arrays of one shape; the parts are then arrays of it.
    """
    u, usd = owned.utilisation, 1 / owned.currency_per_usd
    salvage = 0.0 if owned.salvage is None else owned.salvage
    depreciation = (owned.purchase_price - salvage) / (owned.years * HOURS_PER_YEAR) / u
    maintenance = owned.purchase_price * owned.maintenance_ratio / HOURS_PER_YEAR
    power_kw, hosting = owned.power_kw, 0.0
    if mode == "full":
        idle_kw = owned.power_kw if owned.idle_kw is None else owned.idle_kw
        power_kw = u * owned.power_kw + (1 - u) * idle_kw
        hosting = 0.0 if owned.hosting_per_hour is None else owned.hosting_per_hour / u
    power = power_kw * owned.pue * owned.electricity_per_kwh
    if mode != "eq5":
        power, maintenance = power / u, maintenance / u
    return depreciation * usd, power * usd, maintenance * usd, hosting * usd


def _assumptions(owned: Ownership, mode: str) -> tuple[str, ...]:
    own = owned.currency
    said = [
        f"purchase price {owned.purchase_price:,.15g} {own}",
        f"service life {owned.years:g} years of {HOURS_PER_YEAR} h",
        f"utilisation {owned.utilisation:g} of all hours (mode {mode})",
        f"power {owned.power_kw:g} kW x PUE {owned.pue:g} at {owned.electricity_per_kwh:g} {own}/kWh",
        f"maintenance {owned.maintenance_ratio:g} of the price a year",
    ]
    if own != "USD":
        said.append(f"{owned.currency_per_usd:g} {own} per US dollar")
    if mode == "full":
        idle = "the same as at work (an upper bound)" if owned.idle_kw is None else f"{owned.idle_kw:g} kW"
        said.append(f"idle power {idle}")
        said.append(f"resale value {owned.salvage or 0:,.15g} {own}")
        said.append(f"host, rack, network, labour {owned.hosting_per_hour or 0:g} {own} per hour")
    else:
        said.append("no host, rack, network, labour or resale value (mode full has them)")
    return tuple(said)


def _check(owned: Ownership, mode: str) -> None:
    def demand(key: str, holds: bool, expected: str) -> None:
        value = getattr(owned, key)
        if not (isinstance(value, int | float) and math.isfinite(value) and holds):
            raise PriceError("a cost parameter makes no sense", where=key, given=value, expected=expected)

    if mode not in COST_MODES:
        raise PriceError("unknown cost mode", where="mode", given=mode, expected=" or ".join(COST_MODES))
    demand("purchase_price", owned.purchase_price >= 0, "a price of at least 0")
    demand("years", owned.years > 0, "a service life above 0 years")
    demand("power_kw", owned.power_kw >= 0, "kilowatts, at least 0")
    demand("electricity_per_kwh", owned.electricity_per_kwh >= 0, "a price of at least 0 per kWh")
    demand("currency_per_usd", owned.currency_per_usd > 0, "units of the currency per US dollar, above 0")
    demand("utilisation", 0 < owned.utilisation <= 1, "a share of all hours, above 0 and at most 1")
    demand("pue", owned.pue >= 1, "power usage effectiveness, at least 1")
    demand("maintenance_ratio", 0 <= owned.maintenance_ratio <= 1, "a share of the price per year, from 0 to 1")
    for key in ("idle_kw", "salvage", "hosting_per_hour"):
        value = getattr(owned, key)
        if value is None:
            continue
        demand(key, value >= 0, "at least 0")
        if mode != "full":
            raise PriceError(f"mode {mode!r} leaves {key} out", where=key, given=value, expected="mode 'full' with it")
    if owned.salvage is not None:
        demand("salvage", owned.salvage <= owned.purchase_price, "at most the purchase price")
    if owned.currency == "USD" and owned.currency_per_usd != 1:
        raise PriceError(
            "US dollars have an exchange rate of 1",
            where="currency_per_usd",
            given=owned.currency_per_usd,
            expected="1, or a currency",
        )
    if owned.currency != "USD" and owned.currency_per_usd == 1:
        raise PriceError(
            f"{owned.currency} needs an exchange rate",
            where="currency_per_usd",
            given=1,
            expected=f"{owned.currency} per US dollar",
        )


@dataclass(frozen=True, slots=True)
class OnDemand:
    """Paid while it is used, stopped when it is not."""

    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Spot:
    """Cheap, and taken away at times.

    interruptions_per_hour: mean number. interruption_hours: work lost, plus the time until it runs again, for each.
    fallback_ratio: share of the useful hours for which no spot GPU is to be had; fallback_usd_per_hour is paid then.
    """

    usd_per_hour: float
    interruptions_per_hour: float = 0.0
    interruption_hours: float = 0.0
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
    _check_rent(rent)
    parts = rent_parts(rent)
    mode = {OnDemand: "on-demand", Spot: "spot", Reserved: "reserved"}[type(rent)]
    return HourlyCost(sum(parts.values()), mode=mode, assumptions=_rent_assumptions(rent), **parts)


def rent_parts(rent: Any) -> dict[str, Any]:
    """The parts of a useful hour by name, unchecked. rent: a Rent whose fields are numbers or arrays of one shape."""
    price = rent.usd_per_hour
    match rent:
        case Spot():
            on_spot = 1 - rent.fallback_ratio
            lost = rent.interruptions_per_hour * rent.interruption_hours
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


def _rent_assumptions(rent: Rent) -> tuple[str, ...]:
    price = f"{rent.usd_per_hour:g} USD/h"
    match rent:
        case Spot():
            lost = (
                f"{rent.interruptions_per_hour:g} interruptions an hour, {rent.interruption_hours:g} h redone for each"
            )
            said = [f"spot {price}", lost]
            if rent.fallback_usd_per_hour is not None:
                said.append(f"{rent.fallback_ratio:g} of the hours at {rent.fallback_usd_per_hour:g} USD/h instead")
            return tuple(said)
        case Reserved():
            return (f"reserved {price}, paid for all hours", f"utilisation {rent.utilisation:g} of all hours")
        case OnDemand():
            return (f"{price} for each useful hour, stopped when idle",)


def _check_rent(rent: Rent) -> None:
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
            demand("interruption_hours", rent.interruption_hours >= 0, "hours, at least 0")
            lost = rent.interruptions_per_hour * rent.interruption_hours
            demand(
                "interruption_hours",
                lost < 1,
                "interruptions_per_hour x interruption_hours below 1, or nothing ever gets done",
            )
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
