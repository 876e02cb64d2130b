"""`benchsuite decide`: the cheapest level that meets the SLO, from run folders or from a table of levels.

`benchsuite frontier`: which models are worth their money, each at that level.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import PATH, exit_code, figure_options, json_option, judging_options, print_json, print_line
from benchsuite.level import as_plain

if TYPE_CHECKING:
    from benchsuite.economics.pareto import ParetoPoint
    from benchsuite.report.judge import Judgement
    from benchsuite.report.terminal import Shown
    from benchsuite.warning_table import Finding


@click.command(
    epilog="""\b
Examples:
  benchsuite decide results/RUN --slo "ttft_p95<500ms,output_throughput_per_user>20"
  benchsuite decide results/A results/B --preset h100-low --json
  benchsuite decide --levels-csv docs/examples/paper_table4.csv --usd-per-hour 1.58
  benchsuite decide results/RATES --capacity results/CLOSED_LOOP
""",
)
@judging_options(energy=True, capacity=True)
@figure_options
@json_option
def command(asked: dict[str, Any], price: dict[str, Any], figures: dict[str, Any], as_json: bool) -> int:
    """Judge a measured run again with another SLO or price; no server is needed.

    Exit codes: 0 the level that is named is proven to meet the SLO (of several runs: one is), 6 that is undecided, 3 no
    level meets it, 2 bad input.
    """
    from benchsuite.api import decide
    from benchsuite.report.judge import check_comparable
    from benchsuite.report.terminal import Shown

    shown = Shown.asked(**figures)
    judgements = decide(*asked.pop("runs"), **asked, **price)
    notes = check_comparable(judgements) if len(judgements) > 1 else []
    if as_json:
        print_json([_plain(one) for one in judgements])
    else:
        _print(judgements, notes, shown, each_level=asked["levels_csv"] is None)
    return exit_code(one.decision.verdict for one in judgements)


def _plain(judgement: Judgement) -> dict[str, Any]:
    from benchsuite.report.export import capacity_json, decision_json
    from benchsuite.report.format import headline

    decision, best = judgement.decision, judgement.best
    plain = decision_json(decision)
    optimum = plain["optimum"] or {}
    kind = "rate_per_s" if "rate_per_s" in optimum else "concurrency"
    per_1m = None if best is None else best.intervals.get("usd_per_1m_output_tokens")
    return {
        "model": judgement.model,
        "run": judgement.run_id,
        f"optimum_{kind}": optimum.get(kind),
        "cost_usd": optimum.get("cost_usd"),
        "usd_per_1m_output_tokens": optimum.get("usd_per_1m_output_tokens"),
        "usd_per_1m_output_tokens_low": per_1m.low if per_1m else None,
        "usd_per_1m_output_tokens_high": per_1m.high if per_1m else None,
        "verdict": decision.verdict,
        "sentence": headline(decision, judgement.judged),
        f"cheapest_{kind}": optimum.get(f"cheapest_{kind}"),
        f"proven_{kind}": optimum.get(f"proven_{kind}"),
        "effort": decision.effort,
        "p_opt": decision.p_opt if decision.kind == "optimum" else None,
        "p_by_level": {str(level): p for level, p in decision.p_by_level.items()} or None,
        "p_method": decision.p_method,
        "binding": optimum.get("binding"),
        "runner_up": optimum.get("runner_up"),
        "reason": decision.reason,
        "nearest": (plain["no_feasible"] or {}).get("nearest"),
        "warnings": [warn for one in judgement.judged for warn in one.point.warnings],
        **capacity_json(judgement),
    }


def _label(level: dict[str, Any]) -> str:
    return f"{level['rate_per_s']:g} req/s" if "rate_per_s" in level else str(level.get("concurrency", ""))


def _print(judgements: list[Judgement], notes: list[str], shown: Shown, *, each_level: bool) -> None:
    """A row a model or run; each_level: a row a level of each before it. notes: what differs between them."""
    from benchsuite.report.compare_models import named
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import DASH, cell, head, usd, with_judged
    from benchsuite.report.terminal import final_table, print_warnings

    console = Console()
    judgements = named(judgements)
    if each_level:
        for one in judgements:
            final_table(one, console=console, title=one.name, shown=shown)
            for note in one.capacity_notes:
                say(console, note)
        if len(judgements) == 1:
            return
    limited = shown.columns or with_judged((), [j for one in judgements for j in one.judged])
    rows = [
        (
            one.name,
            "none" if one.best is None else one.best.point.level.label,
            *(DASH if one.best is None else cell(one.best, column, asked=True) for column in limited),
            row["verdict"],
            usd(row["cost_usd"]),
            usd(row["usd_per_1m_output_tokens"]),
            _label(row["runner_up"] or {}),
            row["binding"] or row["reason"],
        )
        for one, row in ((one, _plain(one)) for one in judgements)
    ]
    first = "run" if each_level else "model"
    heads = (first, "optimum", *map(head, limited), "SLO", "$ per run", "$/1M output", "runner-up", "stopped by")
    title = "Cheapest level within the SLO, and its verdict"
    wide = heads[-1:]  # the lines below name the limit
    console.print(table(console, heads, rows, left=(first, "SLO", "stopped by"), title=title, wide=wide))
    for note in notes:
        say(console, note)
    if not each_level:
        for one in judgements:
            say(console, f"{one.model}: {one.decision.reason} ({one.decision.p_method})")
            print_warnings(one.judged, console, one.source, one.decision, everything=shown.verbose)


@click.command(
    epilog="""\b
Examples:
  benchsuite frontier --levels-csv docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58
  benchsuite frontier results/a results/b
  benchsuite frontier results/a results/b --scores scores.csv --json

\b
Scores: CSV with model, score, and where known params_b, n (items behind a score in percent);
or a line per model and item: model, item, score from 0 to 1.
"""
)
@judging_options()
@click.option("--scores", type=PATH, help="A CSV table of the models' scores.  [default: the scores of the runs]")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws for the probabilities."
)
@click.option("--svg", type=PATH, help="Write the chart; the area of a bubble is the size of its model.")
@json_option
def frontier(
    asked: dict[str, Any], price: dict[str, Any], scores: Path | None, seed: int, svg: Path | None, as_json: bool
) -> int:
    """Compare models by cost at their optimum and score: which ones are dominated, and how certain that is.

    The scores are those of the runs' own answers, each at its optimum, or of a table.
    """
    from benchsuite.api import decide, price_override
    from benchsuite.report.charts_special import frontier_chart
    from benchsuite.report.compare_models import named, place_models, require_price
    from benchsuite.report.judge import check_comparable
    from benchsuite.report.page import standalone
    from benchsuite.store.files import write_output
    from benchsuite.strict_model import read_text

    judgements = decide(*asked.pop("runs"), **asked, **price)
    require_price(judgements)
    differences = check_comparable(judgements)
    if scores is None and asked["levels_csv"] is not None:
        raise click.UsageError("A table of levels has no answers: give --scores.")
    text = None if scores is None else read_text(scores, "the table of scores")
    judgements = named(judgements) if text is None else [replace(one, name=one.model or "") for one in judgements]
    placed = place_models(judgements, text, str(scores), seed, differences)
    if svg is not None:
        title = "Cost at each model's optimum against its score"
        write_output(svg, standalone(frontier_chart(placed, title=title)))
    if as_json:
        for text in differences:
            print_line(f"warning: {text}", err=True)
        warned = [[f"{w.code}: {w.finding}; {w.remedy}" for w in _warnings(one, judgements)] for one in placed]
        print_json([as_plain(one) | {"warnings": w} for one, w in zip(placed, warned, strict=True)])
    else:
        _print_frontier(placed, judgements, price_override(**price).source, differences)
    placed_on = {one.model for one in placed if one.on_frontier}
    return exit_code(one.decision.verdict for one in judgements if one.name in placed_on or not placed_on)


def _warnings(one: ParetoPoint, judgements: list[Judgement]) -> list[Finding]:
    """What is said against the level that stands for the model."""
    best = next((judgement.best for judgement in judgements if judgement.name == one.model), None)
    return [] if best is None else list(best.point.warnings)


def _print_frontier(placed: list[ParetoPoint], judgements: list[Judgement], price: str, differences: list[str]) -> None:
    from benchsuite.report.compare_models import frontier_table
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import usd

    console = Console()
    heads, rows = frontier_table(placed)
    styles = ["bold green" if one.on_frontier else "" if one.on_frontier is False else "dim" for one in placed]
    left, title = ("model", "SLO", "on frontier", "dominated by"), "Cost at each model's optimum against its score"
    console.print(table(console, heads, rows, left=left, styles=styles, title=title, wide=("10^9 params",)))
    for reason in dict.fromkeys(one.p_reason for one in placed if one.p_reason):
        say(console, f"no P: {reason}", indent=2)
    for text in dict.fromkeys(text for one in placed if not one.p_reason for text in one.held_fixed):
        say(console, f"no interval, taken as exact: {text}", indent=2)
    for text in differences:
        say(console, f"warning {text}", style="yellow", indent=2)
    for one in placed:
        for warn in _warnings(one, judgements):
            text = f"warning {warn.code} {one.model} at {one.level}: {warn.finding}; {warn.remedy}"
            say(console, text, style="yellow", indent=2)
    hourly = ", ".join(sorted({usd(judgement.usd_per_hour_total) for judgement in judgements}))
    said = f"assumed: {hourly} an hour for the machine, {price}; SLO {judgements[0].slo}; optima held fixed"
    say(console, said, style="dim")
