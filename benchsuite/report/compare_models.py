"""comparison.html: several runs, or the models of a table of points, in one self-contained file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from benchsuite.economics.decision import expense
from benchsuite.economics.pareto import ModelPoint, ParetoPoint, Score, frontier, match_scores, parse_scores, scores_of
from benchsuite.errors import InputError, PointsError, PriceError
from benchsuite.metrics import BY_COLUMN, CONFIDENCE
from benchsuite.report import charts, level_tables
from benchsuite.report import format as fmt
from benchsuite.report.charts import Frame, marker
from benchsuite.report.charts_special import BUBBLES_NARROW, frontier_chart, is_drawn_on_frontier
from benchsuite.report.charts_special import FRAME as FRONTIER
from benchsuite.report.judge import Judgement, judged_again
from benchsuite.report.level_tables import Row
from benchsuite.report.page import render_page
from benchsuite.report.sections_levels import (
    Figure,
    Section,
    Table,
    axis,
    level_series,
    limit_marks,
    mark_rows,
    quality_figure,
    series_table,
)
from benchsuite.report.sections_run import Answer, Tile, cards
from benchsuite.results import Estimate, EvaluatedLevel
from benchsuite.slo import Limit

WIDE = Frame(560, 330, 50, 150, 40, 44)


def named(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Each under its model's name; under its run's where several are of one model."""
    models = [one.model for one in judgements]
    return [replace(one, name=one.model if models.count(one.model) == 1 else one.source_name) for one in judgements]


def require_price(judgements: Sequence[Judgement]) -> None:
    """Raises PriceError where an hour of the machine has no price."""
    for one in judgements:
        if one.usd_per_hour is None:
            expected = "--usd-per-hour or --preset"
            raise PriceError("a frontier needs a price", where=one.source, given="none", expected=expected)


def measured_scores(judgements: Sequence[Judgement]) -> tuple[dict[str, Score], dict[str, str], list[str]]:
    """The scores of models whose answers were scored with the run, each at its optimum; why others have none; notes.

    Raises InputError where no run has scores, or they cannot be compared.
    """
    found, without = {}, {}
    for one in judgements:
        quality = None if one.best is None else one.best.quality
        if quality is None:
            without[one.name] = "its answers were not scored: benchsuite score RUN (not those of a fixed length)"
        elif quality.partial:
            of = f"{quality.total('not_judged')} of {quality.total('n')} answers"
            why = f"{of} could not be judged" if quality.judge_can_tell else "its judge cannot tell right from wrong"
            without[one.name] = f"no ranking: {why}"
        else:
            found[one.name] = quality
    if not found:
        raise InputError(
            "no run has scores", where=", ".join(one.source for one in judgements), given=next(iter(without.values())),
            expected="runs of a request set with scorers, or --scores FILE",
        )  # fmt: skip
    scores, left_out = scores_of(found)
    notes = [f"{fmt.plural(left_out, 'item')} that not every model was asked are in no score"] * bool(left_out)
    return scores, without, notes


def place_models(
    judgements: Sequence[Judgement], scores: str | None, where: str = "", seed: int = 0, notes: list[str] | None = None
) -> list[ParetoPoint]:
    """Every model's place in cost and score. scores: a CSV table; None: of the runs' own answers, whose `notes` are
    added. Raises InputError if its names do not fit."""
    require_price(judgements)
    if of_rates := [one.source for one in judgements if one.of_rates]:
        what = "a frontier compares what a run of the set costs, and a rate has no run of the set"
        raise PointsError(what, where="--scores", given=of_rates[0], expected="runs in closed loop (--concurrency)")
    without, unmeasured = dict[str, str](), list[str]()
    if scores is None:
        table, without, more = measured_scores(judgements := named(judgements))
        if notes is not None:
            notes += more
    else:
        judgements = [replace(one, name=one.model or "") for one in judgements]
        table = parse_scores(scores, where=where)
        unmeasured = match_scores(table, [one.name for one in judgements], where=where)
    points = []
    for one in judgements:
        score, best = table.get(one.name), one.best
        if best is None:
            points.append(ModelPoint(one.name, None, None, score, reason=one.decision.reason))
            continue
        hour, level = best.cost.usd_per_hour or 0.0, best.point.level
        repeats = [run for measured in one.measured if measured.level == level for run in measured.repeats]
        points.append(
            ModelPoint(
                model=one.name,
                level=level,
                cost_usd=best.cost.cost_usd,
                score=score,
                usd_per_request=best.cost.usd_per_request,
                repeat_cost_usd=tuple(hour * run.duration_s / 3600 for run in repeats),
                slo_verdict=best.slo_verdict,
                reason=without.get(one.name),
            )
        )
    reason = "it has a score but was not measured"
    points += [ModelPoint(name, None, None, table[name], reason=reason) for name in unmeasured]
    return frontier(points, seed=seed)


def frontier_table(placed: Sequence[ParetoPoint]) -> tuple[Row, list[Row]]:
    """Heads and rows; P and the cost of correct answers where known."""
    sure = any(one.p_on_frontier is not None for one in placed)
    counted = any(one.usd_per_1m_correct_answers is not None for one in placed)
    level = fmt.level_head(one.level for one in placed if one.level is not None)
    heads = ["model", level, "SLO", "$ per run", "score", "10^9 params", "on frontier"]
    heads += ["P"] * sure + ["$/1M correct"] * counted + ["dominated by"]

    def ends(*values: float | None) -> str:
        return "" if None in values else f" [{', '.join(map(fmt.number, values))}]"

    def per_correct(one: ParetoPoint) -> str:
        prices = one.usd_per_1m_correct_answers, one.usd_per_1m_correct_low, one.usd_per_1m_correct_high
        return fmt.estimate_text(Estimate(*prices, one.n or 0, ""), fmt.usd)

    rows = [
        (
            one.model,
            str(one.level or fmt.DASH),
            one.slo_verdict or fmt.DASH,
            fmt.usd(one.cost_usd) + ends(one.cost_low_usd, one.cost_high_usd),
            fmt.number(one.score) + ends(one.score_low, one.score_high),
            fmt.number(one.params_b, 2),
            fmt.DASH if one.on_frontier is None else "yes" if one.on_frontier else "no",
            *[fmt.chance(one.p_on_frontier)] * sure,
            *[per_correct(one)] * counted,
            one.reason or ", ".join([*one.dominated_by, *(f"level with {name}" for name in one.level_with)]),
        )
        for one in placed
    ]
    return tuple(heads), rows


def frontier_figure(placed: Sequence[ParetoPoint]) -> Figure:
    """The paper's figure 1 with its table."""
    best = [one for one in placed if is_drawn_on_frontier(one)]
    title = f"{len(best)} of {sum(one.on_frontier is not None for one in placed)} models are on the Pareto frontier"
    heads, rows = frontier_table(placed)
    note = "Each model at its own optimum under the SLO. Up and to the left is better."
    wide, narrow = (frontier_chart(placed, title=title, frame=frame) for frame in (FRONTIER, BUBBLES_NARROW))
    return Figure(title, wide, heads, rows, note, narrow, left=(0, -1))


CURVES = ("ttft_mean_s", "output_tok_s_per_user", "cost_usd", "usd_per_1m_output_tokens")


def curves(models: Sequence[Judgement], column: str, frame: Frame = WIDE) -> Figure:
    """A metric of CURVES over the level, a line per model; levels that violate the SLO are hollow."""
    statistic, label = BY_COLUMN[column], axis(column)
    metric = statistic.metric
    limits = [limit for limit in models[0].slo.limits if limit.statistic == statistic]
    series = []
    for one in models:
        line = level_series(one.judged, column)
        points = zip(line.points, one.judged, strict=True)
        marked = (replace(p, misses=j.slo_verdict == "not met", chosen=j is one.best) for p, j in points)
        series.append(replace(line, name=one.name, points=tuple(marked)))
    title = _limit_title(models, limits[0]) if limits else f"{label} over {_level_head(models)}"
    best = [value for one in models if one.best is not None and (value := statistic.of(one.best)) is not None]
    if not limits and len(best) > 1:
        title = f"{label} at the optimum: {fmt.show(metric, min(best))} to {fmt.show(metric, max(best))}"
    title, marks = fmt.sentence(title)[:-1], limit_marks(limits)
    wide = charts.level_chart(series, title=title, y_label=label, limits=marks, named=True, frame=frame)
    narrow = charts.level_chart(series, title=title, y_label=label, limits=marks)
    return Figure(title, wide, *series_table(series, label), narrow=narrow)


def _level_head(models: Sequence[Judgement]) -> str:
    return fmt.level_head(j.point.level for one in models for j in one.judged)


def _limit_title(models: Sequence[Judgement], limit: Limit) -> str:
    checks = [(c.verdict, one.name, j.point.level) for one in models for j in one.judged for c in j.limits
              if c.limit == limit]  # fmt: skip
    violated = fmt.at_levels((name, at) for verdict, name, at in checks if verdict == "not met")
    open_ones = {name for verdict, name, _ in checks if verdict == "undecided"}
    if len(violated) > 3:
        return f"{limit} is violated at some level by {len(violated)} of {len(models)}"
    if violated:
        return f"{limit} is violated by {'; '.join(violated)}"
    if open_ones:
        return f"{limit} is undecided at some level of {len(open_ones)} of {len(models)}"
    met = any(verdict == "met" for verdict, _, _ in checks)
    return f"{limit} holds everywhere" if met else f"{limit} is not known"


_BEST = (
    "concurrency", "rate_per_s", "cost_usd", "usd_per_1m_output_tokens", "score", "usd_per_1m_correct", "ttft_mean_s",
    "output_tok_s_per_user", "output_tok_s", "goodput_per_s", "attainment", "duration_s",
)  # fmt: skip


def counted(models: Sequence[Judgement]) -> str:
    """'9 models', '2 runs of gpt-oss-20b', '3 runs of 2 models'."""
    distinct = {one.model for one in models}
    if len(distinct) == len(models):
        return f"{len(models)} model{'s' * (len(models) > 1)}"
    return f"{len(models)} runs of {distinct.pop() if len(distinct) == 1 else f'{len(distinct)} models'}"


def comparison(models: Sequence[Judgement], placed: Sequence[ParetoPoint]) -> Answer:
    """What the page says first: the frontier where there are scores, else the cheapest that meets the SLO."""
    ranked = _ranked(models)
    if not ranked:
        not_met = all(one.decision.verdict == "not met" for one in models)
        meets = "meets" if not_met else "appears to meet"
        return Answer(f"None of {len(models)} {meets} the SLO at any level", (), "not met" if not_met else "undecided")
    (cheapest, level), second = ranked[0], ranked[1][0] if len(ranked) > 1 else None
    unpriced = cheapest.usd_per_hour_total is None
    text = f"{level.point.level.at}, {fmt.price_text(level)}"
    tiles = [Tile("Shortest run" if unpriced else "Cheapest", cheapest.name, text)]
    best = sorted((one for one in placed if is_drawn_on_frontier(one)), key=lambda one: one.cost_usd or 0.0)
    scored = [(one.score, one) for one in placed if one.score is not None and one.on_frontier is not None]
    of_scored = f"{len(best)} of {len(scored)}"
    if scored:
        score, top = max(scored, key=lambda pair: pair[0])
        dominated = ", ".join(one.model for one in placed if one.on_frontier is False)
        tiles += [
            Tile("Best score", top.model, f"{fmt.number(score)} at {fmt.usd(top.cost_usd)} per run of the set"),
            Tile("On the Pareto frontier", of_scored, f"dominated: {dominated or 'none'}"),
        ]
    # whether the interval of what is minimised ends below that of the second
    column = "duration_s" if level.cost.cost_usd is None else "cost_usd"
    if cheapest.of_rates:  # whose window costs the same at every rate
        column = "usd_per_1m_output_tokens"
    ends = [fmt.known_ends(one.intervals.get(column)) for _, one in ranked[:2]]
    below = None if len(ends) < 2 or ends[0] is None or ends[1] is None else ends[0][1] < ends[1][0]
    tiles.append(_certainty(models, placed, cheapest, second, below))
    if best:
        names = ", ".join(one.model for one in best)
        open_ = [one.model for one in best if one.slo_verdict != "met"]
        doubt = f"; whether they meet the SLO is undecided for {', '.join(open_)}" if open_ else ""
        sentence = f"{of_scored} models are on the Pareto frontier: {names}{doubt}"
        return Answer(sentence, tuple(tiles), "undecided" if open_ else "met")
    how = "with the shortest run" if unpriced else "at the lowest cost"
    if second is not None and below is False:
        how += f", not significantly different from {second.name}"
    met = level.slo_verdict == "met"
    said = f"meets the SLO {how}" if met else f"looks best {how}; whether it meets the SLO is undecided"
    return Answer(f"{cheapest.name} {said}: {text}", tuple(tiles), "met" if met else "undecided")


def _ranked(models: Sequence[Judgement]) -> list[tuple[Judgement, EvaluatedLevel]]:
    """Those with an optimum, and it: the cheapest first."""
    found = [(one, one.best) for one in models if one.best is not None]
    return sorted(found, key=lambda pair: expense(pair[1]) or 0.0)


def _certainty(
    models: Sequence[Judgement],
    placed: Sequence[ParetoPoint],
    cheapest: Judgement,
    second: Judgement | None,
    below: bool | None,
) -> Tile:
    chances = [f"{one.model} {one.p_on_frontier:.2f}" for one in placed if one.p_on_frontier is not None]
    if chances:
        return Tile("Certainty", "P(on frontier)", ", ".join(chances[:6]))
    repeats = {j.point.repeat_count for one in models for j in one.judged}
    if repeats == {1}:
        return Tile("Certainty", "one repeat", "without repeats costs and ranks have no interval")
    value = " to ".join(str(end) for end in sorted({min(repeats), max(repeats)})) + " repeats"
    if second is None or below is None:
        return Tile("Certainty", value, "per level; the charts show their intervals")
    how = f"is below that of {second.name}" if below else f"overlaps that of {second.name}: ranks may swap"
    return Tile("Certainty", value, f"per level; the {CONFIDENCE} interval of {cheapest.name} {how}")


def optima_table(models: Sequence[Judgement]) -> Table:
    """Each model at its optimum, the cheapest first, then those without one."""
    every = [j for one in models for j in one.judged]
    columns = fmt.with_judged(_BEST, every)
    ranked = _ranked(models)
    others = [one for one in models if one.best is None]
    rows = [
        (one.name, *(fmt.cell(best, c) for c in columns), fmt.chance(choice.p_opt), choice.binding or fmt.DASH)
        for one, best in ranked
        if (choice := one.decision).kind == "optimum"
    ]
    rows += [(one.name, *[fmt.DASH] * (len(columns) + 1), one.decision.reason) for one in others]
    first = "run" if "runs of" in counted(models) else "model"
    marks = [*["chosen"] * bool(ranked), *[""] * (len(ranked) - 1), *["misses"] * len(others)]
    heads = (first, *(fmt.head(column, every) for column in columns), "P(optimal)", "next level violates")
    return Table("optima", heads, rows, left=(0, -1), marks=marks)


def levels_table(models: Sequence[Judgement]) -> Table:
    """Every level of every model."""
    heads, rows = level_tables.levels_table([j for one in models for j in one.judged])
    names = [one.name for one in models for _ in one.judged]
    marks = [mark for one in models for mark in mark_rows(one)]
    rows = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Table("levels", ("model", *heads), rows, left=(0, -1), marks=marks)


def render_comparison(
    judgements: Sequence[Judgement],
    placed: Sequence[ParetoPoint],
    notes: Sequence[str],
    price: str,
    chosen: Collection[str] = (),
) -> str:
    """The page. placed: the models' places in cost and score, empty without scores. notes: what differs between them.

    price: where the hour's price is from, in words. chosen: as of render_page. Raises ValueError without models.
    """
    if not judgements:
        raise ValueError("no models to compare")
    models = named(judgements)
    hourly = sorted({fmt.usd(one.usd_per_hour_total) for one in models if one.usd_per_hour_total is not None})
    price = price if hourly else "none given"
    drawn = fmt.with_judged(CURVES, models[0].judged, alone=True)
    shown = [column for column in drawn if hourly or BY_COLUMN[column].metric.unit != "usd"]
    shown = [column for column in shown if column != "cost_usd" or not all(one.of_rates for one in models)]
    figures = [curves(models, column) for column in shown]
    quality = quality_figure({one.name: one.best for one in models if one.best is not None})
    if any(one.on_frontier is not None for one in placed):
        figures.append(frontier_figure(placed))
    legend = [(one.name, f'<svg class="bs swatch" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, i)}</svg>')
              for i, one in enumerate(models)]  # fmt: skip
    text = "Hollow: the level violates the SLO. Ring: the model's optimum."
    facts = [("SLO", str(models[0].slo)), ("price", price), ("price per hour", ", ".join(hourly) or fmt.DASH)]
    return render_page(
        chosen,
        name=counted(models),
        about=[f"SLO {models[0].slo}", f"price: {price}"],
        answer=comparison(models, placed),
        notes=notes,
        again=fmt.at_levels((text, one.name) for one in models for text in judged_again(one)),
        picture=figures.pop(),
        sections=[
            Section("optima", "Optima", "Each at its optimum", tables=[optima_table(models)]),
            Section("curves", "Curves", f"Against {_level_head(models)}", text, figures, legend=legend, columns="two"),
            Section("quality", "Quality", "Scores by scenario, each at its optimum", figures=[quality], columns="two"),
            Section("levels", "Levels", "All levels", tables=[levels_table(models)], more=True),
        ],
        cards=cards((one.name, one) for one in models),
        facts=[*facts, *((one.name, one.source) for one in models)],
    )
