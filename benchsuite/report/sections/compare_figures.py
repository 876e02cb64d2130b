"""The figures of several runs or models beside each other: the frontier, and their curves. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from benchsuite.economics.frontier import Placed
from benchsuite.report import charts
from benchsuite.report.bubbles import FRAME as FRONTIER
from benchsuite.report.bubbles import NARROW, frontier_picture, surely
from benchsuite.report.charts import Series
from benchsuite.report.figures import Figure, level_series, series_table
from benchsuite.report.sections.compare import Contender
from benchsuite.report.svg import SMALL, Frame
from benchsuite.report.words import DASH, chance, count, limit_name, number, usd
from benchsuite.results import Judged

WIDE = Frame(560, 330, 50, 150, 40, 44)
FRONTIER_HEAD = ("model", "users", "$ per run", "score", "10^9 parameters", "on the frontier", "P", "dominated by")


def frontier_figure(placed: Sequence[Placed]) -> Figure:
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
    wide, narrow = (frontier_picture(placed, title=title, **of) for of in ({"frame": FRONTIER}, {"frame": NARROW}))
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
    name = "throughput_paper_tok_s"
    return _curves(
        contenders, title, "per-user throughput (tok/s)", lambda j: j.point.throughput_paper_tok_s, limits, figure=name
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


def _misses(j: Judged, metric: str) -> bool:
    return any(limit_name(miss).startswith(metric) for miss in j.misses)


def _limits(contenders: Sequence[Contender], metric: str, scale: float) -> tuple[charts.Limit, ...]:
    return tuple(
        charts.Limit(limit.value * scale, str(limit)) for limit in contenders[0].slo.limits if limit.metric == metric
    )


def _curves(
    contenders: Sequence[Contender],
    title: str,
    y_label: str,
    value: Callable[[Judged], float | None],
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


def _line(one: Contender, value: Callable[[Judged], float | None], figure: str, scale: float) -> Series:
    chosen = one.decision.choice.point.concurrency if one.decision.kind == "optimum" else None
    found = level_series(one.name, one.judged, value, figure, scale).points
    return Series(
        one.name,
        tuple(
            replace(point, misses=not j.meets_slo, chosen=j.point.concurrency == chosen)
            for point, j in zip(found, one.judged, strict=True)
        ),
    )
