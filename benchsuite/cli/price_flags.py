"""What `cost` and `compare-api` share: the price file, the day, and how old prices are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchsuite.economics.prices import PriceBook


def read_book(path: Path | None) -> PriceBook:
    """The bundled prices and the user's file over them. Raises InputError."""
    from benchsuite.cli.curves import read_text
    from benchsuite.economics.prices import price_book

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
