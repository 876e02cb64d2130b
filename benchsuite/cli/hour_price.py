"""From the flags of `cost` to the cost of an hour: which way it is paid, with what parameters, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from benchsuite.economics.hourly import HourlyCost, Ownership, hourly_cost, natural_mode
from benchsuite.economics.prices import Price, PriceBook
from benchsuite.economics.rent import OnDemand, Rent, Reserved, Spot, mixture, rent_cost
from benchsuite.errors import PriceError

if TYPE_CHECKING:
    from benchsuite.economics.sensitivity import Range, Uncertain

OWNED = frozenset(field.name for field in dataclasses.fields(Ownership))
RENT = ("rent", "reserved_usd_per_hour", "reserved_ratio")
SPOT = ("interruptions_per_hour", "redo_hours", "fallback_ratio", "fallback_usd_per_hour")


@dataclasses.dataclass(frozen=True, slots=True)
class Hour:
    """The cost of one GPU's useful hour. of: what it was computed from, None for a mixture."""

    cost: HourlyCost
    of: Ownership | Rent | None
    name: str
    source: str
    as_of: str | None
    note: str | None
    preset: Price | None = None


def price_an_hour(book: PriceBook, flags: Mapping[str, Any], typed: Set[str]) -> Hour:
    """flags: every option's value; typed: the names of those that the user gave. Raises PriceError."""
    ways = {"--purchase-price": None, "--preset": flags["preset"], "--usd-per-hour": flags["usd_per_hour"]}
    price = None if flags["preset"] is None else book.gpu(flags["preset"])
    if price is None or price.owned is None:
        ways["--purchase-price"] = flags["purchase_price"]
    given = [flag for flag, value in ways.items() if value is not None]
    if len(given) != 1:
        raise PriceError(
            "exactly one way to name a price", given=" and ".join(given) or "none", expected="one of " + ", ".join(ways)
        )
    if flags["purchase_price"] is not None and price is None:
        return _owned_hour(flags, typed)
    if price is not None and price.owned is not None:
        return _preset_hour(price, flags, typed)
    usd = flags["usd_per_hour"] if price is None else price.usd_per_hour
    hour = _rented_hour(usd, flags, typed)
    if price is None:
        return hour
    return dataclasses.replace(
        hour, name=price.name, source=price.source, as_of=price.as_of, note=price.note or None, preset=price
    )


def _owned_hour(flags: Mapping[str, Any], typed: Set[str]) -> Hour:
    for key, flag in (("power_kw", "--power-kw"), ("electricity_per_kwh", "--electricity")):
        if flags[key] is None:
            raise PriceError("an owned GPU's cost needs its power", where=flag, given="nothing", expected="a number")
    _only(typed, OWNED | {"mode"}, "an owned GPU")
    owned = Ownership(**{key: flags[key] for key in OWNED})
    cost = hourly_cost(owned, flags["mode"])
    return Hour(cost, owned, "--purchase-price", "computed from the parameters given", None, None)


def _preset_hour(price: Price, flags: Mapping[str, Any], typed: Set[str]) -> Hour:
    """An owned preset; parameters that the user gave replace its own."""
    assert price.owned is not None
    _only(typed, OWNED | {"mode"}, f"the owned preset {price.name!r}")
    changed = {key: flags[key] for key in sorted(typed & OWNED)}
    owned = dataclasses.replace(price.owned, **changed)
    cost = hourly_cost(owned, flags["mode"] if "mode" in typed else natural_mode(price.owned))
    note = f"{price.note} Changed here: {', '.join(changed)}." if changed else price.note
    return Hour(cost, owned, price.name, price.source, price.as_of, note or None, None if changed else price)


def _rented_hour(usd: float, flags: Mapping[str, Any], typed: Set[str]) -> Hour:
    reserved_usd, share = flags["reserved_usd_per_hour"], flags["reserved_ratio"]
    if (reserved_usd is None) != (share is None):
        raise PriceError("a mixture needs both", where="--reserved-usd-per-hour", expected="and --reserved-ratio")
    kind = flags["rent"]
    if kind == "reserved" and share is not None:
        raise PriceError(
            "a mixture is of reserved and another", where="--rent", given=kind, expected="on-demand or spot"
        )
    allowed = {*RENT}
    allowed |= {"utilisation"} if kind == "reserved" or share is not None else set()
    _only(typed, allowed | (set(SPOT) if kind == "spot" else set()), f"rent {kind}")
    rent: Rent = OnDemand(usd)
    if kind == "spot":
        rent = Spot(usd, *(flags[key] for key in SPOT))
    elif kind == "reserved":
        rent = Reserved(usd, flags["utilisation"])
    if share is None:
        return Hour(rent_cost(rent), rent, "--usd-per-hour", "--usd-per-hour", None, None)
    base = rent_cost(Reserved(reserved_usd, flags["utilisation"]))
    mixed = mixture([(share, base), (1 - share, rent_cost(rent))])
    return Hour(mixed, None, "--usd-per-hour", "--usd-per-hour", None, None)


def _only(typed: Set[str], allowed: Set[str], what: str) -> None:
    """Refuses a parameter that would be left out in silence."""
    known = OWNED | {*SPOT, *RENT, "mode"}
    for key in sorted((typed & known) - allowed):
        flag = {"maintenance_ratio": "maintenance", "electricity_per_kwh": "electricity", "fx_per_usd": "fx"}.get(
            key, key
        )
        hint = "--rent reserved pays for idle hours" if key == "utilisation" else None
        raise PriceError(f"{what} has no {key}", where=f"--{flag.replace('_', '-')}", hint=hint)


def sensitivity(hour: Hour, gpus: int, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Tornado, spread and Sobol indices as plain data, per GPU-hour and per million output tokens."""
    from benchsuite.economics import sensitivity as sense

    if hour.of is None:
        raise PriceError("a mixture has no sensitivity of its own", where="--sensitivity", expected="one of its parts")
    mode: Any = hour.cost.mode
    uncertain = sense.owned_hour(hour.of, mode) if isinstance(hour.of, Ownership) else sense.rented_hour(hour.of)
    alone, together, told = _ranges(hour, uncertain, flags["ranges"])
    drawn = sense.draw(uncertain, together, n=flags["samples"], seed=flags["seed"])
    found: dict[str, Any] = {
        "ranges": told,
        "tornado": [dataclasses.asdict(swing) for swing in sense.tornado(uncertain, alone)],
        "uniform": {r.key: [r.low, r.high] for r in together},
        "seed": flags["seed"],
        "usd_per_hour": dataclasses.asdict(sense.spread(drawn)),
        "sobol_total": sense.sobol_total(uncertain, together, seed=flags["seed"]),
        "usd_per_1m_output_tokens": None,
        "share_below": None,
    }
    limit, speed = flags["against_usd_per_1m"], flags["output_tok_s"]
    if speed is None:
        if limit is not None:
            raise PriceError("tokens need a speed", where="--output-tok-s", given="nothing", expected="as measured")
        return found
    if not 0 < speed < float("inf"):
        raise PriceError("a speed makes no sense", where="--output-tok-s", given=speed, expected="above 0")
    per_1m = gpus * 1e6 / 3600 / speed
    spread = dataclasses.asdict(sense.spread(drawn * per_1m))
    found["usd_per_1m_output_tokens"] = {"value": hour.cost.usd_per_hour * per_1m, **spread}
    found["share_below"] = None if limit is None else sense.share_below(drawn * per_1m, limit)
    return found


def _ranges(hour: Hour, uncertain: Uncertain, asked: Sequence[str]) -> tuple[Sequence[Range], Sequence[Range], str]:
    from benchsuite.economics.sensitivity import Range, ranges_about

    if asked:
        given = tuple(_range(text) for text in asked)
        return given, given, "as given"
    if hour.preset is not None and hour.preset.tornado and hour.preset.uniform:
        alone = tuple(Range(key, *ends) for key, ends in hour.preset.tornado.items())
        return alone, tuple(Range(key, *ends) for key, ends in hour.preset.uniform.items()), "the preset's"
    about = ranges_about(uncertain)
    return about, about, "each input 25 % either way, within what makes sense"


def _range(text: str) -> Range:
    from benchsuite.economics.sensitivity import Range

    key, _, ends = text.partition("=")
    low, _, high = ends.partition(":")
    try:
        return Range(key.strip().replace("-", "_"), float(low), float(high))
    except ValueError:
        raise PriceError("a range does not read", where="--range", given=text, expected="KEY=LOW:HIGH") from None
