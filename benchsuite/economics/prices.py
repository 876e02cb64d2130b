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
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from benchsuite.economics.gpu_hour import Ownership, hourly_cost, natural_mode
from benchsuite.errors import PriceError, read_json, read_toml
from benchsuite.strict_model import StrictModel, validated

_PER_1M = ("input_usd_per_1m_tokens", "cached_input_usd_per_1m_tokens", "output_usd_per_1m_tokens")
LEAST_USD_PER_1M, MOST_USD_PER_1M = 1e-3, 1e4  # beyond: surely another unit (no model costs a cent per token)
GENAI = "genai:"
MAX_AGE_DAYS = 90
_T = TypeVar("_T")


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
        """Raises PriceError where a price is none or too high for its unit. Files and flags have a lower bound too."""
        for key in _PER_1M:
            value = getattr(self, key)
            if value is not None and not (_is_price(value) and value <= MOST_USD_PER_1M):
                raise PriceError(
                    "an API price makes no sense", where=f"{self.name}: {key}", given=value, expected=_UNIT
                )


def _is_price(value: object) -> bool:
    # Compared before anything makes a float of it: an integer may be beyond every float.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


_UNIT = f"US dollars per 1,000,000 tokens, {LEAST_USD_PER_1M:g} to {MOST_USD_PER_1M:,.0f}, or 0"


def per_1m_tokens(value: float) -> float:
    """`value`. Raises ValueError where it is so low or high that it must be of another unit."""
    if value and not LEAST_USD_PER_1M <= value <= MOST_USD_PER_1M:
        other = "per token or per 1,000 tokens" if value < LEAST_USD_PER_1M else "of another unit"
        raise ValueError(f"looks like a price {other}; should be {_UNIT}")
    return value


def refuse_other_units(price: ApiPrice) -> None:
    """Raises PriceError where one of the prices must be per token, per 1,000 tokens or of another unit."""
    for key in _PER_1M:
        value = getattr(price, key)
        try:
            per_1m_tokens(value or 0.0)
        except ValueError as error:
            raise PriceError(f"an API price {error}", where=f"{price.name}: {key}", given=value) from None


def price_date(as_of: object) -> str:
    """'2026-11-10' or '2026-11'. Raises ValueError for anything else."""
    text = str(as_of)
    found = re.fullmatch(r"([12]\d{3})-(0[1-9]|1[0-2])(?:-(\d{2}))?", text)
    if found is None or not 1 <= int(found[3] or 1) <= calendar.monthrange(int(found[1]), int(found[2]))[1]:
        raise ValueError("should be a date such as 2026-11-10 or 2026-11")
    return text


_UsdPer1m = Annotated[float, Field(strict=True, ge=0), AfterValidator(per_1m_tokens)]
_Ranges = dict[str, tuple[float, float]]


class _Sourced(StrictModel):
    source: str
    as_of: Annotated[str, BeforeValidator(price_date)]
    note: str = ""


class _ApiEntry(_Sourced):
    """[api.NAME] of a price file."""

    input_usd_per_1m_tokens: _UsdPer1m
    cached_input_usd_per_1m_tokens: _UsdPer1m | None = None
    output_usd_per_1m_tokens: _UsdPer1m

    @model_validator(mode="before")
    @classmethod
    def _unit_in_the_name(cls, entry: Any) -> Any:
        for key in entry if isinstance(entry, dict) else ():
            if re.search(r"1k|mille|per_token|cost_per", key):
                raise ValueError(f"{key}: multiply by 1,000 (per 1K) or 1,000,000 (per token) and name it _usd_per_1m_")
        return entry


class _GpuEntry(_Sourced):
    """[presets.NAME] of a price file."""

    usd_per_hour: Annotated[float, Field(strict=True, ge=0)] | None = None
    owned: Ownership | None = None
    tornado: _Ranges = Field({})
    uniform: _Ranges = Field({})

    @model_validator(mode="after")
    def _has_a_price(self) -> _GpuEntry:
        if (self.owned is None) == (self.usd_per_hour is None):
            raise ValueError("either usd_per_hour or a table `owned` is required")
        self.hour()
        return self

    def hour(self) -> float:
        """US dollars. Raises ValueError where the owned GPU's parameters make no sense."""
        if self.owned is None:
            return self.usd_per_hour or 0.0
        try:
            return hourly_cost(self.owned, natural_mode(self.owned)).usd_per_hour
        except (PriceError, ArithmeticError) as error:
            where = f"owned.{error.where}: " if isinstance(error, PriceError) else "owned: "
            raise ValueError(where + str(error).partition("\n")[0]) from None


class _PriceFile(StrictModel):
    sources: dict[str, str] = Field({})
    presets: dict[str, _GpuEntry] = Field({})
    api: dict[str, _ApiEntry] = Field({})


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
    file = validated(_PriceFile, tree, "the price file", where=where, error_type=PriceError)
    source = {**{entry.source: entry.source for entry in (*file.presets.values(), *file.api.values())}, **file.sources}
    gpus = {
        name: Price(name, gpu.hour(), source[gpu.source], gpu.as_of, gpu.note, gpu.owned, gpu.tornado, gpu.uniform)
        for name, gpu in file.presets.items()
    }
    apis = {
        name: ApiPrice(name, **api.model_dump(exclude={"source"}), source=source[api.source])
        for name, api in file.api.items()
    }
    return PriceBook(gpus, apis)


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


def _named(name: str, known: Mapping[str, _T], what: str, where: str, hint: str) -> _T:
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
