"""`benchsuite cost`: the hourly cost of a GPU, owned or rented."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.option("--purchase-price", type=float, help="Price of one GPU, in --currency.")
@click.option("--currency", default="USD", show_default=True, help="Currency of every price given here.")
@click.option("--fx", "fx_per_usd", type=float, default=1.0, show_default=True, help="Units of it per US dollar.")
@click.option("--years", type=float, default=3.0, show_default=True, help="Service life.")
@click.option("--utilisation", type=float, default=1.0, show_default=True, help="Share of all hours with work.")
@click.option("--power-kw", type=float, help="Mean electric power of one GPU at work.")
@click.option("--idle-kw", type=float, help="Power while idle (mode full).")
@click.option("--pue", type=float, default=1.5, show_default=True, help="Power usage effectiveness.")
@click.option("--electricity", "electricity_per_kwh", type=float, help="Price of a kWh.")
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
@click.option("--list-presets", is_flag=True, help="Show the bundled prices with source and date.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(
    mode: Any,
    gpus: int,
    preset: str | None,
    usd_per_hour: float | None,
    list_presets: bool,
    as_json: bool,
    **owned: Any,
) -> None:
    """What an hour costs and what it is made of.

    Give --purchase-price, --power-kw and --electricity for an owned GPU, or --preset, or --usd-per-hour.
    """
    from benchsuite.economics.prices import presets

    if list_presets:
        _print_presets([*presets().values()], as_json)
        return
    found = _price(owned, mode, preset, usd_per_hour, gpus)
    click.echo(json.dumps(found, indent=2)) if as_json else _print(found)


def _price(owned: dict[str, Any], mode: Any, name: str | None, usd_per_hour: float | None, gpus: int) -> dict[str, Any]:
    from benchsuite.economics.cost import total_usd_per_hour
    from benchsuite.economics.hourly import Ownership, hourly_cost
    from benchsuite.economics.prices import preset
    from benchsuite.errors import PriceError

    ways = {"--purchase-price": owned["purchase_price"], "--preset": name, "--usd-per-hour": usd_per_hour}
    given = [flag for flag, value in ways.items() if value is not None]
    if len(given) != 1:
        raise PriceError(
            "exactly one way to name a price", given=" and ".join(given) or "none", expected="one of " + ", ".join(ways)
        )
    as_of = note = None
    source = "--usd-per-hour"
    if name is not None:
        price = preset(name)
        usd_per_hour, source, as_of, note = price.usd_per_hour, price.source, price.as_of, price.note
        ownership = price.owned
    elif usd_per_hour is None:
        for key, flag in (("power_kw", "--power-kw"), ("electricity_per_kwh", "--electricity")):
            if owned[key] is None:
                raise PriceError(
                    "an owned GPU's cost needs its power", where=flag, given="nothing", expected="a number"
                )
        source, ownership = "computed from the parameters given", Ownership(**owned)
    else:
        ownership = None
    parts: dict[str, float] = {}
    if ownership is not None:
        hourly = hourly_cost(ownership, mode)
        usd_per_hour, parts = hourly.usd_per_hour, hourly.parts()
    assert usd_per_hour is not None
    total = total_usd_per_hour(usd_per_hour, gpus)
    return {
        "usd_per_hour": usd_per_hour,
        "parts": parts,
        "gpus": gpus,
        "usd_per_hour_total": total,
        "mode": mode if ownership is not None else None,
        "source": source,
        "as_of": as_of,
        "note": note,
    }


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

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


def _print_presets(prices: list[Any], as_json: bool) -> None:
    if as_json:
        keys = ("name", "usd_per_hour", "source", "as_of", "note")
        click.echo(json.dumps([{key: getattr(price, key) for key in keys} for price in prices], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Bundled prices of one GPU (not verified against vendors)", title_justify="left")
    for name in ("preset", "USD/h", "as of", "source", "note"):
        table.add_column(name, justify="right" if name == "USD/h" else "left")
    for price in prices:
        table.add_row(price.name, f"{price.usd_per_hour:.4f}", price.as_of, price.source, price.note)
    Console().print(table)
