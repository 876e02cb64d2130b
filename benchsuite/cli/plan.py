"""`benchsuite plan`: one demand, any number of candidates (measured machines, APIs, blends), one table of months."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import NOT_MET, PATH, json_option, levels_csv_option, price_options, slo_option

if TYPE_CHECKING:
    from benchsuite.economics.plan import Plan


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
@click.option("--concurrency", type=int, help="Level to run a replica at.  [default: the recommended one]")
@click.option(
    "--api", "apis", multiple=True, help="An API by its price (--list-apis), or genai:PROVIDER/MODEL; repeatable."
)
@click.option("--requests-per-day", type=float, help="Demand: requests a day on average.")
@click.option("--tokens-per-month", type=float, help="Demand: input and output tokens in 730 hours.")
@click.option("--users", type=float, help="Demand: users at once, at the peak.")
@click.option("--think-time-s", type=float, help="A user's pause before the next request.")
@click.option("--demand-csv", type=PATH, help="Demand: CSV with a column `requests`, a line an hour.")
@click.option("--peak-factor", type=float, help="Busiest hour over the mean.  [default: 3; measured with --demand-csv]")
@click.option("--batch", is_flag=True, help="Nobody waits: the demand is flat round the clock, no spare replica.")
@click.option("--input-tokens", type=float, help="Of a request.  [default: as measured]")
@click.option("--output-tokens", type=float, help="Of a request.  [default: as measured]")
@click.option("--input-ratio", type=float, help="Share of input in the measured tokens of a request, instead.")
@click.option("--growth", type=float, help="Growth of the demand a year (0.5: half as much again), by --in-months.")
@click.option("--in-months", type=float, help="Size for the demand in so many months.  [default: 12 with --growth]")
@click.option("--target-utilization", type=float, help="Share of a replica's measured rate to use.  [default: 0.8]")
@click.option("--spare-replicas", type=int, help="Beyond those that carry the peak.  [default: 1; 0 with --batch]")
@click.option(
    "--balancing", type=click.Choice(["least-connections", "round-robin", "random"]),
    help="How requests are spread over replicas.  [default: least-connections]",
)  # fmt: skip
@click.option("--cache-hit-rate", type=float, help="Share of requests that a cache in front answers, on both sides.")
@click.option("--config", type=PATH, help="The whole question as TOML (see --init) instead of flags.")
@click.option("--init", "show_sample", is_flag=True, help="Print a commented plan.toml.")
@click.option("--list-apis", is_flag=True, help="Show the prices of APIs with source and date.")
@click.option("--as-of", help="Day to which the age of prices is counted, 2026-11-21.  [default: today]")
@json_option
def command(
    config: Path | None, show_sample: bool, list_apis: bool, as_of: str | None, as_json: bool, **flags: Any
) -> int:
    """Replicas, GPUs and $ a month for a demand: rent, buy, an API or both; what it hangs on, and how sure."""
    from benchsuite.api import answer_plan, price_book
    from benchsuite.cli.options import age_warnings
    from benchsuite.economics.plan import Own
    from benchsuite.economics.plan_file import SAMPLE, from_flags, parse_plan_file
    from benchsuite.input_files import read_text

    if show_sample:
        click.echo(SAMPLE, nl=False)
        return 0
    book = price_book(flags["price"].pop("prices"))
    if list_apis:
        return _show_apis(list(book.apis.values()), as_json)
    if config is None:
        asked = from_flags(flags | flags.pop("price"))
    else:
        asked = parse_plan_file(read_text(config, "the plan"), str(config))
    found, candidates = answer_plan(asked, book, Path() if config is None else config.parent)
    warnings = age_warnings([one if isinstance(one, Own) else one.price for one in candidates], as_of)
    if as_json:
        tree = dataclasses.asdict(found) | {"peak_per_s": found.demand.peak_per_s, "warnings": warnings}
        click.echo(json.dumps(tree, indent=2))
    else:
        _print(found, warnings)
    return 0 if found.winner is not None else NOT_MET


def _print(found: Plan, warnings: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import plain, say
    from benchsuite.report.format import DASH, count, ms, number, percent

    console = Console()
    say(console, _sentence(found), style="bold green" if found.winner else "bold red", indent=2)
    table = Table(box=None, pad_edge=False)
    for head in ("candidate", "replicas", "GPUs", "$ a month", "$/1M", "SLO", "P(best)"):
        table.add_column(head, justify="left" if head in ("candidate", "SLO") else "right", overflow="fold")
    for row in found.rows:
        month = DASH if row.usd_per_month is None else f"${row.usd_per_month:,.0f}"
        if row.usd_low is not None and row.usd_high is not None and row.usd_low != row.usd_high:
            month += f"\n[{row.usd_low:,.0f}, {row.usd_high:,.0f}]"
        table.add_row(
            plain(row.name),
            count(row.replicas),
            count(row.gpus),
            month,
            DASH if row.usd_per_1m_tokens is None else f"${row.usd_per_1m_tokens:.3g}",
            row.slo,
            percent(row.p_cheapest),
            style="bold" if row.name == found.winner else "",
        )
    console.print(table)
    for row in found.rows:
        if row.p_slo is not None and row.kind == "own":
            at = f"{row.concurrency} in flight on a replica at most; at the peak {percent(row.p_slo)} find the SLO kept"
            speed = f"TTFT {ms(row.ttft_s)} ms, {number(row.tok_s_per_user)} tok/s/user"
            say(console, f"{row.name}: {at}, {speed}; {percent(row.utilization)} of the fleet used", indent=2)
        if row.break_even_requests_per_day is not None:
            from_ = f"{row.break_even_requests_per_day:,.0f} requests a day"
            say(console, f"{row.name}: cheaper than the cheapest API from {from_} of this shape", indent=2)
    for text in found.hangs_on:
        say(console, f"it hangs on: {text} is then the cheapest", indent=2)
    for row in found.rows:
        if row.npv_usd is not None:
            back = "does not pay back within the machines' life" if row.payback_months is None else (
                f"pays back in {number(row.payback_months)} months"
            )  # fmt: skip
            say(console, f"{row.name}: bought, it {back}; present value {row.npv_usd:,.0f} USD", indent=2)
        for note in row.notes:
            say(console, f"{row.name}: {note}", style="yellow", indent=2)
    for text in warnings:
        say(console, f"warning {text}", style="yellow", indent=2)
    say(console, "assumed: " + "; ".join(found.assumptions), style="dim")


def _sentence(found: Plan) -> str:
    peak = f"the busiest hour has {found.demand.peak_per_s:.3g} requests/s"
    if found.winner is None:
        return f"no candidate meets the SLO at this demand; {peak}"
    best = next(row for row in found.rows if row.name == found.winner)
    sure = "no interval says how sure" if found.p_winner is None else f"the cheapest in {found.p_winner:.0%} of draws"
    how = "" if best.replicas is None else f": {best.replicas} replica{'s' * (best.replicas != 1)} ({best.gpus} GPUs)"
    slo = "" if best.slo == "met" else f"; its SLO is {best.slo}"
    return f"{best.name}{how}, ${best.usd_per_month:,.0f} a month, {sure}{slo}; {peak}"


def _show_apis(prices: Sequence[Any], as_json: bool) -> int:
    """All prices of APIs by name."""
    if as_json:
        click.echo(json.dumps([price.model_dump() for price in prices], indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import plain, say
    from benchsuite.report.format import DASH

    console = Console()
    title = "API prices, US dollars per 1,000,000 tokens (not verified against vendors)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("api", "input", "cached", "output", "as of", "source"):
        table.add_column(name, justify="right" if name in ("input", "cached", "output") else "left", no_wrap=True)
    sources = list(dict.fromkeys(one.source for one in prices))
    for one in prices:
        cached = one.cached_input_usd_per_1m_tokens
        usd = (
            f"{one.input_usd_per_1m_tokens:g}",
            DASH if cached is None else f"{cached:g}",
            f"{one.output_usd_per_1m_tokens:g}",
        )
        table.add_row(plain(one.name), *usd, one.as_of or DASH, str(sources.index(one.source) + 1))
    console.print(table)
    for i, source in enumerate(sources, 1):
        say(console, f"source {i}: {source}", indent=4)
    for one in prices:
        if one.note:
            say(console, f"{one.name}: {one.note}", style="dim", indent=2)
    return 0
