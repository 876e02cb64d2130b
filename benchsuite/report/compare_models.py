"""comparison.html: several runs, or the models of a table of points, in one self-contained file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchsuite.economics.pareto import ParetoPoint
from benchsuite.report import charts
from benchsuite.report.charts import SMALL, Frame, Series, marker
from benchsuite.report.charts_special import BUBBLES_NARROW, frontier_picture, surely
from benchsuite.report.charts_special import FRAME as FRONTIER
from benchsuite.report.format import DASH, chance, count, limit_name, ms, number, usd
from benchsuite.report.page import render_template
from benchsuite.report.sections_levels import Figure, Row, level_series, series_table
from benchsuite.report.sections_run import Answer, Tile, cards
from benchsuite.results import Decision, EvaluatedLevel
from benchsuite.slo import Slo

WIDE = Frame(560, 330, 50, 150, 40, 44)
FRONTIER_HEAD = ("model", "users", "$ per run", "score", "10^9 parameters", "on the frontier", "P", "dominated by")


def frontier_figure(placed: Sequence[ParetoPoint]) -> Figure:
    """The paper's figure 1 with its table."""
    best = [one for one in placed if surely(one)]
    title = f"{len(best)} of {sum(one.on_frontier is not None for one in placed)} models lie on the frontier"
    rows = tuple(
        (
            one.model,
            count(one.concurrency),
            usd(one.cost_usd),
            number(one.score),
            number(one.params_b, 2),
            DASH if one.on_frontier is None else "yes" if one.on_frontier else "no",
            chance(one.p_on_frontier),
            one.reason or ", ".join(one.dominated_by) or DASH,
        )
        for one in placed
    )
    note = "Each model at its own optimum under the SLO. Up and to the left is better."
    wide, narrow = (
        frontier_picture(placed, title=title, **of) for of in ({"frame": FRONTIER}, {"frame": BUBBLES_NARROW})
    )
    return Figure(title, wide, FRONTIER_HEAD, rows, note, narrow)


def curves(contenders: Sequence[Contender]) -> list[Figure]:
    """TTFT, per-user throughput, and cost over the level, a line per contender."""
    found = [ttft_curves(contenders), throughput_curves(contenders)]
    if any(one.usd_per_hour_total is not None for one in contenders):
        found += [cost_curves(contenders), token_cost_curves(contenders)]
    return found


def ttft_curves(contenders: Sequence[Contender], frame: Frame = WIDE) -> Figure:
    """Mean time to first token."""
    limits = _limits(contenders, "ttft", 1000)
    late = [
        f"{one.name} at {', '.join(levels)}"
        for one in contenders
        if (levels := [str(j.point.concurrency) for j in one.judged if _misses(j, "ttft")])
    ]
    title = f"TTFT breaks its limit for {'; '.join(late)}" if late else "TTFT keeps its limit everywhere"
    if not limits:
        title = "TTFT over the levels"
    return _curves(
        contenders, title, "mean TTFT (ms)", lambda j: _ms(j.point.ttft_s.mean), limits, frame, "ttft_mean_s", 1000
    )


def throughput_curves(contenders: Sequence[Contender]) -> Figure:
    """The paper's throughput, per user."""
    limits = _limits(contenders, "throughput", 1)
    kept = [
        max((j.point.concurrency for j in one.judged if not _misses(j, "throughput")), default=0) for one in contenders
    ]
    title = "per-user throughput over the levels"
    if limits:
        span = str(kept[0]) if len(set(kept)) == 1 else f"{min(kept)} to {max(kept)}"
        title = f"per-user throughput keeps its limit up to {span} users"
        if not any(_misses(j, "throughput") for one in contenders for j in one.judged):
            title = "per-user throughput keeps its limit at every level"
    name = "output_tok_s_per_user"
    return _curves(
        contenders, title, "per-user throughput (tok/s)", lambda j: j.point.output_tok_s_per_user, limits, figure=name
    )


def cost_curves(contenders: Sequence[Contender], frame: Frame = WIDE) -> Figure:
    """Dollars per run of the set."""
    chosen = [one.decision.choice.cost.cost_usd for one in contenders if one.decision.kind == "optimum"]
    known = [cost for cost in chosen if cost]
    title = "cost of a run over the levels"
    if len(known) > 1:
        title = f"at their optima the runs cost {usd(min(known))} to {usd(max(known))}"
    return _curves(
        contenders, title, "cost of a run of the set (USD)", lambda j: j.cost.cost_usd, (), frame, "cost_usd"
    )


def token_cost_curves(contenders: Sequence[Contender]) -> Figure:
    """Dollars per million output tokens, which does not depend on how long the answers are."""
    title = "cost of a million output tokens falls with every user that is added"
    if any(b > a for one in contenders for a, b in zip(_token_costs(one), _token_costs(one)[1:], strict=False)):
        title = "cost of a million output tokens falls with users, with exceptions"
    name = "usd_per_1m_output_tokens"
    return _curves(
        contenders, title, "USD per 1M output tokens", lambda j: j.cost.usd_per_1m_output_tokens, (), figure=name
    )


def _token_costs(one: Contender) -> list[float]:
    return [j.cost.usd_per_1m_output_tokens for j in one.judged if j.cost.usd_per_1m_output_tokens is not None]


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def _misses(j: EvaluatedLevel, metric: str) -> bool:
    return any(limit_name(miss).startswith(metric) for miss in j.misses)


def _limits(contenders: Sequence[Contender], metric: str, scale: float) -> tuple[charts.Limit, ...]:
    return tuple(
        charts.Limit(limit.value * scale, str(limit)) for limit in contenders[0].slo.limits if limit.metric == metric
    )


def _curves(
    contenders: Sequence[Contender],
    title: str,
    y_label: str,
    value: Callable[[EvaluatedLevel], float | None],
    limits: Sequence[charts.Limit],
    frame: Frame = WIDE,
    figure: str = "",
    scale: float = 1.0,
) -> Figure:
    series = [_line(one, value, figure, scale) for one in contenders]
    title = title[:1].upper() + title[1:]
    wide = charts.level_chart(series, title=title, y_label=y_label, limits=limits, named=True, frame=frame)
    narrow = charts.level_chart(series, title=title, y_label=y_label, limits=limits, frame=SMALL)
    return Figure(title, wide, *series_table(series, y_label), narrow=narrow)


def _line(one: Contender, value: Callable[[EvaluatedLevel], float | None], figure: str, scale: float) -> Series:
    chosen = one.decision.choice.point.concurrency if one.decision.kind == "optimum" else None
    found = level_series(one.name, one.judged, value, figure, scale).points
    return Series(
        one.name,
        tuple(
            replace(point, misses=not j.meets_slo, chosen=j.point.concurrency == chosen)
            for point, j in zip(found, one.judged, strict=True)
        ),
    )


HEAD = (
    "model", "users", "$ per run", "$ per 1M output", "TTFT mean ms", "tok/s per user", "output tok/s", "wall s",
    "P opt", "next level misses",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contender:
    """One model's judged curve. source: where it was read from. usd_per_hour_total: the machine's, None if unknown.

    model: where the name is another, for several runs of one model.
    """

    name: str
    source: str
    judged: tuple[EvaluatedLevel, ...]
    decision: Decision
    slo: Slo
    usd_per_hour_total: float | None
    model: str | None = None


def counted(contenders: Sequence[Contender]) -> str:
    """'9 models', '2 runs of gpt-oss-20b', '3 runs of 2 models'."""
    models = {one.model or one.name for one in contenders}
    if len(models) == len(contenders):
        return f"{len(models)} model{'s' * (len(models) > 1)}"
    return f"{len(contenders)} runs of {models.pop() if len(models) == 1 else f'{len(models)} models'}"


def head_of(contenders: Sequence[Contender]) -> Row:
    """The columns of `side_by_side`."""
    return ("model" if "runs of" not in counted(contenders) else "run", *HEAD[1:])


def comparison(contenders: Sequence[Contender], placed: Sequence[ParetoPoint]) -> Answer:
    """What the page says first: the frontier where there are scores, else the cheapest that keeps the SLO."""
    kept = [(_expense(one), one) for one in contenders if one.decision.kind == "optimum"]
    if not kept:
        return Answer(f"None of {len(contenders)} keeps the SLO at any level", ())
    cheapest, second, *_ = [one for _, one in sorted(kept, key=lambda pair: pair[0])] + [None, None]
    assert cheapest is not None
    best = [one for one in placed if one.on_frontier and surely(one)]
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
    tiles.append(_certainty(contenders, placed, cheapest, second))
    if best:
        names = ", ".join(one.model for one in sorted(best, key=lambda one: one.cost_usd or 0.0))
        sentence = f"{len(best)} of {len(scored)} models are worth their money: {names}"
    else:
        how = "in the shortest run" if cheapest.usd_per_hour_total is None else "at the least cost"
        tied = "" if second is None or _apart(cheapest, second) is not False else f", not told apart from {second.name}"
        sentence = f"{cheapest.name} keeps the SLO {how}{tied}: {_at(cheapest)}"
    return Answer(sentence, tuple(tiles))


def _expense(one: Contender) -> float:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    return choice.cost.cost_usd or choice.point.duration_s or 0.0


def _at(one: Contender) -> str:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    users = f"{choice.point.concurrency} users"
    if choice.cost.cost_usd is None:
        return f"{users}, {number(choice.point.duration_s)} s per run of the set"
    return (
        f"{users}, {usd(choice.cost.cost_usd)} per run of the set, "
        f"{usd(choice.cost.usd_per_1m_output_tokens)} per 1M output tokens"
    )


def _ends(one: Contender) -> tuple[float, float] | None:
    """The interval of what the cheapest is chosen by; None with one run."""
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    found = choice.intervals.get("duration_s" if choice.cost.cost_usd is None else "cost_usd")
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _apart(cheapest: Contender, second: Contender) -> bool | None:
    """Whether their intervals lie apart; None where one has none."""
    ends, others = _ends(cheapest), _ends(second)
    return None if ends is None or others is None else ends[1] < others[0]


def _certainty(
    contenders: Sequence[Contender], placed: Sequence[ParetoPoint], cheapest: Contender, second: Contender | None
) -> Tile:
    unsure = [one for one in placed if one.p_on_frontier is not None]
    if unsure:
        told = ", ".join(f"{one.model} {one.p_on_frontier:.2f}" for one in unsure[:6] if one.p_on_frontier is not None)
        return Tile("Certainty", "P on frontier", told)
    runs = {j.point.repeat_count for one in contenders for j in one.judged}
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


def side_by_side(contenders: Sequence[Contender]) -> list[tuple[Row, bool, bool]]:
    """Each contender at its optimum, the cheapest first: cells, does it keep the SLO, is it the cheapest."""
    kept = sorted((one for one in contenders if one.decision.kind == "optimum"), key=_expense)
    others = [one for one in contenders if one.decision.kind == "none"]
    return [(_row(one), one.decision.kind == "optimum", one in kept[:1]) for one in (*kept, *others)]


def _row(one: Contender) -> Row:
    if one.decision.kind == "none":
        return (one.name, *[DASH] * (len(HEAD) - 2), one.decision.reason)
    choice = one.decision.choice
    point = choice.point
    return (
        one.name,
        str(point.concurrency),
        usd(choice.cost.cost_usd),
        usd(choice.cost.usd_per_1m_output_tokens),
        ms(point.ttft_s.mean),
        number(point.output_tok_s_per_user),
        number(point.output_tok_s),
        number(point.duration_s),
        chance(one.decision.p_opt),
        one.decision.binding or DASH,
    )


def all_levels(contenders: Sequence[Contender]) -> tuple[Row, list[tuple[Row, bool, bool]]]:
    """Every level of every contender: head, and rows marked like those of `side_by_side`."""
    head = ("model", "users", "wall s", "TTFT mean ms", "tok/s per user", "output tok/s", "output tokens", "$ per run",
            "$ per 1M output", "SLO misses")  # fmt: skip
    rows: list[tuple[Row, bool, bool]] = []
    for one in contenders:
        chosen = one.decision.choice if one.decision.kind == "optimum" else None
        for j in one.judged:
            point = j.point
            doubts = [limit_name(miss) for miss in j.misses] + [f"{limit_name(doubt)}?" for doubt in j.unknown]
            cells = (
                one.name, str(point.concurrency), number(point.duration_s), ms(point.ttft_s.mean),
                number(point.output_tok_s_per_user), number(point.output_tok_s), count(point.output_tokens),
                usd(j.cost.cost_usd), usd(j.cost.usd_per_1m_output_tokens), ", ".join(doubts) or "none",
            )  # fmt: skip
            rows.append((cells, j.meets_slo, j is chosen))
    return head, rows


def render_comparison(
    contenders: Sequence[Contender], placed: Sequence[ParetoPoint], notes: Sequence[str], price: str
) -> str:
    """The page. placed: the models' places in cost and score, empty without scores. notes: what differs between them.

    price: where the hour's price is from, in words. Raises ValueError without contenders.
    """
    if not contenders:
        raise ValueError("nothing to compare")
    if all(one.usd_per_hour_total is None for one in contenders):
        price = "none given"
    said = comparison(contenders, placed)
    figures = curves(contenders)
    scored = any(one.on_frontier is not None for one in placed)
    points_head, points = all_levels(contenders)
    warnings = cards((one.name, j) for one in contenders for j in one.judged)
    content: dict[str, Any] = {
        "page_title": said.sentence,
        "counted": counted(contenders),
        "about": [f"SLO {contenders[0].slo}", f"price: {price}"],
        "feasible": any(one.decision.kind == "optimum" for one in contenders),
        "answer": said,
        "notes": list(notes),
        "picture": frontier_figure(placed) if scored else figures[-1],
        "head": head_of(contenders),
        "optima": side_by_side(contenders),
        "legend": [(one.name, _swatch(i)) for i, one in enumerate(contenders)],
        "figures": figures if scored else figures[:-1],
        "found_warnings": warnings,
        "points_head": points_head,
        "points": points,
        "facts": _facts(contenders, price),
    }
    named = (("optima", "Side by side"), ("levels", "Against concurrency"), ("warnings", f"Warnings ({len(warnings)})"))
    rest = (("points", "All levels"), ("provenance", "Provenance"))
    sections = [one for one in (*named, *rest) if one[0] != "warnings" or warnings]
    return render_template("comparison.html.j2", content | {"sections": sections})


def _swatch(i: int) -> str:
    return f'<svg class="bs swatch" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, i)}</svg>'


def _facts(contenders: Sequence[Contender], price: str) -> list[tuple[str, str]]:
    hourly = sorted({usd(one.usd_per_hour_total) for one in contenders})
    return [
        ("SLO", str(contenders[0].slo)),
        ("price", price),
        ("an hour of the machine", ", ".join(hourly) or DASH),
        *((one.name, one.source) for one in contenders),
    ]
