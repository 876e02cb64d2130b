"""`benchsuite plan`: one demand, any number of candidates (measured machines, APIs, blends), one table of months."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    NOT_MET,
    PATH,
    UNDECIDED,
    age_warnings,
    as_of_option,
    given,
    json_option,
    levels_csv_option,
    price_options,
    print_json,
    slo_option,
)
from benchsuite.cli.spec_options import model_options
from benchsuite.level import as_plain

if TYPE_CHECKING:
    from benchsuite.economics.plan import Plan, Row

_BALANCING = {
    "least-connections": "new requests go to the replica with the fewest in flight",
    "round-robin": "requests go to the replicas in turn",
    "random": "requests go to replicas at random",
}


@click.command(
    epilog="""\b
Examples:
  benchsuite plan results/mine --requests-per-day 50000 --usd-per-hour 1.99 --gpus 2 --slo "ttft_p95<800ms" \\
      --api openai/gpt-4o-mini
  benchsuite plan --levels-csv docs/examples/paper_table4.csv --model Qwen3-30B --usd-per-hour 0.787 --gpus 2 \\
      --tokens-per-month 6e9 --api openrouter/qwen3-30b-a3b
  benchsuite plan --init > plan.toml && benchsuite plan --config plan.toml
"""
)
@click.argument("runs", nargs=-1, type=PATH)
@levels_csv_option
@click.option("--model", help="The model of the table.")
@slo_option()
@price_options()
@click.option(
    "--api", "apis", multiple=True, help="An API by its price (--list-apis), or genai:PROVIDER/MODEL; repeatable."
)
@model_options("DemandTable", "Fleet", "MachineTerms", "ApiTerms", "Extras")
@click.option("--config", type=PATH, help="The whole question as TOML (see --init) instead of flags.")
@click.option("--init", "show_sample", is_flag=True, help="Print a commented plan.toml.")
@click.option("--list-apis", is_flag=True, help="Show the prices of APIs with source and date.")
@as_of_option
@json_option
def command(
    runs: tuple[Path, ...], show_sample: bool, list_apis: bool, as_of: str | None, as_json: bool,
    price: dict[str, Any], **flags: Any,
) -> int:  # fmt: skip
    """Replicas, GPUs and $ a month for a demand: rent, buy, an API or both; with sensitivity and certainty."""
    from benchsuite.api import plan, price_book
    from benchsuite.cli.cost import print_prices
    from benchsuite.economics.prices import bundled

    if show_sample:
        click.echo(bundled("plan.toml"), nl=False)
        return 0
    if list_apis:
        apis = [*price_book(price["prices"]).apis.values()]
        if as_json:
            print_json(apis)
        else:
            keys = [f"{kind}_usd_per_1m_tokens" for kind in ("input", "cached_input", "output")]
            title = "API prices, US dollars per 1,000,000 tokens (not verified against vendors)"
            print_prices(apis, ("api", "input", "cached", "output"), keys, "g", title)
        return 0
    found = plan(*runs, **given(flags | price))
    warnings = age_warnings(found.prices, as_of)
    if as_json:
        print_json(as_plain(found) | {"peak_per_s": found.demand.peak_per_s, "warnings": warnings})
    else:
        _print(found, warnings)
    if found.winner is None:
        return NOT_MET
    return 0 if all(row.slo == "met" for row in found.rows if row.name == found.winner) else UNDECIDED


def _print(found: Plan, warnings: Sequence[str]) -> None:
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import DASH, count, percent

    console = Console()
    say(console, _sentence(found), style="bold green" if found.winner else "bold red", indent=2)
    sure = any(row.p_cheapest is not None for row in found.rows)
    rows = [
        (
            row.name, count(row.replicas), count(row.gpus), _month(row),
            DASH if row.usd_per_1m_tokens is None else f"${row.usd_per_1m_tokens:.3g}", row.slo,
            *([percent(row.p_cheapest)] if sure else ()),
        )
        for row in found.rows
    ]  # fmt: skip
    heads = ("candidate", "replicas", "GPUs", "$ a month", "$/1M", "SLO", *(["P(best)"] if sure else ()))
    styles = ["bold" if row.name == found.winner else "" for row in found.rows]
    console.print(table(console, heads, rows, left=("candidate", "SLO"), styles=styles))
    with_api = any(row.kind == "API" for row in found.rows)
    for text, names in _by_text((row.name, _row_lines(row, with_api)) for row in found.rows).items():
        say(console, f"{', '.join(names)}: {text}", indent=2)
    for change, name in found.hangs_on.items():
        say(console, f"it depends on: {change}: {name} is then the cheapest", indent=2)
    for text, names in _by_text((row.name, row.notes) for row in found.rows).items():
        say(console, f"{', '.join(names)}: {text}", style="yellow", indent=2)
    if found.models:
        text = f"{', '.join(found.models)} are different models: only cost is compared, not answers"
        say(console, text, style="yellow", indent=2)
    for text in warnings:
        say(console, f"warning {text}", style="yellow", indent=2)
    say(console, "assumed: " + "; ".join(_assumptions(found)), style="dim")


def _by_text(lines: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Candidates by what is said of them, so that what holds for several is said once."""
    found: dict[str, list[str]] = {}
    for name, texts in lines:
        for text in texts:
            found.setdefault(text, []).append(name)
    return found


def _month(row: Row) -> str:
    from benchsuite.report.format import DASH

    month = DASH if row.usd_per_month is None else f"${row.usd_per_month:,.0f}"
    if row.usd_low is None or row.usd_high is None or row.usd_low == row.usd_high:
        return month
    return f"{month}\n[{row.usd_low:,.0f}, {row.usd_high:,.0f}]"


def _row_lines(row: Row, with_api: bool) -> list[str]:
    from benchsuite.report.format import ms, number, percent

    lines = []
    if row.p_slo is not None and row.kind == "own":
        lines.append(
            f"at the peak {percent(row.p_slo)} of the arrivals find level {row.level} or less, TTFT {ms(row.ttft_s)} ms"
            f" and {number(row.tok_s_per_user)} tok/s/user; utilization {percent(row.utilization)}"
        )
    if row.break_even_requests_per_day is not None:
        start = f"{row.break_even_requests_per_day:,.0f} requests a day"
        lines.append(f"cheaper than the cheapest API from {start} with this profile")
    elif with_api and row.kind == "own" and row.usd_per_month is not None:
        lines.append("never cheaper than the cheapest API, at any demand with this profile")
    if row.npv_usd is not None:
        months = row.payback_months
        back = "does not pay back within the machines' life"
        back = back if months is None else f"pays back in {number(months)} months"
        lines.append(f"bought, it {back}; present value {row.npv_usd:,.0f} USD")
    return lines


def _assumptions(found: Plan) -> list[str]:
    fleet, extras = found.fleet, found.extras
    lines = [
        f"demand: {found.demand.words}",
        f"a month has {fleet.hours_per_month:g} hours, and every replica is paid for all of them",
        f"replicas carry the p99 hour at {fleet.target_utilization:.0%} of the measured rate at most, "
        f"with a reserve of {fleet.spare_replicas} more; {_BALANCING[fleet.balancing]}",
        "in flight by a birth-death chain of measured levels, arrivals at random; TTFT 1.35 times the closed loop's",
    ]
    if extras.cache_hit_rate:
        lines.append(
            f"a cache answers {extras.cache_hit_rate:.0%} of requests, for every candidate; false hits are not counted"
        )
    if extras.training_usd_per_month:
        lines.append(f"training: {extras.training_usd_per_month:,.2f} USD a month, on both sides")
    return lines


def _sentence(found: Plan) -> str:
    from benchsuite.report.format import number

    peak = f"the busiest hour has {number(found.demand.peak_per_s)} requests/s"
    if found.winner is None:
        return f"no candidate meets the SLO at this demand; {peak}"
    best = next(row for row in found.rows if row.name == found.winner)
    sure = "without an interval" if found.p_winner is None else f"the cheapest in {found.p_winner:.0%} of draws"
    text = f"{_priced(best)}, {sure}"
    rated = [row for row in found.rows if row.usd_per_month is not None and row.slo in ("met", "undecided")]
    if best.slo != "met":
        text += f", its SLO {best.slo}"
        if rated and best not in rated:
            text += f"; cheapest one measured: {_priced(rated[0])}, its SLO {rated[0].slo}"
    return f"{text}; {peak}"


def _priced(row: Row) -> str:
    how = "" if row.replicas is None else f": {row.replicas} replica{'s' * (row.replicas != 1)} ({row.gpus} GPUs)"
    return f"{row.name}{how}, ${row.usd_per_month:,.0f} a month"
