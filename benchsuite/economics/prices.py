"""Prices with source and date: bundled GPUs and APIs, a user's file over them, genai-prices where asked by name.

The only file of economics that reads files: its own data.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from benchsuite.economics.gpu_hour import Terms, complete, hour_parts, hourly_cost, terms_of
from benchsuite.errors import PriceError, did_you_mean, read_json, read_toml
from benchsuite.spec import OwnedSpec
from benchsuite.strict_model import StrictModel, validated

if TYPE_CHECKING:
    from benchsuite.economics.sensitivity import Sensitivity

LEAST_USD_PER_1M, MOST_USD_PER_1M = 1e-3, 1e4  # beyond: surely another unit (no model costs a cent per token)
GENAI = "genai:"
AS_GIVEN = "as given"  # the source of a price that a flag or a key states
_T = TypeVar("_T")


def _price_of_its_unit(value: float) -> float:
    if value and not LEAST_USD_PER_1M <= value <= MOST_USD_PER_1M:
        other = "per token or per 1,000 tokens" if value < LEAST_USD_PER_1M else "of another unit"
        raise ValueError(
            f"looks like a price {other}; should be US dollars per 1,000,000 tokens, {LEAST_USD_PER_1M:g} to "
            f"{MOST_USD_PER_1M:,.0f}, or 0"
        )
    return value


def price_date(as_of: object) -> str:
    """'2026-11-10' or '2026-11'. Raises ValueError for anything else."""
    text = str(as_of)
    found = re.fullmatch(r"([12]\d{3})-(0[1-9]|1[0-2])(?:-(\d{2}))?", text)
    if found is None or not 1 <= int(found[3] or 1) <= calendar.monthrange(int(found[1]), int(found[2]))[1]:
        raise ValueError("should be a date such as 2026-11-10 or 2026-11")
    return text


_Usd = Annotated[float, Field(strict=True, ge=0)]
UsdPer1m = Annotated[_Usd, AfterValidator(_price_of_its_unit)]
_Known = Annotated[float, Field(ge=0, le=MOST_USD_PER_1M)]  # of a source whose unit is sure
_Ranges = dict[str, tuple[float, float]]


class ApiPrice(StrictModel):
    """One hosted model's price. cached_input_usd_per_1m_tokens: None where cached input is billed as input.

    as_of: the day or month the price held, None if its source does not say.
    """

    name: str = ""
    input_usd_per_1m_tokens: _Known
    cached_input_usd_per_1m_tokens: _Known | None = None
    output_usd_per_1m_tokens: _Known
    source: str
    as_of: str | None = None
    note: str = ""


class _ApiEntry(ApiPrice):
    """[api.NAME] of a price file."""

    input_usd_per_1m_tokens: UsdPer1m
    cached_input_usd_per_1m_tokens: UsdPer1m | None = None
    output_usd_per_1m_tokens: UsdPer1m
    as_of: Annotated[str, BeforeValidator(price_date)]

    @model_validator(mode="before")
    @classmethod
    def _unit_in_the_name(cls, entry: Any) -> Any:
        for key in entry if isinstance(entry, dict) else ():
            if re.search(r"1k|mille|per_token|cost_per", key):
                raise ValueError(f"{key}: multiply by 1,000 (per 1K) or 1,000,000 (per token) and name it _usd_per_1m_")
        return entry


class GpuPrice(StrictModel):
    """[presets.NAME] of a price file: the price of ONE GPU, or the parameters `owned` that it is computed from.

    tornado, uniform: how far each parameter may be off, alone and together with the others; empty where not known.
    """

    name: str = ""
    given_usd_per_hour: _Usd | None = Field(None, alias="usd_per_hour")
    owned: OwnedSpec | None = None
    source: str
    as_of: Annotated[str, BeforeValidator(price_date)]
    note: str = ""
    tornado: _Ranges = Field({})
    uniform: _Ranges = Field({})

    @model_validator(mode="after")
    def _has_a_price(self) -> GpuPrice:
        if (self.owned is None) == (self.given_usd_per_hour is None):
            raise ValueError("either usd_per_hour or a table `owned` is required")
        try:
            hourly_cost(self.owned) if self.owned else None
        except PriceError as error:
            raise ValueError(f"owned.{error.where}: {error.what}") from None
        return self

    @property
    def usd_per_hour(self) -> float:
        """US dollars."""
        return hourly_cost(self.owned) if self.owned else self.given_usd_per_hour or 0.0


class _PriceFile(StrictModel):
    sources: dict[str, str] = Field({})
    presets: dict[str, GpuPrice] = Field({})
    api: dict[str, _ApiEntry] = Field({})


_LITELLM = ("input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token")


def litellm_prices(tree: Mapping[str, Any], where: str) -> PriceBook:
    """The chat and completion models of LiteLLM's JSON file of prices, costs per token times a million.

    Of tiered prices the lowest tier; each price's note names what is left out, `unpriced` why a model has no price. The
    file is undated: as_of is None.
    """
    found, unpriced = {}, {}
    for name, entry in tree.items():
        known = isinstance(entry, Mapping) and any(key == "mode" or "cost" in key or "pric" in key for key in entry)
        if name == "sample_spec" or not known:
            continue
        mode = entry.get("mode", "chat")
        if mode not in ("chat", "completion", "responses"):
            unpriced[name] = f"it is a model for {mode}, which has no price by input and output tokens"
            continue
        base, notes = entry, []
        left_out = [key for key in entry if "cost" in key and key not in _LITELLM]
        tiers = [tier for tier in entry.get("tiered_pricing") or () if isinstance(tier, Mapping)]
        if tiers and None in (entry.get(_LITELLM[0]), entry.get(_LITELLM[2])):
            base, ends = tiers[0], tiers[0].get("range")
            notes.append(f"the lowest of {len(tiers)} tiers, for {ends} input tokens; the others are left out")
        elif tiers:
            left_out.append("tiered_pricing")
        if None in (base.get(_LITELLM[0]), base.get(_LITELLM[2])):
            others = f", only {', '.join(left_out)}" if left_out else ""
            unpriced[name] = f"it has no price by input and output tokens{others}"
            continue
        notes += [f"left out: {', '.join(left_out)}"] if left_out else []
        try:
            costs = [base.get(key) for key in _LITELLM]
            per_1m = [None if cost is None else round(float(cost) * 1e6, 9) for cost in costs]
        except (TypeError, ValueError, OverflowError):
            raise PriceError("a cost is not a number", where=f"{where}: {name}", given=costs) from None
        notes += ["free of charge, says the file"] if not per_1m[0] and not per_1m[2] else []
        found[name] = api_price(name, per_1m, f"{where} (LiteLLM's format)", "; ".join(notes))
    if not found and not unpriced:
        expected = "LiteLLM's format: input_cost_per_token"
        raise PriceError("no model prices in the JSON file", where=where, expected=expected)
    return PriceBook({}, found, unpriced)


def api_price(name: str, per_1m: Sequence[float | None], source: str, note: str = "") -> ApiPrice:
    """per_1m: of input, cached input and output."""
    keys = ("input_usd_per_1m_tokens", "cached_input_usd_per_1m_tokens", "output_usd_per_1m_tokens")
    tree = {"name": name, "source": source, "note": note, **dict(zip(keys, per_1m, strict=True))}
    return validated(ApiPrice, tree, "the price of an API", where=f"{source}: {name}", error_type=PriceError)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by name. unpriced: why a model of a price file has none."""

    gpus: dict[str, GpuPrice]
    apis: dict[str, ApiPrice]
    unpriced: dict[str, str] = field(default_factory=dict)

    def gpu(self, name: str) -> GpuPrice:
        """The GPU price called `name`. Raises PriceError with the nearest name and the list."""
        return _named(name, self.gpus, "price preset", "preset", "give the price itself: --usd-per-hour")

    def api(self, name: str) -> ApiPrice:
        """The API price called `name`. Raises PriceError with the nearest name and the list, or why it has none."""
        if name not in self.apis and name in self.unpriced:
            hint = "give the price itself: api_usd_per_1m = [input, output] of a candidate in a plan.toml (--config)"
            raise PriceError("the API cannot be priced", where=name, given=self.unpriced[name], hint=hint)
        hint = f"{GENAI}PROVIDER/MODEL asks the package genai-prices; --prices FILE reads your own"
        return _named(name, self.apis, "API price", "api", hint)


def presets() -> dict[str, GpuPrice]:
    """Every bundled GPU price by name, in the file's order."""
    return parse_prices(bundled("gpu_prices.toml"), "gpu_prices.toml").gpus


def preset(name: str) -> GpuPrice:
    """The bundled GPU price called `name`. Raises PriceError with the nearest name and the list."""
    return PriceBook(presets(), {}).gpu(name)


def check_gpu(preset: str, measured_on: str, where: str) -> None:
    """Raises PriceError where `preset` is named after another GPU than a run was measured on: h100-low, NVIDIA L4."""
    gpu = preset.partition("-")[0].lower()
    known = {name.partition("-")[0] for name in presets()}
    if gpu in known and gpu not in re.split(r"[^a-z0-9]+", measured_on.lower()):
        what, expected = "the price is of another GPU than the run's", "the price of that GPU, or --usd-per-hour"
        raise PriceError(what, where=where, given=f"{preset}, measured on {measured_on}", expected=expected)


def price_book(text: str | None = None, where: str = "") -> PriceBook:
    """The bundled prices; those of a user's file (its text, TOML or LiteLLM's JSON) before them where names meet."""
    apis = parse_prices(bundled("api_prices.toml"), "api_prices.toml").apis
    own = PriceBook({}, {}) if text is None else parse_prices(text, where)
    return PriceBook({**presets(), **own.gpus}, {**apis, **own.apis}, own.unpriced)


def parse_prices(text: str, where: str) -> PriceBook:
    """A price file: [presets.NAME] for GPUs, [api.NAME] for APIs, [sources] for short names of sources.

    A file that starts with a brace is LiteLLM's JSON. `where` names it in errors. Raises PriceError.
    """
    try:
        if text.lstrip().startswith("{"):
            return litellm_prices(read_json(text), where)
        tree = read_toml(text)
    except ValueError as error:
        raise PriceError("the price file does not parse", where=where, given=error, expected="TOML or JSON") from None
    file = validated(_PriceFile, tree, "the price file", where=where, error_type=PriceError)
    return PriceBook(_by_name(file.presets, file.sources), _by_name(file.api, file.sources))


def _by_name(entries: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: entry.model_copy(update={"name": name, "source": sources.get(entry.source, entry.source)})
        for name, entry in entries.items()
    }


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
    listed = [getattr(found, key) for key in ("input_mtok", "cache_read_mtok", "output_mtok")]
    read, cached, written = (None if price is None else float(getattr(price, "base", price)) for price in listed)
    if read is None or written is None:
        raise PriceError("genai-prices has no token price for the model", where="api", given=GENAI + name)
    source = f"genai-prices {genai_prices.__version__}, prices of {when:%Y-%m-%d}"
    return api_price(GENAI + name, (read, cached, written), source, "Base tier. Its snapshot carries no date.")


def age_days(as_of: str, today: str) -> int:
    """How old a price is on `today` ('2026-11-21'). A month counts from its first day."""
    import numpy as np

    return int((np.datetime64(today, "D") - np.datetime64(as_of, "D")) / np.timedelta64(1, "D"))


@dataclass(frozen=True, slots=True)
class GpuHour:
    """The cost of one GPU's useful hour with its parts, that of `gpus` together, and what it was computed from.

    mode: eq5, note, full (owned), on-demand, spot, reserved, mixture (rented). name, source, as_of, note: of the price
    that was named; changed: its parameters that were given otherwise.
    """

    usd_per_hour: float
    parts: dict[str, float]
    gpus: int
    usd_per_hour_total: float
    mode: str
    name: str
    as_of: str | None
    source: str
    note: str
    changed: tuple[str, ...]
    terms: Terms
    sensitivity: Sensitivity | None


def gpu_hour(
    given: Mapping[str, Any], price: GpuPrice | None = None, gpus: int = 1, vary: Mapping[str, Any] | None = None
) -> GpuHour:
    """The hour of `price`, or of usd_per_hour or purchase_price in `given`, by gpu_hour.terms_of. Raises PriceError.

    vary: how sensitive it is, by the arguments of sensitivity.sensitivity.
    """
    owned = None if price is None else price.owned
    flags = {"--purchase-price": "purchase_price" in given and owned is None, "--usd-per-hour": "usd_per_hour" in given,
             "--preset": price is not None}  # fmt: skip
    ways = [flag for flag, is_given in flags.items() if is_given]
    if len(ways) != 1:
        expected = "one of --purchase-price, --preset, --usd-per-hour"
        raise PriceError("exactly one way to name a price", given=" and ".join(ways) or "none", expected=expected)
    rented = {} if price is None or owned else {"usd_per_hour": price.usd_per_hour}
    terms = complete(terms_of({**given, **rented}, owned))
    changed = tuple(sorted(given)) if owned else ()
    named: dict[str, Any] = {"name": ways[0], "as_of": None, "source": AS_GIVEN, "note": ""}
    if price is not None:
        named = {key: getattr(price, key) for key in named}
    found = None
    if vary is not None:
        from benchsuite.economics.sensitivity import sensitivity

        known = ({}, {}) if price is None or changed else (price.tornado, price.uniform)
        found = sensitivity(terms, preset=known, gpus=gpus, **vary)
    return GpuHour(
        usd_per_hour=(usd_per_hour := hourly_cost(terms)),
        parts=hour_parts(terms),
        gpus=gpus,
        usd_per_hour_total=usd_per_hour * gpus,
        mode=terms.mode or "",
        changed=changed,
        terms=terms,
        sensitivity=found,
        **named,
    )


def _named(name: str, known: Mapping[str, _T], what: str, where: str, hint: str) -> _T:
    if name in known:
        return known[name]
    raise PriceError(
        f"unknown {what}",
        where=where,
        given=repr(name),
        expected="one of " + ", ".join(known) if len(known) < 50 else f"one of {len(known)} names",
        hint=did_you_mean(name.lower(), known, 0.4) or hint,
    )


def bundled(name: str) -> str:
    """The text of a file in economics/data: prices, and a commented plan.toml."""
    return resources.files("benchsuite.economics").joinpath(f"data/{name}").read_text("utf-8")
