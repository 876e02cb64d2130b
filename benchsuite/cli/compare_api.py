"""`benchsuite compare-api`: what a month costs at an API and on own GPUs, and from which demand on own is cheaper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

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
    from benchsuite.cli import api_views as views

    if scenarios is not None:
        from benchsuite.economics.scenarios import parse_scenarios
        from benchsuite.sources import read_text

        views.show_scenarios(parse_scenarios(read_text(scenarios, "the scenarios"), str(scenarios)), as_json)
        return 0
    from benchsuite.cli.price_flags import read_book

    book = read_book(flags["prices"])
    if list_apis:
        views.show_apis([*book.apis.values()], as_json)
        return 0
    from benchsuite.cli.api_compare import compare

    found = compare(book, flags)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        views.show_comparison(found)
    return NOT_MET if found["own"] is None else 0
