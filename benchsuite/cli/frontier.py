"""`benchsuite frontier`: which models are worth their money, each at its own optimum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.cli.curves import Curve
    from benchsuite.economics.pareto import ModelPoint, ParetoPoint, Score
    from benchsuite.results import Finding

NOT_MET = 3  # exit code: measured, but no model has a place


@click.command(
    epilog="""\b
Examples:
  benchsuite frontier --points docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58
  benchsuite frontier results/a results/b --scores scores.csv --json

\b
Scores: CSV with model, score, and where known params_b, n (items behind a score in percent);
or a line per model and item: model, item, score from 0 to 1.
"""
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of run folders.")
@click.option("--scores", type=click.Path(path_type=Path), required=True, help="A CSV table of the models' scores.")
@click.option("--slo", help="For example 'ttft_mean<1s,throughput>20'.  [default: the runs', or that]")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour, for all models.  [default: the runs']")
@click.option("--preset", help="A price by name, bundled or of --prices; see `benchsuite cost --list-presets`.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your own price file (TOML).")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs that the price is for.  [default: the runs', or 1]")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws behind the probabilities."
)
@click.option("--svg", type=click.Path(path_type=Path), help="Write the picture: bubbles as large as the models.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(
    runs: tuple[Path, ...],
    points: Path | None,
    scores: Path,
    slo: str | None,
    usd_per_hour: float | None,
    preset: str | None,
    prices: Path | None,
    gpus: int | None,
    seed: int,
    svg: Path | None,
    as_json: bool,
) -> int:
    """Who is dominated, by whom, and how sure that is: cost at each model's optimum against its score."""
    from benchsuite.cli.curves import Price, read_curves, unlike

    price = Price(usd_per_hour, preset, gpus, prices)
    curves = read_curves(runs, points, slo, price)
    _priced(curves)
    differences = unlike(curves)
    placed = place(curves, scores, seed)
    if svg is not None:
        _write_picture(svg, placed)
    if as_json:
        for text in differences:
            click.echo(f"warning: {text}", err=True)
        click.echo(json.dumps([_plain(one, curves) for one in placed], indent=2))
    else:
        _print(placed, curves, price.told(), differences)
    return 0 if any(one.on_frontier for one in placed) else NOT_MET


def place(curves: list[Curve], scores: Path, seed: int = 0) -> list[ParetoPoint]:
    """Every model's place in cost and score. Raises InputError if the scores do not fit, PriceError without a price."""
    from benchsuite.economics.pareto import frontier, match_scores, parse_scores
    from benchsuite.input_files import read_text

    _priced(curves)
    table = parse_scores(read_text(scores, "the table of scores"), where=str(scores))
    unmeasured = match_scores(table, [curve.model for curve in curves], where=str(scores))
    candidates = [_candidate(curve, table.get(curve.model)) for curve in curves]
    return frontier([*candidates, *(_unmeasured(table[name]) for name in unmeasured)], seed=seed)


def _write_picture(path: Path, placed: list[ParetoPoint]) -> None:
    from benchsuite.errors import InputError
    from benchsuite.report.charts_special import frontier_chart

    try:
        path.write_text(frontier_chart(placed, title="Cost at each model's optimum against its score"), "utf-8")
    except OSError as error:
        raise InputError("the picture cannot be written", where="--svg", given=error) from None


def _priced(curves: list[Curve]) -> None:
    from benchsuite.errors import PriceError

    for curve in curves:
        if curve.usd_per_hour_total is None:
            raise PriceError(
                "a frontier needs a price", where=curve.source, given="none", expected="--usd-per-hour or --preset"
            )


def _candidate(curve: Curve, score: Score | None) -> ModelPoint:
    from benchsuite.economics.pareto import ModelPoint

    decision = curve.decision
    if decision.kind == "none":
        return ModelPoint(curve.model, None, None, score, reason=decision.reason)
    cost = decision.choice.cost
    assert cost.usd_per_hour is not None
    return ModelPoint(
        model=curve.model,
        concurrency=decision.choice.point.concurrency,
        cost_usd=cost.cost_usd,
        score=score,
        usd_per_request=cost.usd_per_request,
        repeat_cost_usd=tuple(cost.usd_per_hour * duration_s / 3600 for duration_s in curve.run_walls_s),
    )


def _unmeasured(score: Score) -> ModelPoint:
    from benchsuite.economics.pareto import ModelPoint

    return ModelPoint(score.model, None, None, score, reason="it has a score but was not measured")


def _plain(one: ParetoPoint, curves: list[Curve]) -> dict[str, Any]:
    import dataclasses

    tree = dataclasses.asdict(one)
    tree["dominated_by"], tree["held_fixed"] = list(one.dominated_by), list(one.held_fixed)
    return tree | {"warnings": [f"{warn.code}: {warn.finding}; {warn.remedy}" for warn in _warned(one, curves)]}


def _warned(one: ParetoPoint, curves: list[Curve]) -> list[Finding]:
    """What is said against the level that stands for the model."""
    found = next((curve for curve in curves if curve.model == one.model), None)
    decision = None if found is None else found.decision
    return [] if decision is None or decision.kind == "none" else list(decision.choice.point.warnings)


def _print(placed: list[ParetoPoint], curves: list[Curve], price: str, differences: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from benchsuite.report.console import safe, say
    from benchsuite.report.format import DASH, number, usd

    console = Console()
    table = Table(
        title="Cost at each model's optimum against its score", title_justify="left", box=None, pad_edge=False
    )
    sure = any(one.p_on_frontier is not None for one in placed)
    counted = any(one.usd_per_1m_correct_answers is not None for one in placed)
    heads = ["model", "users", "$ per run", "score", "10^9\nparams", "on\nfrontier"]
    heads += ["P"] * sure + ["$/1M\ncorrect"] * counted + ["dominated by"]
    for name in heads:
        right = name not in ("model", "on\nfrontier", "dominated by")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "model")
    for one in placed:
        cells = [
            one.model,
            str(one.concurrency or DASH),
            usd(one.cost_usd) + _interval(one.cost_low_usd, one.cost_high_usd),
            number(one.score) + _interval(one.score_low, one.score_high),
            number(one.params_b, 2),
            DASH if one.on_frontier is None else "yes" if one.on_frontier else "no",
            *[DASH if one.p_on_frontier is None else f"{one.p_on_frontier:.2f}"] * sure,
            *[usd(one.usd_per_1m_correct_answers)] * counted,
            one.reason or ", ".join(one.dominated_by),
        ]
        style = "bold green" if one.on_frontier else "" if one.on_frontier is False else "dim"
        table.add_row(*(Text(safe(console, cell)) for cell in cells), style=style)
    console.print(table)
    for reason in dict.fromkeys(one.p_reason for one in placed if one.p_reason):
        say(console, f"no P: {reason}", indent=2)
    for text in dict.fromkeys(text for one in placed if not one.p_reason for text in one.held_fixed):
        say(console, f"taken as exact where so: {text}", indent=2)
    for text in differences:
        say(console, f"warning {text}", style="yellow", indent=2)
    for one in placed:
        for warn in _warned(one, curves):
            said = f"warning {warn.code} {one.model} at {one.concurrency}: {warn.finding}; {warn.remedy}"
            say(console, said, style="yellow", indent=2)
    hourly = ", ".join(sorted({usd(curve.usd_per_hour_total) for curve in curves}))
    said = f"assumed: {hourly} an hour for the machine, {price}; SLO {curves[0].slo}; optima held fixed"
    say(console, said, style="dim")


def _interval(low: float | None, high: float | None) -> str:
    from benchsuite.report.format import number

    return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
