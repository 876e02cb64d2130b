"""From the flags of `compare-api` to its answer: prices, demand and capacity found, economics called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from benchsuite.economics.api_prices import ApiPrice, refuse_small_units
from benchsuite.economics.hourly import Ownership, hourly_cost, natural_mode
from benchsuite.economics.prices import GENAI, PriceBook, genai_price
from benchsuite.economics.tco import (
    SelfHost,
    TokenMix,
    api_month_usd,
    blended_usd_per_1m,
    break_even,
    capacity_tokens_per_month,
    npv_usd,
    payback_months,
    require,
)
from benchsuite.errors import PriceError
from benchsuite.report.words import number


@dataclasses.dataclass(frozen=True, slots=True)
class _Own:
    """What the flags or the measurement say about the own side. tok_s: within the SLO, None if not known."""

    usd_per_hour: float
    gpus: int
    source: str
    as_of: str | None
    name: str
    tok_s: float | None
    input_ratio: float | None
    tokens_per_request: float | None
    level: str | None
    owned: Ownership | None


def compare(book: PriceBook, flags: dict[str, Any]) -> dict[str, Any]:
    """The comparison as plain data; `own` is None where no measured level meets the SLO. Raises InputError."""
    from benchsuite.cli.price_flags import age_warnings

    api = _api(book, flags)
    own = _own(book, flags)
    if isinstance(own, str):
        return {"own": None, "reason": own, "api": _api_plain(api, None)}
    mix = _mix(api, own, flags)
    host = _host(own, flags)
    per_1m = blended_usd_per_1m(api, mix)
    hours = _hours(own, flags)
    tokens = flags["tokens_per_month"] if hours is None else hours.tokens_per_month(host.hours_per_month)
    api_plain = {**_api_plain(api, per_1m), "input_ratio": mix.input_ratio, "cached_ratio": mix.cached_ratio}
    found: dict[str, Any] = {
        "tokens_per_month": tokens,
        "api": api_plain,
        "own": _own_plain(own, host),
        "break_even": dataclasses.asdict(break_even(per_1m, host)),
        "month": None if tokens is None else _month(api, mix, host, tokens),
        "capital": None if tokens is None else _capital(own, host, tokens, api_month_usd(api, tokens, mix), flags),
        "blends": _blends(own, host, per_1m, tokens, hours, flags),
        "assumptions": _assumptions(own, host, flags),
    }
    return {**found, "warnings": age_warnings((api_plain, found["own"]), flags["today"])}


def _api(book: PriceBook, flags: dict[str, Any]) -> ApiPrice:
    own = [flags[f"api_{kind}_usd_per_1m"] for kind in ("input", "cached", "output")]
    given = [own[0] is not None, own[2] is not None]
    if (flags["api"] is not None) == any(given) or any(given) != all(given):
        ways = "--api NAME, or --api-input-usd-per-1m with --api-output-usd-per-1m"
        raise PriceError("exactly one way to name an API's price", where="--api", given=flags["api"], expected=ways)
    if flags["api"] is None:
        price = ApiPrice("--api-*-usd-per-1m", own[0], own[1], own[2], "--api-*-usd-per-1m", None)
        refuse_small_units(price)
        return price
    if flags["api"].startswith(GENAI):
        import datetime

        return genai_price(flags["api"].removeprefix(GENAI), datetime.datetime.now(datetime.UTC))
    return book.api(flags["api"])


def _own(book: PriceBook, flags: dict[str, Any]) -> _Own | str:
    """A string says why there is no capacity within the SLO."""
    price = None if flags["preset"] is None else book.gpu(flags["preset"])
    if price is not None and flags["usd_per_hour"] is not None:
        raise PriceError("two prices", given="--usd-per-hour and --preset", expected="one of them")
    usd, source, as_of, name = flags["usd_per_hour"], "--usd-per-hour", None, "--usd-per-hour"
    owned = None
    if price is not None:
        usd, source, as_of, name, owned = price.usd_per_hour, price.source, price.as_of, price.name, price.owned
    if owned is not None:  # every hour of the month is paid for here: idleness is in the demand, not in the price
        owned = dataclasses.replace(owned, utilisation=1.0)
        usd = hourly_cost(owned, natural_mode(owned)).usd_per_hour
    gpus = flags["gpus"] or 1
    tok_s, ratio, per_request, level = flags["capacity_tok_s"], None, None, None
    if flags["run"] is not None or flags["points"] is not None:
        from benchsuite.cli import curves

        runs = [] if flags["run"] is None else [flags["run"]]
        curve = curves.only(
            curves.read_curves(runs, flags["points"], flags["slo"], curves.Price(usd, None, flags["gpus"])),
            flags["model"],
        )
        gpus = curve.gpus
        if usd is None and curve.usd_per_hour_total is not None:
            usd, source, name = curve.usd_per_hour_total / gpus, "the run's own price", "run"
        if curve.decision.kind == "none":
            return curve.decision.reason
        point = curve.decision.choice.point
        level = f"{curve.source}, {curve.model} at concurrency {point.concurrency} (SLO {curve.slo})"
        tok_s = tok_s if tok_s is not None else point.total_tok_s
        if point.input_tokens is not None and point.output_tokens:
            both = point.input_tokens + point.output_tokens
            ratio, per_request = point.input_tokens / both, both / point.n_ok
    if usd is None:
        raise PriceError("own GPUs have no price", where="--usd-per-hour", given="nothing", expected="or --preset NAME")
    return _Own(usd, gpus, source, as_of, name, tok_s, ratio, per_request, level, owned)


def _mix(api: ApiPrice, own: _Own, flags: dict[str, Any]) -> TokenMix:
    ratio = flags["input_ratio"] if flags["input_ratio"] is not None else own.input_ratio
    if ratio is None:
        if api.input_usd_per_1m_tokens != api.output_usd_per_1m_tokens or flags["cached_ratio"]:
            expected = "the share of input among all tokens; a measured run tells it"
            raise PriceError(
                "input and output differ in price", where="--input-ratio", given="nothing", expected=expected
            )
        ratio = 0.5  # of no effect: one price for both
    return TokenMix(ratio, flags["cached_ratio"])


def _host(own: _Own, flags: dict[str, Any]) -> SelfHost:
    from benchsuite.economics.blends import fine_tuning_usd_per_month
    from benchsuite.economics.cost import total_usd_per_hour

    hours = flags["hours_per_month"]
    first, again = flags["fine_tune_usd"] or 0.0, flags["retrain_usd_per_year"]
    require("fixed_usd_per_month", flags["fixed_usd_per_month"], 0, float("inf"), "at least 0")
    fixed = flags["fixed_usd_per_month"] + fine_tuning_usd_per_month(first, again, flags["fine_tune_years"])
    capacity = None
    if own.tok_s is not None:
        capacity = capacity_tokens_per_month(own.tok_s, flags["u_max"], hours_per_month=hours)
    usd = total_usd_per_hour(own.usd_per_hour, own.gpus)
    return SelfHost(usd, capacity, flags["energy_usd_per_1m"], fixed, flags["spare"], hours)


def _hours(own: _Own, flags: dict[str, Any]) -> Any:
    """A histogram of tokens per second; None without --hours."""
    path: Path | None = flags["hours"]
    if path is None:
        return None
    if flags["tokens_per_month"] is not None:
        raise PriceError("two demands", given="--hours and --tokens-per-month", expected="one of them")
    from benchsuite.economics.blends import token_hours
    from benchsuite.economics.demand import parse_hours
    from benchsuite.sources import read_text

    per_request = flags["tokens_per_request"] if flags["tokens_per_request"] is not None else own.tokens_per_request
    if per_request is None:
        expected = "tokens of a request, input and output together"
        raise PriceError("requests have no tokens", where="--tokens-per-request", given="nothing", expected=expected)
    return token_hours(parse_hours(read_text(path, "the table of hours"), str(path)), per_request)


def _month(api: ApiPrice, mix: TokenMix, host: SelfHost, tokens: float) -> dict[str, Any]:
    bought, own = api_month_usd(api, tokens, mix), host.month_usd(tokens)
    return {
        "api_usd": bought,
        "own_usd": own,
        "replicas": host.replicas(tokens) + host.spare,
        "saving_usd": bought - own,
        "saving_ratio": 1 - own / bought if bought else None,
        "own_usd_per_1m": own / tokens * 1e6 if tokens else None,
        "needed_tok_s": tokens / host.hours_per_month / 3600,
    }


def _capital(own: _Own, host: SelfHost, tokens: float, bought: float, flags: dict[str, Any]) -> dict[str, Any] | None:
    """Payback and present value; None where nothing is paid at the start."""
    machines = (host.replicas(tokens) + host.spare) * own.gpus
    capex, opex, years = flags["capex_usd"], flags["opex_usd_per_month"], flags["years"]
    if own.owned is not None:
        parts = hourly_cost(own.owned, natural_mode(own.owned)).parts()
        running = sum(parts.values()) - parts["depreciation_usd_per_hour"]
        capex = own.owned.purchase_price / own.owned.fx_per_usd * machines if capex is None else capex
        years = own.owned.years if years is None else years
        if opex is None:
            opex = running * machines * host.hours_per_month + host.fixed_usd_per_month
            opex += host.energy_usd_per_1m * tokens / 1e6
    if capex is None:
        return None
    if opex is None:
        raise PriceError("capital needs what follows it", where="--opex-usd-per-month", given="nothing", expected="USD")
    years = 3.0 if years is None else years
    return {
        "capex_usd": capex,
        "opex_usd_per_month": opex,
        "payback_months": payback_months(capex, bought, opex),
        "npv_usd": npv_usd(capex, bought - opex, flags["discount_rate"], years),
        "discount_rate": flags["discount_rate"],
        "years": years,
    }


def _blends(
    own: _Own, host: SelfHost, per_1m: float, tokens: float | None, hours: Any, flags: dict[str, Any]
) -> dict[str, Any]:
    from benchsuite.economics import blends

    found: dict[str, Any] = {}
    if flags["cache_hit_rate"] is not None:
        if tokens is None:
            raise PriceError(
                "a cache needs a demand", where="--tokens-per-month", given="nothing", expected="or --hours"
            )
        cached = blends.semantic_cache(tokens, flags["cache_hit_rate"], host, flags["hit_usd_per_1m"])
        found["semantic_cache"] = dataclasses.asdict(cached)
    if hours is not None and own.tok_s is not None:
        usable = own.tok_s * flags["u_max"]
        found["own_for_the_peak"] = dataclasses.asdict(blends.own_only(hours, usable, host))
        found["api_overflow"] = dataclasses.asdict(blends.best_overflow(hours, usable, host, per_1m))
        if flags["reserved_usd_per_hour"] is not None:
            reserved = flags["reserved_usd_per_hour"] * own.gpus
            split = blends.base_load(hours, usable, reserved, host.usd_per_hour, hours_per_month=host.hours_per_month)
            found["reserved_base"] = dataclasses.asdict(split)
    elif flags["reserved_usd_per_hour"] is not None:
        expected = "--hours FILE and a capacity"
        raise PriceError("a base load needs a histogram", where="--reserved-usd-per-hour", expected=expected)
    return found


def _api_plain(api: ApiPrice, per_1m: float | None) -> dict[str, Any]:
    return {**dataclasses.asdict(api), "blended_usd_per_1m_tokens": per_1m}


def _own_plain(own: _Own, host: SelfHost) -> dict[str, Any]:
    return {
        "name": own.name,
        "usd_per_hour": own.usd_per_hour,
        "gpus_per_replica": own.gpus,
        "replica_usd_per_month": host.replica_usd_per_month,
        "capacity_tok_s": own.tok_s,
        "capacity_tokens_per_month": host.capacity_tokens_per_month,
        "measured": own.level,
        "source": own.source,
        "as_of": own.as_of,
    }


def _assumptions(own: _Own, host: SelfHost, flags: dict[str, Any]) -> list[str]:
    said = [f"{host.hours_per_month:g} h a month, all paid for, used or not"]
    if own.tok_s is None:
        said.append("capacity not known: one replica is taken as enough at any demand (--capacity-tok-s, or a run)")
    else:
        source = own.level if flags["capacity_tok_s"] is None else "--capacity-tok-s"
        said.append(
            f"a replica serves {number(own.tok_s)} tokens/s, input and output, {flags['u_max']:g} of it used: {source}"
        )
    said.append(f"{host.spare} spare replicas; {host.fixed_usd_per_month:,.2f} USD a month at any demand")
    said.append(f"energy on top of the hour: {host.energy_usd_per_1m:g} USD/1M tokens")
    if own.owned is not None:
        said += hourly_cost(own.owned, natural_mode(own.owned)).assumptions
    return said
