"""Prices with source and date: bundled GPUs and APIs, a user's file over them, genai-prices where asked by name.

The only file of economics that reads files: its own data.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

from benchsuite.economics.api_prices import ApiPrice, api_price, checked_date, litellm_prices
from benchsuite.economics.cost import total_usd_per_hour
from benchsuite.economics.hourly import Ownership, hourly_cost, natural_mode
from benchsuite.errors import PriceError
from benchsuite.parsing import read_json, read_toml

_P = TypeVar("_P")
GENAI = "genai:"
MAX_AGE_DAYS = 90
_GPU_KEYS = {"usd_per_hour", "owned", "source", "as_of", "note", "tornado", "uniform"}


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour of ONE GPU. owned: the parameters it is computed from; None for a rented or printed price.

    tornado, uniform: how far each parameter may be off, alone and together with the others; empty where not known.
    """

    name: str
    usd_per_hour: float
    source: str
    as_of: str
    note: str
    owned: Ownership | None = None
    tornado: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    uniform: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by name."""

    gpus: dict[str, Price]
    apis: dict[str, ApiPrice]

    def gpu(self, name: str) -> Price:
        """The GPU price called `name`. Raises PriceError with the nearest name and the list."""
        return _named(name, self.gpus, "price preset", "preset", "give the price itself: --usd-per-hour")

    def api(self, name: str) -> ApiPrice:
        """The API price called `name`. Raises PriceError with the nearest name and the list."""
        hint = f"{GENAI}PROVIDER/MODEL asks the package genai-prices; --prices FILE reads your own"
        return _named(name, self.apis, "API price", "api", hint)


def presets() -> dict[str, Price]:
    """Every bundled GPU price by name, in the file's order."""
    return parse_prices(_bundled("gpu_prices.toml"), "gpu_prices.toml").gpus


def preset(name: str) -> Price:
    """The bundled GPU price called `name`. Raises PriceError with the nearest name and the list."""
    return PriceBook(presets(), {}).gpu(name)


def price_book(text: str | None = None, where: str = "") -> PriceBook:
    """The bundled prices; those of a user's file (its text, TOML or LiteLLM's JSON) before them where names meet."""
    apis = parse_prices(_bundled("api_prices.toml"), "api_prices.toml").apis
    own = PriceBook({}, {}) if text is None else parse_prices(text, where)
    return PriceBook({**presets(), **own.gpus}, {**apis, **own.apis})


def parse_prices(text: str, where: str) -> PriceBook:
    """A price file: [presets.NAME] for GPUs, [api.NAME] for APIs, [sources] for short names of sources.

    A file that starts with a brace is LiteLLM's JSON. `where` names it in errors. Raises PriceError.
    """
    try:
        if text.lstrip().startswith("{"):
            return PriceBook({}, litellm_prices(read_json(text), where))
        tree = read_toml(text)
    except ValueError as error:
        raise PriceError("the price file does not parse", where=where, given=error, expected="TOML or JSON") from None
    for key, table in tree.items():
        if key not in ("sources", "presets", "api") or not isinstance(table, dict):
            expected = "tables [sources], [presets.NAME], [api.NAME]"
            raise PriceError(f"unknown key {key!r} in a price file", where=where, given=key, expected=expected)
    sources = tree.get("sources", {})
    return PriceBook(
        {name: _gpu_price(name, entry, sources, where) for name, entry in tree.get("presets", {}).items()},
        {name: api_price(name, entry, sources, where) for name, entry in tree.get("api", {}).items()},
    )


def genai_price(name: str, when: Any) -> ApiPrice:
    """PROVIDER/MODEL from the installed package genai-prices: its snapshot, never updated over the network.

    when: a timezone-aware datetime; prices that depend on the date or the hour are those of then. Tiered prices: the
    base tier. Raises PriceError if the package or the model is missing.
    """
    try:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        hint = "pip install 'benchsuite[prices]'"
        raise PriceError("genai-prices is not installed", where="api", given=GENAI + name, hint=hint) from None
    provider, slash, model = name.partition("/")
    try:
        _, entry = get_snapshot().find_provider_model(model if slash else name, None, provider if slash else None, None)
    except LookupError as error:
        expected = f"{GENAI}PROVIDER/MODEL as genai-prices knows them"
        raise PriceError("genai-prices has no such model", where="api", given=error, expected=expected) from None
    found = entry.get_prices(when)
    read, cached, written = (_base(getattr(found, key)) for key in ("input_mtok", "cache_read_mtok", "output_mtok"))
    if read is None or written is None:
        raise PriceError("genai-prices has no token price for the model", where="api", given=GENAI + name)
    source = f"genai-prices {genai_prices.__version__}, prices of {when:%Y-%m-%d}"
    return ApiPrice(GENAI + name, read, cached, written, source, None, "Base tier. Its snapshot carries no date.")


def age_warning(name: str, as_of: str | None, today: str) -> str | None:
    """What to say about a price more than MAX_AGE_DAYS old on `today` ('2026-11-21'), or without a date; else None.

    A month counts from its first day.
    """
    import numpy as np

    if as_of is None:
        return f"the price of {name} has no date"
    age = int((np.datetime64(today, "D") - np.datetime64(as_of, "D")) / np.timedelta64(1, "D"))
    if age <= MAX_AGE_DAYS:
        return None
    return f"the price of {name} is of {as_of}, {age} days old; check it, and give your own with --prices FILE"


def _gpu_price(name: str, entry: Any, sources: Mapping[str, str], where: str) -> Price:
    at = f"{where}: presets.{name}"
    if not isinstance(entry, dict) or ("owned" in entry) == ("usd_per_hour" in entry):
        expected = "usd_per_hour, or a table `owned`"
        raise PriceError("a GPU price is one number or its parameters", where=at, given=entry, expected=expected)
    if unknown := set(entry) - _GPU_KEYS:
        raise PriceError(f"unknown key {min(unknown)!r}", where=at, expected=", ".join(sorted(_GPU_KEYS)))
    for key in ("source", "as_of"):
        if key not in entry:
            raise PriceError(f"a GPU price lacks {key}", where=at, given=", ".join(entry), expected=key)
    try:
        owned = Ownership(**entry["owned"]) if "owned" in entry else None
        usd = (
            hourly_cost(owned, natural_mode(owned)).usd_per_hour if owned else total_usd_per_hour(entry["usd_per_hour"])
        )
        ranges = [_ranges(entry.get(key, {})) for key in ("tornado", "uniform")]
    except (TypeError, ValueError, OverflowError) as error:
        raise PriceError("a GPU price does not read", where=at, given=error, expected="numbers") from None
    source = str(entry["source"])
    dated = checked_date(entry["as_of"], at)
    return Price(name, float(usd), sources.get(source, source), dated, str(entry.get("note", "")), owned, *ranges)


def _ranges(entry: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    if not isinstance(entry, Mapping):
        raise TypeError("tornado and uniform are tables of ranges")
    found = {}
    for key, (low, high) in entry.items():
        found[key] = float(low), float(high)
    return found


def _named(name: str, known: Mapping[str, _P], what: str, where: str, hint: str) -> _P:
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name.lower(), known, 1, cutoff=0.4)
    raise PriceError(
        f"unknown {what}",
        where=where,
        given=repr(name),
        expected="one of " + ", ".join(known) if len(known) < 50 else f"one of {len(known)} names",
        hint=f"did you mean {close[0]!r}?" if close else hint,
    )


def _base(price: Any) -> float | None:
    return None if price is None else float(getattr(price, "base", price))


def _bundled(name: str) -> str:
    return resources.files("benchsuite.economics").joinpath(f"data/{name}").read_text("utf-8")
