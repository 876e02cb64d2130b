"""What `cost` and `compare-api` share: the price file, the day, and how old prices are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.economics.prices import PriceBook


def energy_price_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """--usd-per-kwh, --pue, --gco2-per-kwh: what measured energy costs and emits."""
    at_least = click.FloatRange(min=0)
    for flag in (
        click.option("--gco2-per-kwh", type=at_least, help="Grams of CO2 a kWh of the grid.  [default: the run's]"),
        click.option("--pue", type=click.FloatRange(min=1), help="Energy at the wall per GPU's.  [default: the run's]"),
        click.option("--usd-per-kwh", type=at_least, help="Price of electricity.  [default: the run's]"),
    ):
        command = flag(command)
    return command


def read_book(path: Path | None) -> PriceBook:
    """The bundled prices and the user's file over them. Raises InputError."""
    from benchsuite.economics.prices import price_book
    from benchsuite.sources import read_text

    return price_book() if path is None else price_book(read_text(path, "the price file"), str(path))


def age_warnings(prices: Iterable[dict[str, Any]], today: str | None) -> list[str]:
    """What to say about old or undated prices; nothing about those that a flag or the run gave.

    prices: with name and as_of. today: None takes the clock's. Raises PriceError for a bad day.
    """
    import datetime

    from benchsuite.economics.api_prices import checked_date
    from benchsuite.economics.prices import age_warning

    day = datetime.date.today().isoformat() if today is None else checked_date(today, "--today")
    found = [
        age_warning(price["name"], price["as_of"], day) for price in prices if not price["source"].startswith("--")
    ]
    return [said for said in found if said is not None]
