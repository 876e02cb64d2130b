"""Bundled GPU prices, each with its source and date. The only file of economics that reads a file, its own data."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from benchsuite.economics.hourly import Ownership, hourly_cost
from benchsuite.errors import PriceError


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour of ONE GPU. owned: the parameters it is computed from; None for a rented or printed price."""

    name: str
    usd_per_hour: float
    source: str
    as_of: str
    note: str
    owned: Ownership | None = None


def presets() -> dict[str, Price]:
    """Every bundled price by name, in the file's order."""
    text = resources.files("benchsuite.economics").joinpath("data/gpu_prices.toml").read_text("utf-8")
    tree = tomllib.loads(text)
    sources: dict[str, str] = tree["sources"]
    return {name: _price(name, entry, sources) for name, entry in tree["presets"].items()}


def preset(name: str) -> Price:
    """The bundled price called `name`. Raises PriceError with the nearest name and the list."""
    known = presets()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name.lower(), known, 1, cutoff=0.4)
    raise PriceError(
        "unknown price preset",
        where="preset",
        given=repr(name),
        expected="one of " + ", ".join(known),
        hint=f"did you mean {close[0]!r}?" if close else "give the price itself: --usd-per-hour",
    )


def _price(name: str, entry: dict[str, Any], sources: dict[str, str]) -> Price:
    owned = Ownership(**entry["owned"]) if "owned" in entry else None
    usd = hourly_cost(owned, "eq5").usd_per_hour if owned else float(entry["usd_per_hour"])
    return Price(name, usd, sources[entry["source"]], entry["as_of"], entry["note"], owned)
