"""comparison.html: several runs, or the models of a table of points, in one self-contained file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchsuite.economics.pareto import ModelPoint, ParetoPoint, Score, frontier, match_scores, parse_scores
from benchsuite.errors import PriceError
from benchsuite.report import charts
from benchsuite.report.charts import SMALL, Frame, Series, marker
from benchsuite.report.charts_special import BUBBLES_NARROW, frontier_picture, is_drawn_on_frontier
from benchsuite.report.charts_special import FRAME as FRONTIER
from benchsuite.report.format import (
    DASH,
    cell,
    chance,
    count,
    head,
    limit_name,
    number,
    slo_cell,
    usd,
    with_goodput,
)
from benchsuite.report.judge import Judgement
from benchsuite.report.page import render_template
from benchsuite.report.sections_levels import Figure, Row, level_series, series_table
from benchsuite.report.sections_run import Answer, Tile, cards
from benchsuite.results import EvaluatedLevel

WIDE = Frame(560, 330, 50, 150, 40, 44)


def named(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Each under its model's name; under its run's where several are of one model."""
    models = [one.model for one in judgements]
    return [replace(one, name=one.model if models.count(one.model) == 1 else one.source_name) for one in judgements]


def require_price(judgements: Sequence[Judgement]) -> None:
    """Raises PriceError where an hour of the machine has no price."""
    for one in judgements:
        if one.usd_per_hour is None:
            raise PriceError(
                "a frontier needs a price", where=one.source, given="none", expected="--usd-per-hour or --preset"
            )


def place_models(judgements: Sequence[Judgement], scores: str, where: str, seed: int = 0) -> list[ParetoPoint]:
    """Every model's place in cost and score. scores: a CSV table. Raises InputError if its names do not fit."""
    require_price(judgements)
    table = parse_scores(scores, where=where)
    unmeasured = match_scores(table, [one.model for one in judgements], where=where)
    points = [_model_point(one, table.get(one.model)) for one in judgements]
    reason = "it has a score but was not measured"
    points += [ModelPoint(name, None, None, table[name], reason=reason) for name in unmeasured]
    return frontier(points, seed=seed)


def _model_point(one: Judgement, score: Score | None) -> ModelPoint:
    best = one.best
    if best is None:
        return ModelPoint(one.model, None, None, score, reason=one.decision.reason)
    hour, level = best.cost.usd_per_hour, best.point.concurrency
    repeats = [run for measured in one.measured if measured.concurrency == level for run in measured.repeats]
    return ModelPoint(
        model=one.model,
        concurrency=level,
        cost_usd=best.cost.cost_usd,
        score=score,
        usd_per_request=best.cost.usd_per_request,
        repeat_cost_usd=tuple((hour or 0.0) * run.duration_s / 3600 for run in repeats),
    )


def frontier_table(placed: Sequence[ParetoPoint]) -> tuple[Row, list[Row]]:
    """Heads and rows; P and the cost of correct answers where known."""
    sure = any(one.p_on_frontier is not None for one in placed)
    counted = any(one.usd_per_1m_correct_answers is not None for one in placed)
    heads = ["model", "concur-\nrency", "$ per run", "score", "10^9\nparams", "on\nfrontier"]
    heads += ["P"] * sure + ["$/1M\ncorrect"] * counted + ["dominated by"]

    def ends(low: float | None, high: float | None) -> str:
        return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"

    rows = [
        (
            one.model,
            count(one.concurrency),
            usd(one.cost_usd) + ends(one.cost_low_usd, one.cost_high_usd),
            number(one.score) + ends(one.score_low, one.score_high),
            number(one.params_b, 2),
            DASH if one.on_frontier is None else "yes" if one.on_frontier else "no",
            *[chance(one.p_on_frontier)] * sure,
            *[usd(one.usd_per_1m_correct_answers)] * counted,
            one.reason or ", ".join(one.dominated_by),
        )
        for one in placed
    ]
    return tuple(heads), rows


def frontier_figure(placed: Sequence[ParetoPoint]) -> Figure:
    """The paper's figure 1 with its table."""
    best = [one for one in placed if is_drawn_on_frontier(one)]
    title = f"{len(best)} of {sum(one.on_frontier is not None for one in placed)} models lie on the frontier"
    heads, rows = frontier_table(placed)
    note = "Each model at its own optimum under the SLO. Up and to the left is better."
    wide, narrow = (frontier_picture(placed, title=title, frame=frame) for frame in (FRONTIER, BUBBLES_NARROW))
    return Figure(title, wide, tuple(head.replace("\n", " ") for head in heads), tuple(rows), note, narrow)


def curves(models: Sequence[Judgement]) -> list[Figure]:
    """TTFT, per-user throughput, and cost over the level, a line per contender."""
    found = [ttft_curves(models), throughput_curves(models)]
    if any(one.usd_per_hour_total is not None for one in models):
        found += [cost_curves(models), token_cost_curves(models)]
    return found


def ttft_curves(models: Sequence[Judgement], frame: Frame = WIDE) -> Figure:
    """Mean time to first token."""
    limits = _limits(models, "ttft_s", 1000)
    late = [
        f"{one.name} at {', '.join(levels)}"
        for one in models
        if (levels := [str(j.point.concurrency) for j in one.judged if _misses(j, "ttft")])
    ]
    title = f"TTFT breaks its limit for {'; '.join(late)}" if late else "TTFT keeps its limit everywhere"
    if not limits:
        title = "TTFT over the levels"
    return _curves(
        models, title, "mean TTFT (ms)", lambda j: _ms(j.point.ttft_s.mean), limits, frame, "ttft_mean_s", 1000
    )


def throughput_curves(models: Sequence[Judgement]) -> Figure:
    """The paper's throughput, per user."""
    limits = _limits(models, "output_tok_s_per_user", 1)
    kept = [
        max((j.point.concurrency for j in one.judged if not _misses(j, "output_throughput_per_user")), default=0)
        for one in models
    ]
    title = "per-user throughput over the levels"
    if limits:
        span = str(kept[0]) if len(set(kept)) == 1 else f"{min(kept)} to {max(kept)}"
        title = f"per-user throughput keeps its limit up to {span} users"
        if not any(_misses(j, "output_throughput_per_user") for one in models for j in one.judged):
            title = "per-user throughput keeps its limit at every level"
    name = "output_tok_s_per_user"
    return _curves(
        models, title, "per-user throughput (tok/s)", lambda j: j.point.output_tok_s_per_user, limits, figure=name
    )


def cost_curves(models: Sequence[Judgement], frame: Frame = WIDE) -> Figure:
    """Dollars per run of the set."""
    chosen = [one.decision.choice.cost.cost_usd for one in models if one.decision.kind == "optimum"]
    known = [cost for cost in chosen if cost]
    title = "cost of a run over the levels"
    if len(known) > 1:
        title = f"at their optima the runs cost {usd(min(known))} to {usd(max(known))}"
    return _curves(models, title, "cost of a run of the set (USD)", lambda j: j.cost.cost_usd, (), frame, "cost_usd")


def token_cost_curves(models: Sequence[Judgement]) -> Figure:
    """Dollars per million output tokens, which does not depend on how long the answers are."""
    title = "cost of a million output tokens falls with every user that is added"
    if any(b > a for one in models for a, b in zip(_token_costs(one), _token_costs(one)[1:], strict=False)):
        title = "cost of a million output tokens falls with users, with exceptions"
    name = "usd_per_1m_output_tokens"
    return _curves(
        models, title, "USD per 1M output tokens", lambda j: j.cost.usd_per_1m_output_tokens, (), figure=name
    )


def _token_costs(one: Judgement) -> list[float]:
    return [j.cost.usd_per_1m_output_tokens for j in one.judged if j.cost.usd_per_1m_output_tokens is not None]


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def _misses(j: EvaluatedLevel, metric: str) -> bool:
    return any(limit_name(miss).startswith(metric) for miss in j.misses)


def _limits(models: Sequence[Judgement], metric: str, scale: float) -> tuple[charts.Limit, ...]:
    return tuple(
        charts.Limit(limit.value * scale, str(limit)) for limit in models[0].slo.limits if limit.metric == metric
    )


def _curves(
    models: Sequence[Judgement],
    title: str,
    y_label: str,
    value: Callable[[EvaluatedLevel], float | None],
    limits: Sequence[charts.Limit],
    frame: Frame = WIDE,
    figure: str = "",
    scale: float = 1.0,
) -> Figure:
    series = [_line(one, value, figure, scale) for one in models]
    title = title[:1].upper() + title[1:]
    wide = charts.level_chart(series, title=title, y_label=y_label, limits=limits, named=True, frame=frame)
    narrow = charts.level_chart(series, title=title, y_label=y_label, limits=limits, frame=SMALL)
    return Figure(title, wide, *series_table(series, y_label), narrow=narrow)


def _line(one: Judgement, value: Callable[[EvaluatedLevel], float | None], figure: str, scale: float) -> Series:
    chosen = one.decision.choice.point.concurrency if one.decision.kind == "optimum" else None
    found = level_series(one.name, one.judged, value, figure, scale).points
    return Series(
        one.name,
        tuple(
            replace(point, misses=not j.meets_slo, chosen=j.point.concurrency == chosen)
            for point, j in zip(found, one.judged, strict=True)
        ),
    )


_BEST = (
    "concurrency", "cost_usd", "usd_per_1m_output_tokens", "ttft_mean_s", "output_tok_s_per_user", "output_tok_s",
    "goodput_per_s", "attainment", "duration_s",
)  # fmt: skip
_LEVELS = (
    "concurrency", "duration_s", "ttft_mean_s", "output_tok_s_per_user", "output_tok_s", "goodput_per_s", "attainment",
    "output_tokens", "cost_usd", "usd_per_1m_output_tokens",
)  # fmt: skip


def _columns(columns: Sequence[str], models: Sequence[Judgement]) -> tuple[str, ...]:
    return with_goodput(columns, [j for one in models for j in one.judged])


def counted(models: Sequence[Judgement]) -> str:
    """'9 models', '2 runs of gpt-oss-20b', '3 runs of 2 models'."""
    distinct = {one.model for one in models}
    if len(distinct) == len(models):
        return f"{len(models)} model{'s' * (len(models) > 1)}"
    return f"{len(models)} runs of {distinct.pop() if len(distinct) == 1 else f'{len(distinct)} models'}"


def head_of(models: Sequence[Judgement]) -> Row:
    """The columns of `side_by_side`."""
    first = "model" if "runs of" not in counted(models) else "run"
    return (first, *map(head, _columns(_BEST, models)), "P(optimal)", "next level misses")


def comparison(models: Sequence[Judgement], placed: Sequence[ParetoPoint]) -> Answer:
    """What the page says first: the frontier where there are scores, else the cheapest that keeps the SLO."""
    kept = [(_expense(one), one) for one in models if one.decision.kind == "optimum"]
    if not kept:
        return Answer(f"None of {len(models)} keeps the SLO at any level", ())
    cheapest, second, *_ = [one for _, one in sorted(kept, key=lambda pair: pair[0])] + [None, None]
    assert cheapest is not None
    best = [one for one in placed if one.on_frontier and is_drawn_on_frontier(one)]
    tiles = [
        Tile("Cheapest" if cheapest.usd_per_hour_total is not None else "Shortest run", cheapest.name, _at(cheapest))
    ]
    scored = [(one.score, one) for one in placed if one.score is not None and one.on_frontier is not None]
    if scored:
        score, top = max(scored, key=lambda pair: pair[0])
        tiles.append(Tile("Best score", top.model, f"{number(score)} at {usd(top.cost_usd)} per run of the set"))
        out = [one.model for one in placed if one.on_frontier is False]
        what = f"{len(best)} of {len(scored)}"
        tiles.append(Tile("Worth their money", what, f"dominated: {', '.join(out) or 'none'}"))
    tiles.append(_certainty(models, placed, cheapest, second))
    if best:
        names = ", ".join(one.model for one in sorted(best, key=lambda one: one.cost_usd or 0.0))
        sentence = f"{len(best)} of {len(scored)} models are worth their money: {names}"
    else:
        how = "in the shortest run" if cheapest.usd_per_hour_total is None else "at the least cost"
        tied = "" if second is None or _apart(cheapest, second) is not False else f", not told apart from {second.name}"
        sentence = f"{cheapest.name} keeps the SLO {how}{tied}: {_at(cheapest)}"
    return Answer(sentence, tuple(tiles))


def _expense(one: Judgement) -> float:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    return choice.cost.cost_usd or choice.point.duration_s or 0.0


def _at(one: Judgement) -> str:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    users = f"{choice.point.concurrency} users"
    if choice.cost.cost_usd is None:
        return f"{users}, {number(choice.point.duration_s)} s per run of the set"
    return (
        f"{users}, {usd(choice.cost.cost_usd)} per run of the set, "
        f"{usd(choice.cost.usd_per_1m_output_tokens)} per 1M output tokens"
    )


def _ends(one: Judgement) -> tuple[float, float] | None:
    """The interval of what the cheapest is chosen by; None with one run."""
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    found = choice.intervals.get("duration_s" if choice.cost.cost_usd is None else "cost_usd")
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _apart(cheapest: Judgement, second: Judgement) -> bool | None:
    """Whether their intervals lie apart; None where one has none."""
    ends, others = _ends(cheapest), _ends(second)
    return None if ends is None or others is None else ends[1] < others[0]


def _certainty(
    models: Sequence[Judgement], placed: Sequence[ParetoPoint], cheapest: Judgement, second: Judgement | None
) -> Tile:
    unsure = [one for one in placed if one.p_on_frontier is not None]
    if unsure:
        told = ", ".join(f"{one.model} {one.p_on_frontier:.2f}" for one in unsure[:6] if one.p_on_frontier is not None)
        return Tile("Certainty", "P on frontier", told)
    runs = {j.point.repeat_count for one in models for j in one.judged}
    if runs == {1}:
        return Tile("Certainty", "one run", "a level was run once: costs and places have no interval")
    said = f"{max(runs)} runs" if len(runs) == 1 else f"{min(runs)} to {max(runs)} runs"
    apart = None if second is None else _apart(cheapest, second)
    if second is None or apart is None:
        return Tile("Certainty", said, "of each level; the charts show their intervals")
    how = "lies below that" if apart else "overlaps that"
    end = "" if apart else ": they may swap places"
    detail = f"a level; the 95 % interval of {cheapest.name} {how} of the next, {second.name}{end}"
    return Tile("Certainty", said, detail)


def side_by_side(models: Sequence[Judgement]) -> list[tuple[Row, bool, bool]]:
    """Each contender at its optimum, the cheapest first: cells, does it keep the SLO, is it the cheapest."""
    kept = sorted((one for one in models if one.decision.kind == "optimum"), key=_expense)
    others = [one for one in models if one.decision.kind == "none"]
    columns = _columns(_BEST, models)
    return [(_row(one, columns), one.decision.kind == "optimum", one in kept[:1]) for one in (*kept, *others)]


def _row(one: Judgement, columns: Sequence[str]) -> Row:
    if one.decision.kind == "none":
        return (one.name, *[DASH] * (len(columns) + 1), one.decision.reason)
    choice = one.decision.choice
    of_best = (cell(choice, column) for column in columns)
    return (one.name, *of_best, chance(one.decision.p_opt), one.decision.binding or DASH)


def all_levels(models: Sequence[Judgement]) -> tuple[Row, list[tuple[Row, bool, bool]]]:
    """Every level of every contender: head, and rows marked like those of `side_by_side`."""
    columns = _columns(_LEVELS, models)
    rows: list[tuple[Row, bool, bool]] = []
    for one in models:
        chosen = one.decision.choice if one.decision.kind == "optimum" else None
        rows += [
            ((one.name, *(cell(j, column) for column in columns), slo_cell(j)), j.meets_slo, j is chosen)
            for j in one.judged
        ]
    return ("model", *map(head, columns), "SLO violations"), rows


def render_comparison(
    judgements: Sequence[Judgement], placed: Sequence[ParetoPoint], notes: Sequence[str], price: str
) -> str:
    """The page. placed: the models' places in cost and score, empty without scores. notes: what differs between them.

    price: where the hour's price is from, in words. Raises ValueError without models.
    """
    if not judgements:
        raise ValueError("nothing to compare")
    models = named(judgements)
    if all(one.usd_per_hour_total is None for one in models):
        price = "none given"
    said = comparison(models, placed)
    figures = curves(models)
    scored = any(one.on_frontier is not None for one in placed)
    points_head, points = all_levels(models)
    warnings = cards((one.name, j) for one in models for j in one.judged)
    content: dict[str, Any] = {
        "page_title": said.sentence,
        "counted": counted(models),
        "about": [f"SLO {models[0].slo}", f"price: {price}"],
        "feasible": any(one.decision.kind == "optimum" for one in models),
        "answer": said,
        "notes": list(notes),
        "picture": frontier_figure(placed) if scored else figures[-1],
        "head": head_of(models),
        "optima": side_by_side(models),
        "legend": [(one.name, _swatch(i)) for i, one in enumerate(models)],
        "figures": figures if scored else figures[:-1],
        "found_warnings": warnings,
        "points_head": points_head,
        "points": points,
        "facts": _facts(models, price),
    }
    sections = [
        ("optima", "Side by side"),
        ("levels", "Against concurrency"),
        *([("warnings", f"Warnings ({len(warnings)})")] if warnings else []),
        ("points", "All levels"),
        ("provenance", "Provenance"),
    ]
    return render_template("comparison.html.j2", content | {"sections": sections})


def _swatch(i: int) -> str:
    return f'<svg class="bs swatch" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, i)}</svg>'


def _facts(models: Sequence[Judgement], price: str) -> list[tuple[str, str]]:
    hourly = sorted({usd(one.usd_per_hour_total) for one in models})
    return [
        ("SLO", str(models[0].slo)),
        ("price", price),
        ("an hour of the machine", ", ".join(hourly) or DASH),
        *((one.name, one.source) for one in models),
    ]
