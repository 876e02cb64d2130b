"""`benchsuite compare-api`: what a month costs at an API and on own GPUs, and from which demand on own is cheaper."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchsuite.economics.api_vs_own import (
    Scenario,
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
from benchsuite.economics.gpu_hour import Ownership, hourly_cost, natural_mode
from benchsuite.economics.prices import GENAI, ApiPrice, PriceBook, genai_price, refuse_other_units
from benchsuite.errors import PriceError
from benchsuite.report.console import plain, say
from benchsuite.report.format import DASH, number, percent, usd


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
    from benchsuite.cli.options import age_warnings

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
        refuse_other_units(price)
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
        from benchsuite.cli.options import read_judgements
        from benchsuite.report.judge import PriceOverride, select_model

        runs = [] if flags["run"] is None else [flags["run"]]
        judgements = read_judgements(runs, flags["points"], flags["slo"], PriceOverride(usd, flags["gpus"]))
        judgement = select_model(judgements, flags["model"])
        gpus = judgement.gpus
        if usd is None and judgement.usd_per_hour is not None:
            usd, source, name = judgement.usd_per_hour, "the run's own price", "run"
        if judgement.best is None:
            return judgement.decision.reason
        point = judgement.best.point
        level = f"{judgement.source}, {judgement.model} at concurrency {point.concurrency} (SLO {judgement.slo})"
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
    from benchsuite.economics.api_vs_own import fine_tuning_usd_per_month
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
    from benchsuite.economics.api_vs_own import token_hours
    from benchsuite.economics.capacity import parse_hours
    from benchsuite.input_files import read_text

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
        capex = own.owned.purchase_price / own.owned.currency_per_usd * machines if capex is None else capex
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
    from benchsuite.economics import api_vs_own

    found: dict[str, Any] = {}
    if flags["cache_hit_rate"] is not None:
        if tokens is None:
            raise PriceError(
                "a cache needs a demand", where="--tokens-per-month", given="nothing", expected="or --hours"
            )
        cached = api_vs_own.semantic_cache(tokens, flags["cache_hit_rate"], host, flags["hit_usd_per_1m"])
        found["semantic_cache"] = dataclasses.asdict(cached)
    if hours is not None and own.tok_s is not None:
        usable = own.tok_s * flags["u_max"]
        found["own_for_the_peak"] = dataclasses.asdict(api_vs_own.own_only(hours, usable, host))
        found["api_overflow"] = dataclasses.asdict(api_vs_own.best_overflow(hours, usable, host, per_1m))
        if flags["reserved_usd_per_hour"] is not None:
            reserved = flags["reserved_usd_per_hour"] * own.gpus
            split = api_vs_own.base_load(
                hours, usable, reserved, host.usd_per_hour, hours_per_month=host.hours_per_month
            )
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


_SHOWN_INTERVALS = 4


def show_scenarios(scenarios: Sequence[Scenario], as_json: bool) -> None:
    """Each figure as it is, and as it was printed."""
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in scenarios], indent=2))
        return
    console = Console()
    table = Table(title="A month, as computed and as printed", title_justify="left", box=None, pad_edge=False)
    for name in ("scenario", "tokens", "", "computed", "printed"):
        table.add_column(name, justify="left" if name in ("scenario", "") else "right", no_wrap=True)
    for one in scenarios:
        rows = (
            ("API", money(one.api_usd), money(one.printed.get("api_usd"))),
            ("own", money(one.own_usd), money(one.printed.get("own_usd"))),
            ("own saves", percent(one.saving_ratio), percent(one.printed.get("saving_ratio"))),
            ("break-even", f"{tokens_text(one.break_even_tokens)} tokens", DASH),
        )
        for i, row in enumerate(rows):
            table.add_row(*((plain(one.name), tokens_text(one.tokens_per_month)) if i == 0 else ("", "")), *row)
    console.print(table)
    for one in scenarios:
        say(console, f"{one.name} ({one.what}): {one.why}", indent=2)


def show_apis(prices: Sequence[ApiPrice], as_json: bool) -> None:
    """All prices of APIs by name."""
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(price) for price in prices], indent=2))
        return
    title = "API prices, US dollars per 1,000,000 tokens (not verified against vendors)"
    console = Console()
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("api", "input", "cached", "output", "as of", "source"):
        number_column = name in ("input", "cached", "output")
        table.add_column(name, justify="right" if number_column else "left", no_wrap=True)
    sources = list(dict.fromkeys(one.source for one in prices))
    for one in prices:
        cached = one.cached_input_usd_per_1m_tokens
        table.add_row(
            plain(one.name),
            f"{one.input_usd_per_1m_tokens:g}",
            DASH if cached is None else f"{cached:g}",
            f"{one.output_usd_per_1m_tokens:g}",
            one.as_of or DASH,
            str(sources.index(one.source) + 1),
        )
    console.print(table)
    for i, source in enumerate(sources, 1):
        say(console, f"source {i}: {source}", indent=4)
    for one in prices:
        if one.note:
            say(console, f"{one.name}: {one.note}", style="dim", indent=2)


def show_comparison(found: dict[str, Any]) -> None:
    """Both months, break-even, capital, blends, and everything that went in."""
    console = Console()
    if found["own"] is None:
        say(console, found["reason"])
        return
    api, own, month = found["api"], found["own"], found["month"]
    table = Table(title="API or own", title_justify="left", box=None, pad_edge=False)
    for name in ("", "API", "own"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("price", f"{usd(api['blended_usd_per_1m_tokens'])}/1M", f"{usd(own['usd_per_hour'])} per GPU-hour")
    gpus = own["gpus_per_replica"]
    replica = f"{gpus} GPU{'s' * (gpus != 1)}: {money(own['replica_usd_per_month'])}"
    table.add_row("one replica's month", DASH, replica)
    table.add_row("its capacity a month", DASH, tokens_text(own["capacity_tokens_per_month"]))
    if month is not None:
        table.add_row(
            "tokens a month",
            tokens_text(found["tokens_per_month"]),
            f"{month['replicas']} replica{'s' * (month['replicas'] != 1)}",
        )
        table.add_row("the month", money(month["api_usd"]), money(month["own_usd"]), style="bold")
        table.add_row("per 1M tokens", usd(api["blended_usd_per_1m_tokens"]), usd(month["own_usd_per_1m"]))
    console.print(table)
    if month is not None:
        saves, ratio = month["saving_usd"], month["saving_ratio"]
        verb = f"own saves {money(saves)}" if saves > 0 else f"own costs {money(-saves)} more"
        say(console, f"{verb} a month ({percent(ratio and abs(ratio))} of the API's)", style="bold")
    say(console, "own is cheaper " + _break_even_text(found["break_even"]), style="bold")
    if found["capital"] is not None:
        _say_capital(console, found["capital"])
    _say_blends(console, found["blends"])
    for price in (api, own):
        dated = price["as_of"] or "no date"
        say(console, f"price {price['name']}: {price['source']}; {dated}", style="dim")
    for text in found["assumptions"]:
        say(console, text, style="dim", indent=2)
    for text in found["warnings"]:
        say(console, f"warning {text}", style="yellow", indent=2)


def _break_even_text(found: dict[str, Any]) -> str:
    intervals = found["intervals"]
    if not intervals:
        return str(found["reason"])
    said = []
    for one in intervals[:_SHOWN_INTERVALS]:
        end = "on" if one["high"] is None else f"to {tokens_text(one['high'])}"
        said.append(f"from {tokens_text(one['low'])} {end}")
    if len(intervals) > _SHOWN_INTERVALS:
        said.append(f"in {len(intervals) - _SHOWN_INTERVALS - 1} more ranges")
        last = intervals[-1]
        said.append(f"from {tokens_text(last['low'])} {'on' if last['high'] is None else ''}".rstrip())
    reason = f" ({found['reason']})" if found["reason"] else ""
    return f"{', '.join(said)} tokens a month{reason}"


def _say_capital(console: Console, capital: dict[str, Any]) -> None:
    months = capital["payback_months"]
    back = "never pays back" if months is None else f"pays back in {number(months)} months"
    say(
        console,
        f"{money(capital['capex_usd'])} at the start and {money(capital['opex_usd_per_month'])} a month {back}; "
        f"present value {money(capital['npv_usd'])} over {capital['years']:g} years at "
        f"{percent(capital['discount_rate'])} a year",
    )


def _say_blends(console: Console, blends: dict[str, Any]) -> None:
    if cache := blends.get("semantic_cache"):
        replicas = f"{cache['replicas_without']} to {cache['replicas_with']} replicas"
        say(console, f"with the cache: {replicas}, {money(cache['usd_without'])} to {money(cache['usd_with'])} a month")
    if peak := blends.get("own_for_the_peak"):
        say(console, f"own GPUs alone for the busiest hour: {peak['replicas']} replicas, {money(peak['usd'])} a month")
    if over := blends.get("api_overflow"):
        share = percent(over["overflow_ratio"])
        say(console, f"cheapest blend: {over['replicas']} replicas, {share} to the API: {money(over['usd'])} a month")
    if base := blends.get("reserved_base"):
        beside = f"{base['peak_replica_hours']:,.0f} replica-hours beside them"
        say(console, f"cheapest rent: {base['reserved']} reserved replicas and {beside}: {money(base['usd'])} a month")


def money(value: float | None) -> str:
    """Dollars to the cent, with the sign in front; missing is an en dash."""
    if value is None:
        return DASH
    return f"{'-' if value < 0 else ''}${abs(value):,.2f}"


def tokens_text(value: float | None) -> str:
    """1.5 M, 48.4 M, 1,234 M."""
    return DASH if value is None else f"{number(value / 1e6)} M"


NOT_MET = 3  # exit code: measured, but no level meets the SLO


@click.command(
    epilog="""\b
Examples:
  benchsuite compare-api --api article/gpt-4 --preset h100-low --capacity-tok-s 100 --tokens-per-month 30e6
  benchsuite compare-api results/mine --api openai/gpt-4o-mini --tokens-per-month 2e9 --preset h100-low
  benchsuite compare-api --points docs/examples/paper_table4.csv --model Qwen3-30B --api openrouter/qwen3-30b-a3b \\
      --preset a800-owned --gpus 2 --tokens-per-month 2e9
  benchsuite compare-api --scenarios docs/examples/article_scenarios.toml
"""
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of a run folder.")
@click.option("--model", help="The model of the table.")
@click.option("--slo", help="Only capacity that meets it counts.  [default: the run's]")
@click.option("--api", help="A price by name (--list-apis), or genai:PROVIDER/MODEL from the package genai-prices.")
@click.option("--api-input-usd-per-1m", type=float, help="The API's price of 1,000,000 input tokens.")
@click.option("--api-cached-usd-per-1m", type=float, help="Of cached input tokens.  [default: as input]")
@click.option("--api-output-usd-per-1m", type=float, help="Of output tokens.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your prices: TOML, or LiteLLM's JSON (per token).")
@click.option("--tokens-per-month", type=float, help="Demand, input and output together.")
@click.option("--hours", type=click.Path(path_type=Path), help="Demand: CSV with a column `requests`, a line an hour.")
@click.option("--tokens-per-request", type=float, help="For --hours.  [default: as measured]")
@click.option("--input-ratio", type=float, help="Share of the tokens that are input.  [default: as measured]")
@click.option("--cached-ratio", type=float, default=0.0, show_default=True, help="Share of the input that is cached.")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour.  [default: the run's]")
@click.option("--preset", help="A price by name; see `benchsuite cost --list-presets`.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of a replica.  [default: the run's, or 1]")
@click.option("--capacity-tok-s", type=float, help="What a replica serves within the SLO, input and output together.")
@click.option("--u-max", type=float, default=0.8, show_default=True, help="Share of that capacity to count on.")
@click.option("--spare", type=click.IntRange(min=0), default=0, show_default=True, help="Replicas beside those needed.")
@click.option("--energy-usd-per-1m", type=float, default=0.0, show_default=True, help="Per token, on top of the hour.")
@click.option("--fixed-usd-per-month", type=float, default=0.0, show_default=True, help="Own costs at any demand.")
@click.option("--hours-per-month", type=float, default=730.0, show_default=True, help="Hours paid for in a month.")
@click.option("--capex-usd", type=float, help="Paid at the start.  [default: an owned preset's price]")
@click.option("--opex-usd-per-month", type=float, help="Then per month.  [default: an owned preset's]")
@click.option("--discount-rate", type=float, default=0.08, show_default=True, help="Per year, for the present value.")
@click.option("--years", type=float, help="For the present value.  [default: an owned preset's life, or 3]")
@click.option("--cache-hit-rate", type=float, help="Blend: share of requests that a semantic cache answers.")
@click.option(
    "--hit-usd-per-1m", type=float, default=0.0, show_default=True, help="What a cached answer's tokens cost."
)
@click.option("--reserved-usd-per-hour", type=float, help="Blend: a reserved GPU for the base load (with --hours).")
@click.option("--fine-tune-usd", type=float, help="Blend: what fine-tuning costs at the start.")
@click.option("--retrain-usd-per-year", type=float, default=0.0, show_default=True, help="And every year.")
@click.option("--fine-tune-years", type=float, default=1.0, show_default=True, help="Life of the fine-tuned model.")
@click.option("--scenarios", type=click.Path(path_type=Path), help="Work out a file of scenarios instead.")
@click.option("--list-apis", is_flag=True, help="Show the prices of APIs with source and date.")
@click.option("--today", help="Day to which the age of prices is counted, 2026-11-21.  [default: today]")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(scenarios: Path | None, list_apis: bool, as_json: bool, **flags: Any) -> int:
    """API or own GPUs: both months, break-even on the staircase of replicas, payback, and blends of both."""

    if scenarios is not None:
        from benchsuite.economics.api_vs_own import parse_scenarios
        from benchsuite.input_files import read_text

        show_scenarios(parse_scenarios(read_text(scenarios, "the scenario file"), str(scenarios)), as_json)
        return 0
    from benchsuite.cli.options import read_book

    book = read_book(flags["prices"])
    if list_apis:
        show_apis([*book.apis.values()], as_json)
        return 0

    found = compare(book, flags)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show_comparison(found)
    return NOT_MET if found["own"] is None else 0
