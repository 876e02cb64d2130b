"""`benchsuite cost`: the hourly cost of a GPU, owned or rented."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from benchsuite.economics.gpu_hour import (
    HourlyCost,
    OnDemand,
    Ownership,
    Rent,
    Reserved,
    Spot,
    hourly_cost,
    mixture,
    natural_mode,
    rent_cost,
)
from benchsuite.economics.prices import Price, PriceBook
from benchsuite.errors import PriceError

if TYPE_CHECKING:
    from benchsuite.economics.sensitivity import Range, Uncertain


OWNED = frozenset(field.name for field in dataclasses.fields(Ownership))
RENT = ("billing", "reserved_usd_per_hour", "reserved_ratio")
SPOT = ("interruptions_per_hour", "interruption_hours", "fallback_ratio", "fallback_usd_per_hour")


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
    for key, flag in (("power_kw", "--power-kw"), ("electricity_per_kwh", "--electricity-per-kwh")):
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
    kind = flags["billing"]
    if kind == "reserved" and share is not None:
        raise PriceError(
            "a mixture is of reserved and another", where="--billing", given=kind, expected="on-demand or spot"
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
        flag = {"maintenance_ratio": "maintenance"}.get(key, key)
        hint = "--billing reserved pays for idle hours" if key == "utilisation" else None
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
    limit, speed = flags["versus_usd_per_1m"], flags["output_tok_s"]
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
        raise PriceError("cannot parse the range", where="--uncertain", given=text, expected="KEY=LOW:HIGH") from None


@click.command(
    epilog="""\b
Examples:
  benchsuite cost --preset a800-owned --gpus 2
  benchsuite cost --preset a800-owned --sensitivity --gpus 2 --output-tok-s 1029
  benchsuite cost --usd-per-hour 0.9 --billing spot --interruptions-per-hour 0.05 --interruption-hours 0.5
  benchsuite cost --usd-per-hour 1.2 --billing reserved --utilisation 0.6
  benchsuite cost --usd-per-hour 2.0 --reserved-usd-per-hour 1.2 --reserved-ratio 0.7 --utilisation 0.9
"""
)
@click.option("--purchase-price", type=float, help="Price of one GPU, in --currency.")
@click.option("--currency", default="USD", show_default=True, help="Currency of every price given here.")
@click.option("--currency-per-usd", type=float, default=1.0, show_default=True, help="Units of it per US dollar.")
@click.option("--years", type=float, default=3.0, show_default=True, help="Service life.")
@click.option("--utilisation", type=float, default=1.0, show_default=True, help="Share of all hours with work.")
@click.option("--power-kw", type=float, help="Mean electric power of one GPU at work.")
@click.option("--idle-kw", type=float, help="Power while idle (mode full).")
@click.option("--pue", type=float, default=1.5, show_default=True, help="Power usage effectiveness.")
@click.option("--electricity-per-kwh", type=float, help="Price of a kWh.")
@click.option("--maintenance", "maintenance_ratio", type=float, default=0.03, show_default=True, help="Share a year.")
@click.option("--salvage", type=float, help="Resale value at the end (mode full).")
@click.option("--hosting", "hosting_per_hour", type=float, help="Host, rack, network, labour per hour (mode full).")
@click.option(
    "--mode",
    type=click.Choice(["eq5", "note", "full"]),
    default="eq5",
    show_default=True,
    help="How idle hours are paid: as the paper's equation 5, as its note below it, or with all parts given.",
)
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs in the machine.")
@click.option("--preset", help="A bundled price; see --list-presets.")
@click.option("--usd-per-hour", type=float, help="A rented GPU's price.")
@click.option(
    "--billing",
    type=click.Choice(["on-demand", "spot", "reserved"]),
    default="on-demand",
    show_default=True,
    help="How a rented GPU is paid: while used, while it lasts, or for all hours (over --utilisation).",
)
@click.option(
    "--interruptions-per-hour", type=float, default=0.0, show_default=True, help="Spot: how often it is lost."
)
@click.option(
    "--interruption-hours", type=float, default=0.0, show_default=True, help="Spot: work and time lost for each."
)
@click.option("--fallback-ratio", type=float, default=0.0, show_default=True, help="Spot: share of hours without one.")
@click.option("--fallback-usd-per-hour", type=float, help="Spot: the price paid in those.")
@click.option("--reserved-usd-per-hour", type=float, help="Mixture: a reserved GPU's price, beside --usd-per-hour.")
@click.option("--reserved-ratio", type=float, help="Mixture: share of the useful hours that it bears.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your own prices (TOML), before the bundled ones.")
@click.option("--as-of", help="Day to which the age of prices is counted, 2026-11-21.  [default: today]")
@click.option("--sensitivity", "vary", is_flag=True, help="How much each input moves the cost, alone and together.")
@click.option("--uncertain", "ranges", multiple=True, help="KEY=LOW:HIGH, repeatable: how far an input may be off.")
@click.option("--samples", type=click.IntRange(min=100), default=20_000, show_default=True, help="Monte-Carlo draws.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--output-tok-s", type=float, help="Measured output tokens/s of all --gpus: gives dollars per 1M tokens.")
@click.option("--versus-usd-per-1m", type=float, help="Share of draws cheaper than this price of 1M output tokens.")
@click.option("--list-presets", is_flag=True, help="Show the bundled prices with source and date.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
@click.pass_context
def command(context: click.Context, /, gpus: int, list_presets: bool, vary: bool, as_json: bool, **flags: Any) -> None:
    """What an hour costs and what it is made of.

    Give --purchase-price, --power-kw and --electricity-per-kwh for an owned GPU, or --preset, or --usd-per-hour.
    """
    from benchsuite.api import price_book

    book = price_book(flags["prices"])
    if list_presets:
        _print_presets([*book.gpus.values()], as_json)
        return
    typed = {name for name in flags if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    found = _price(book, gpus, vary, flags, typed)
    click.echo(json.dumps(found, indent=2)) if as_json else _print(found)


def _price(book: Any, gpus: int, vary: bool, flags: dict[str, Any], typed: set[str]) -> dict[str, Any]:
    from benchsuite.cli.options import age_warnings
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.errors import PriceError

    hour = price_an_hour(book, flags, typed)
    if not vary and (asked := typed & {"ranges", "output_tok_s", "versus_usd_per_1m"}):
        flag = {"ranges": "uncertain"}.get(min(asked), min(asked)).replace("_", "-")
        raise PriceError(f"--{flag} belongs to --sensitivity", where=f"--{flag}", expected="--sensitivity with it")
    dated = {"name": hour.name, "as_of": hour.as_of, "source": hour.source}
    return {
        "usd_per_hour": hour.cost.usd_per_hour,
        "parts": hour.cost.parts(),
        "gpus": gpus,
        "usd_per_hour_total": total_usd_per_hour(hour.cost.usd_per_hour, gpus),
        "mode": hour.cost.mode,
        **dated,
        "note": hour.note,
        "assumptions": list(hour.cost.assumptions),
        "warnings": age_warnings([dated], flags["as_of"]),
        "sensitivity": sensitivity(hour, gpus, flags) if vary else None,
    }


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import say

    table = Table(title="Cost of an hour (US dollars)", title_justify="left")
    table.add_column("part")
    table.add_column("USD/h", justify="right")
    for name, usd in found["parts"].items():
        table.add_row(name.removesuffix("_usd_per_hour"), f"{usd:.6f}")
    table.add_row("one GPU", f"{found['usd_per_hour']:.6f}", style="bold")
    table.add_row(f"{found['gpus']} GPU{'s' * (found['gpus'] > 1)}", f"{found['usd_per_hour_total']:.6f}")
    console = Console()
    console.print(table)
    for label in ("mode", "source", "as_of", "note"):
        if found[label]:
            console.print(f"{label}: {found[label]}", highlight=False, markup=False)
    if found["sensitivity"]:
        _print_sensitivity(found["sensitivity"], found["usd_per_hour"], console)
    for text in found["assumptions"]:
        say(console, text, style="dim", indent=2)
    for text in found["warnings"]:
        say(console, f"warning {text}", style="yellow", indent=2)


def _print_sensitivity(found: dict[str, Any], usd_per_hour: float, console: Any) -> None:
    from rich.table import Table

    from benchsuite.report.console import say

    total = found["sobol_total"]
    title = f"One input at a time (USD per GPU-hour, {usd_per_hour:.3f} as it stands)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("input", "from", "to", "USD/h from", "to", "share of variance"):
        table.add_column(name, justify="left" if name == "input" else "right")
    for swing in found["tornado"]:
        share = total.get(swing["key"])
        table.add_row(
            swing["key"],
            f"{swing['low']:g}",
            f"{swing['high']:g}",
            f"{swing['usd_at_low']:.3f}",
            f"{swing['usd_at_high']:.3f}",
            "" if share is None else f"{share:.3f}",
        )
    console.print(table)
    hour = found["usd_per_hour"]
    say(console, f"all together, {hour['n']:,} draws, seed {found['seed']}: {_spread(hour, 'USD per GPU-hour')}")
    if per_1m := found["usd_per_1m_output_tokens"]:
        say(console, f"{per_1m['value']:.3f} USD/1M output tokens; {_spread(per_1m, 'with the price so unsure')}")
    if found["share_below"] is not None:
        say(console, f"cheaper than the price given in {found['share_below']:.1%} of the draws")
    say(console, f"ranges: {found['ranges']}; drawn uniform and independent over", style="dim")
    for key, (low, high) in found["uniform"].items():
        say(console, f"  {key} {low:g} to {high:g}", style="dim")
    say(console, "which level of one machine is cheapest does not depend on the hour's price; API or own does")


def _spread(spread: dict[str, Any], what: str) -> str:
    return f"p5 {spread['p5']:.3f}, p50 {spread['p50']:.3f}, p95 {spread['p95']:.3f} {what}"


def _print_presets(prices: list[Any], as_json: bool) -> None:
    if as_json:
        keys = ("name", "usd_per_hour", "source", "as_of", "note")
        click.echo(json.dumps([{key: getattr(price, key) for key in keys} for price in prices], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import plain

    table = Table(title="Prices of one GPU (not verified against vendors)", title_justify="left")
    for name in ("preset", "USD/h", "as of", "source", "note"):
        table.add_column(name, justify="right" if name == "USD/h" else "left")
    for price in prices:
        told = map(plain, (price.name, f"{price.usd_per_hour:.4f}", price.as_of, price.source, price.note))
        table.add_row(*told)
    Console().print(table)
