"""What a hosted model costs per million tokens: one schema, read from TOML or from LiteLLM's JSON. Pure.

Money is US dollars per 1,000,000 tokens in every name. Prices per token or per 1,000 tokens are converted where their
format says so (LiteLLM's does), and refused everywhere else.
"""

from __future__ import annotations

import calendar
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import PriceError

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
