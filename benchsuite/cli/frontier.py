"""`benchsuite frontier`: which models are worth their money, each at its own optimum."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import PATH, exit_code, json_option, judging_options, print_json

if TYPE_CHECKING:
    from benchsuite.economics.pareto import ParetoPoint
    from benchsuite.report.judge import Judgement
    from benchsuite.warning_table import Finding


@click.command(
    epilog="""\b
Examples:
  benchsuite frontier --levels-csv docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58
  benchsuite frontier results/a results/b --scores scores.csv --json

\b
Scores: CSV with model, score, and where known params_b, n (items behind a score in percent);
or a line per model and item: model, item, score from 0 to 1.
"""
)
@judging_options()
@click.option("--scores", type=PATH, required=True, help="A CSV table of the models' scores.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws behind the probabilities."
)
@click.option("--svg", type=PATH, help="Write the picture: bubbles as large as the models.")
@json_option
def command(
    asked: dict[str, Any], price: dict[str, Any], scores: Path, seed: int, svg: Path | None, as_json: bool
) -> int:
    """Who is dominated, by whom, and how sure that is: cost at each model's optimum against its score."""
    from benchsuite.api import decide, price_override
    from benchsuite.input_files import read_text
    from benchsuite.report.compare_models import place_models, require_price
    from benchsuite.report.judge import check_comparable

    judgements = decide(*asked.pop("runs"), **asked, **price)
    require_price(judgements)
    differences = check_comparable(judgements)
    placed = place_models(judgements, read_text(scores, "the table of scores"), str(scores), seed)
    if svg is not None:
        _write_picture(svg, placed)
    if as_json:
        for text in differences:
            click.echo(f"warning: {text}", err=True)
        print_json([_plain(one, judgements) for one in placed])
    else:
        _print(placed, judgements, price_override(**price).source, differences)
    placed_on = {one.model for one in placed if one.on_frontier}
    return exit_code(one.decision.verdict for one in judgements if one.model in placed_on or not placed_on)


def _write_picture(path: Path, placed: list[ParetoPoint]) -> None:
    from benchsuite.errors import InputError
    from benchsuite.report.charts import standalone
    from benchsuite.report.charts_special import frontier_chart

    chart = standalone(frontier_chart(placed, title="Cost at each model's optimum against its score"))
    try:
        path.write_text(chart, "utf-8")
    except OSError as error:
        raise InputError("the picture cannot be written", where="--svg", given=error) from None


def _plain(one: ParetoPoint, judgements: list[Judgement]) -> dict[str, Any]:
    return dataclasses.asdict(one) | {
        "warnings": [f"{w.code}: {w.finding}; {w.remedy}" for w in _warnings(one, judgements)]
    }


def _warnings(one: ParetoPoint, judgements: list[Judgement]) -> list[Finding]:
    """What is said against the level that stands for the model."""
    best = next((judgement.best for judgement in judgements if judgement.model == one.model), None)
    return [] if best is None else list(best.point.warnings)


def _print(placed: list[ParetoPoint], judgements: list[Judgement], price: str, differences: list[str]) -> None:
    from rich.console import Console

    from benchsuite.report.compare_models import frontier_table
    from benchsuite.report.console import say, table
    from benchsuite.report.format import usd

    console = Console()
    heads, rows = frontier_table(placed)
    styles = ["bold green" if one.on_frontier else "" if one.on_frontier is False else "dim" for one in placed]
    title = "Cost at each model's optimum against its score"
    console.print(
        table(console, heads, rows, left=("model", "on frontier", "dominated by"), styles=styles, title=title)
    )
    for reason in dict.fromkeys(one.p_reason for one in placed if one.p_reason):
        say(console, f"no P: {reason}", indent=2)
    for text in dict.fromkeys(text for one in placed if not one.p_reason for text in one.held_fixed):
        say(console, f"taken as exact where so: {text}", indent=2)
    for text in differences:
        say(console, f"warning {text}", style="yellow", indent=2)
    for one in placed:
        for warn in _warnings(one, judgements):
            text = f"warning {warn.code} {one.model} at {one.concurrency}: {warn.finding}; {warn.remedy}"
            say(console, text, style="yellow", indent=2)
    hourly = ", ".join(sorted({usd(judgement.usd_per_hour_total) for judgement in judgements}))
    said = f"assumed: {hourly} an hour for the machine, {price}; SLO {judgements[0].slo}; optima held fixed"
    say(console, said, style="dim")
