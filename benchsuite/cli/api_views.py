"""The tables of `compare-api`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchsuite.economics.api_prices import ApiPrice
from benchsuite.economics.scenarios import Scenario
from benchsuite.report.console import plain, say
from benchsuite.report.words import DASH, number, percent, usd

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
