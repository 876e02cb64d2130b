"""Prices with source and date: bundled GPUs and APIs, a user's file over them, genai-prices where asked by name.

The only file of economics that reads files: its own data.
"""

from __future__ import annotations

import calendar
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

from benchsuite.economics.cost import total_usd_per_hour
from benchsuite.economics.gpu_hour import Ownership, hourly_cost, natural_mode
from benchsuite.errors import PriceError, read_json, read_toml

PRICE_KEYS = ("input_usd_per_1m_tokens", "cached_input_usd_per_1m_tokens", "output_usd_per_1m_tokens")
API_KEYS = (*PRICE_KEYS, "source", "as_of", "note")
LEAST_USD_PER_1M, MOST_USD_PER_1M = 1e-3, 1e4  # beyond: surely another unit (no model costs a cent per token)


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """One hosted model's price. cached_input_usd_per_1m_tokens: None where cached input is billed as input.

    as_of: the day or month the price held, None if its source does not say.
    """

    name: str
    input_usd_per_1m_tokens: float
    cached_input_usd_per_1m_tokens: float | None
    output_usd_per_1m_tokens: float
    source: str
    as_of: str | None
    note: str = ""

    def __post_init__(self) -> None:
        for key in PRICE_KEYS:
            value = getattr(self, key)
            if value is not None or key != PRICE_KEYS[1]:
                _check(key, value, self.name)


def api_price(name: str, entry: Any, sources: Mapping[str, str], where: str) -> ApiPrice:
    """One entry of a price file. Raises PriceError naming the key that is missing, unknown or in another unit."""
    at = f"{where}: api.{name}"
    if not isinstance(entry, Mapping):
        raise PriceError("an API price is a table", where=at, given=entry, expected=", ".join(API_KEYS))
    for key in entry:
        if key not in API_KEYS:
            raise _unknown(str(key), at)
    for key in (PRICE_KEYS[0], PRICE_KEYS[2], "source", "as_of"):
        if key not in entry:
            raise PriceError(f"an API price lacks {key}", where=at, given=", ".join(entry), expected=key)
    source = str(entry["source"])
    price = ApiPrice(
        name=name,
        input_usd_per_1m_tokens=entry[PRICE_KEYS[0]],
        cached_input_usd_per_1m_tokens=entry.get(PRICE_KEYS[1]),
        output_usd_per_1m_tokens=entry[PRICE_KEYS[2]],
        source=sources.get(source, source),
        as_of=checked_date(entry["as_of"], at),
        note=str(entry.get("note", "")),
    )
    refuse_small_units(price)
    return price


def refuse_small_units(price: ApiPrice) -> None:
    """Raises PriceError where a price is so low that it must be per token or per 1,000 tokens."""
    for key in PRICE_KEYS:
        value = getattr(price, key)
        if value and value < LEAST_USD_PER_1M:
            raise _other_unit(key, value, price.name, "per token or per 1,000 tokens")


def litellm_prices(tree: Mapping[str, Any], where: str) -> dict[str, ApiPrice]:
    """The chat and completion models of LiteLLM's JSON file of prices, costs per token times a million.

    Models without both an input and an output cost are left out. The file is undated: as_of is None.
    """
    found = {}
    for name, entry in tree.items():
        if name == "sample_spec" or not isinstance(entry, Mapping):
            continue
        if entry.get("mode", "chat") not in ("chat", "completion", "responses"):
            continue
        costs = [entry.get(key) for key in ("input_cost_per_token", "output_cost_per_token")]
        if None in costs:
            continue
        cached = entry.get("cache_read_input_token_cost")
        try:
            per_1m = [None if cost is None else round(float(cost) * 1e6, 9) for cost in (costs[0], cached, costs[1])]
        except (TypeError, ValueError, OverflowError):
            raise PriceError("a cost is not a number", where=f"{where}: {name}", given=costs) from None
        assert per_1m[0] is not None
        assert per_1m[2] is not None
        found[name] = ApiPrice(name, per_1m[0], per_1m[1], per_1m[2], f"{where} (LiteLLM's format)", None)
    if not found:
        raise PriceError(
            "no model prices in the JSON file", where=where, expected="LiteLLM's format: input_cost_per_token"
        )
    return found


def checked_date(as_of: object, where: str) -> str:
    """'2026-11-10' or '2026-11'. Raises PriceError for anything else."""
    text = str(as_of)
    found = re.fullmatch(r"([12]\d{3})-(0[1-9]|1[0-2])(?:-(\d{2}))?", text)
    if found is None or not 1 <= int(found[3] or 1) <= calendar.monthrange(int(found[1]), int(found[2]))[1]:
        expected = "2026-11-10 or 2026-11"
        raise PriceError("a date does not read", where=f"{where}: as_of", given=repr(as_of), expected=expected)
    return text


def _check(key: str, value: Any, name: str) -> None:
    where = f"{name}: {key}"
    # compared before anything makes a float of it: an integer may be beyond every float
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    if not number:
        raise PriceError("an API price makes no sense", where=where, given=value, expected="US dollars, at least 0")
    if value > MOST_USD_PER_1M:
        raise _other_unit(key, value, name, "of another unit")


def _other_unit(key: str, value: float, name: str, other: str) -> PriceError:
    return PriceError(
        f"an API price looks like one {other}",
        where=f"{name}: {key}",
        given=value,
        expected=f"US dollars per 1,000,000 tokens, {LEAST_USD_PER_1M:g} to {MOST_USD_PER_1M:,.0f}",
    )


def _unknown(key: str, at: str) -> PriceError:
    if re.search(r"1k|mille|per_token|cost_per", key):
        hint: str | None = "multiply by 1,000 (per 1K) or 1,000,000 (per token) and name it so"
    else:
        close = difflib.get_close_matches(key, API_KEYS, 1, cutoff=0.3)
        hint = f"did you mean {close[0]!r}?" if close else None
    what = f"unknown key {key!r}; the unit is part of the name"
    return PriceError(what, where=at, given=key, expected=", ".join(API_KEYS), hint=hint)


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
