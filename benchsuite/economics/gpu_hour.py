"""What a GPU costs per useful hour: bought, or rented on demand, as spot, reserved, or in a mixture of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from benchsuite.errors import PriceError
from benchsuite.spec import CostMode, OwnedSpec
from benchsuite.strict_model import Model, StrictModel, key, validated

HOURS_PER_YEAR = 8760
SERVER_ROOM_PUE = 1.5  # of owned GPUs, where nothing is said
Usd = Annotated[float, Field(ge=0)]


class OnDemand(StrictModel):
    """Paid while it is used, stopped when it is not."""

    mode: ClassVar[str] = "on-demand"
    usd_per_hour: Usd


class Spot(OnDemand):
    """Cheap, and taken away at times."""

    mode: ClassVar[str] = "spot"
    interruptions_per_hour: float = key(0.0, "spot: interruptions per hour", ge=0)
    interruption_hours: float = key(0.0, "spot: hours lost per interruption, restart included", ge=0)
    fallback_ratio: float = key(0.0, "spot: share of the useful hours without an available spot GPU", ge=0, le=1)
    fallback_usd_per_hour: Usd | None = key(None, "spot: price of the replacement in those hours")

    @model_validator(mode="after")
    def _fits_together(self) -> Spot:
        if self.interruptions_per_hour * self.interruption_hours >= 1:
            raise ValueError("interruptions_per_hour x interruption_hours must be below 1, or no work is completed")
        if self.fallback_ratio and self.fallback_usd_per_hour is None:
            raise ValueError("fallback_usd_per_hour: hours without a spot GPU have no price")
        return self


class Reserved(OnDemand):
    """Paid for every hour, used or not. utilisation: share of all hours with billable work."""

    mode: ClassVar[str] = "reserved"
    utilisation: float = Field(gt=0, le=1)


class Mixture(StrictModel):
    """Base load reserved, the rest of the useful hours otherwise."""

    mode: ClassVar[str] = "mixture"
    reserved_ratio: float = key(..., "mix: share of the useful hours on the reserved GPU", ge=0, le=1)
    reserved: Reserved
    rest: Spot | OnDemand


Terms = OwnedSpec | OnDemand | Mixture
RENTS: dict[str, type[OnDemand]] = {model.mode: model for model in (OnDemand, Spot, Reserved)}


def hourly_cost(terms: Terms) -> float:
    """US dollars of one useful hour. Raises PriceError where the power of an owned GPU is not known, or its price."""
    return float(sum(hour_parts(complete(terms)).values()))


def cost_mode(owned: OwnedSpec) -> CostMode:
    """As given; else 'full' where a parameter is given that only it uses, else the paper's 'eq5'."""
    full = owned.idle_kw is not None or owned.salvage is not None or owned.hosting_per_hour is not None
    return owned.mode or ("full" if full else "eq5")


def complete(terms: Terms) -> Terms:
    """Owned: with the mode and the PUE that hold where none is given. Raises PriceError without power or its price."""
    if not isinstance(terms, OwnedSpec):
        return terms
    for name in ("power_kw", "electricity_per_kwh"):
        if getattr(terms, name) is None:
            raise PriceError("an owned GPU's cost needs its power", where=name, given="nothing", expected="a number")
    pue = SERVER_ROOM_PUE if terms.pue is None else terms.pue
    return terms.model_copy(update={"mode": cost_mode(terms), "pue": pue})


def hour_parts(terms: Any) -> dict[str, Any]:
    """The parts of a useful hour by name, unchecked, which add up to it. terms: numbers, or arrays of one shape; as
    `complete` gives them.

    With P price, Y years, m maintenance, u utilisation, S salvage, H hosting, E the price of a kWh:

    eq5        [P/(8760 Y u) + kW PUE E + P m/8760] / fx: only depreciation bears idleness (equation 5 as written)
    note       eq5 at u = 1, all of it / u (the note under the same equation; the two disagree when u < 1)
    full       [(P-S)/(8760 Y) + P m/8760 + H + PUE E (u kW + (1-u) kW_idle)] / u / fx: what an idle GPU really costs;
               idle power that is not known is taken as that at work, an upper bound
    on demand  c
    spot       (1 - s) c / (1 - f t) + s c_fallback, f interruptions per hour, t hours redone for each, s fallback share
    reserved   c / u: it pays for all hours, so utilisation enters
    mixture    the mean, each cost weighted by its share of the useful hours

    Source: equations 5 to 7 and Appendix A of arXiv 2510.26136.
    """
    match terms:
        case OwnedSpec():
            return _owned_parts(terms)
        case Mixture():
            base, rest = hour_parts(terms.reserved), hour_parts(terms.rest)
            share = terms.reserved_ratio
            return {name: share * base.get(name, 0.0) + (1 - share) * rest.get(name, 0.0) for name in {**base, **rest}}
        case Reserved():
            idle = terms.usd_per_hour * (1 / terms.utilisation - 1)
            return {"rent_usd_per_hour": terms.usd_per_hour, "idle_usd_per_hour": idle}
        case Spot():
            on_spot = (1 - terms.fallback_ratio) * terms.usd_per_hour
            lost = terms.interruptions_per_hour * terms.interruption_hours
            parts = {"rent_usd_per_hour": on_spot, "redone_usd_per_hour": on_spot * lost / (1 - lost)}
            if terms.fallback_usd_per_hour is not None:
                parts["fallback_usd_per_hour"] = terms.fallback_ratio * terms.fallback_usd_per_hour
            return parts
    return {"rent_usd_per_hour": terms.usd_per_hour}


def _owned_parts(owned: Any) -> dict[str, Any]:
    u, usd, power_kw = owned.utilisation, 1 / owned.currency_per_usd, owned.power_kw
    salvage = 0.0 if owned.salvage is None else owned.salvage
    depreciation = (owned.purchase_price - salvage) / (owned.years * HOURS_PER_YEAR) / u
    maintenance = owned.purchase_price * owned.maintenance_ratio / HOURS_PER_YEAR
    if owned.mode == "full":
        power_kw = u * power_kw + (1 - u) * (power_kw if owned.idle_kw is None else owned.idle_kw)
    power = power_kw * owned.pue * owned.electricity_per_kwh
    if owned.mode != "eq5":
        power, maintenance = power / u, maintenance / u
    parts = {"depreciation": depreciation, "power": power, "maintenance": maintenance}
    if owned.mode == "full":
        parts["hosting"] = 0.0 if owned.hosting_per_hour is None else owned.hosting_per_hour / u
    return {f"{name}_usd_per_hour": part * usd for name, part in parts.items()}


def terms_of(given: Mapping[str, Any], owned: OwnedSpec | None = None) -> Terms:
    """What an hour is computed from, by the names of the fields: purchase_price and its like, or usd_per_hour, billing
    and its like, with reserved_usd_per_hour and reserved_ratio for a mixture. owned: that `given` changes.

    Raises PriceError naming every mistake, a parameter that would be left out in silence among them.
    """
    if owned is not None or "purchase_price" in given:
        base = {} if owned is None else owned.model_dump(exclude_unset=True)
        return _checked(OwnedSpec, {**base, **given}, "an owned GPU")
    rest = dict(given)
    billing, ratio = rest.pop("billing", "on-demand"), rest.pop("reserved_ratio", None)
    reserved_usd = rest.pop("reserved_usd_per_hour", None)
    if (reserved_usd is None) != (ratio is None):
        raise PriceError("a mix needs both", where="--reserved-usd-per-hour", expected="and --reserved-ratio")
    if billing not in RENTS or (billing == "reserved" and ratio is not None):
        other = "" if ratio is None else "next to the reserved GPU of a mix"
        expected = "on-demand or spot" if other else ", ".join(RENTS)
        raise PriceError(f"no such billing {other}".strip(), where="--billing", given=billing, expected=expected)
    what = f"a GPU ({billing})"
    if ratio is None:
        return _checked(RENTS[billing], {"utilisation": 1.0} | rest if billing == "reserved" else rest, what)
    base = {"usd_per_hour": reserved_usd, "utilisation": rest.pop("utilisation", 1.0)}
    other_rent = _checked(RENTS[billing], rest, what)
    return _checked(Mixture, {"reserved_ratio": ratio, "reserved": base, "rest": other_rent}, "a mixture")


def _checked(model: type[Model], tree: Mapping[str, Any], what: str) -> Model:
    return validated(model, tree, f"the price of {what}", where="flags", error_type=PriceError)
