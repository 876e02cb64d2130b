"""Numbers as text and the decision as a sentence, for terminal and page. Pure.

Base units come in (seconds, dollars, ratios); units for people go out. Missing is an en dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchsuite.economics.decision import costs_less, stopped_level
from benchsuite.economics.verdict import why_text
from benchsuite.level import Level
from benchsuite.manifest import RunManifest, SearchFacts
from benchsuite.metrics import BY_COLUMN, REASONING, Metric
from benchsuite.quality.rubric import judge_findings
from benchsuite.results import (
    MAX_NOT_JUDGED,
    Decision,
    Distribution,
    Estimate,
    EvaluatedLevel,
    LimitCheck,
    NoFeasiblePoint,
    SloVerdict,
)
from benchsuite.slo import Limit, Slo
from benchsuite.spec import parse_spec
from benchsuite.warning_table import DISTURBING, Finding

DASH = "\u2013"


def number(value: float | None, digits: int = 3) -> str:
    """`value` with at least `digits` significant digits, whole from there on: 0.0123, 4.57, 12,345."""
    if value is None or not abs(value) < 1e300:  # what a foreign file holds may be anything
        return DASH
    if value == 0:
        return "0"
    rounded = abs(float(f"{value:.{digits}g}"))  # 9.999 has two whole digits once it is written
    whole = len(str(int(rounded))) if rounded >= 1 else 0
    if whole >= digits:
        return f"{value:,.0f}"
    if whole:
        return f"{value:.{digits - whole}f}"
    return f"{value:#.{digits}g}"


def ms(value_s: float | None) -> str:
    """Seconds as milliseconds, without the unit."""
    return number(None if value_s is None else value_s * 1000)


def usd(value: float | None) -> str:
    """Dollars with their sign: cents from a dollar up, significant digits below."""
    if value is None:
        return DASH
    sign, value = "-" * (value < 0), abs(value)
    return f"{sign}${value:,.2f}" if value >= 1 else f"{sign}${number(value)}"


def count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def plural(n: int, word: str) -> str:
    """'1 request', '1,200 requests'."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def percent(ratio: float | None) -> str:
    return DASH if ratio is None else f"{number(ratio * 100)} %"


def points(share: float | None) -> str:
    """A difference of two shares: '-4.2'."""
    return DASH if share is None else f"{100 * share:+.1f}"


def estimate_text(found: Estimate | None, shown: Callable[[float | None], str]) -> str:
    """'76.2 % [74.6 %, 77.7 %]'; 'at least $0.31' where there is no upper end."""
    if found is None or found.low is None:
        return DASH if found is None else shown(found.value)
    if found.high is None:
        value = "" if found.value is None else f"{shown(found.value)}, "
        return f"{value}at least {shown(found.low)}"
    return f"{shown(found.value)} [{shown(found.low)}, {shown(found.high)}]"


def margin_text(margin: float) -> str:
    """'+4.2 %': the limit over the figure, so that above 0 it is kept. margin: ln(limit / figure)."""
    value = 100 * math.expm1(margin)
    return f"{value:+,.{1 if abs(value) < 10 else 0}f} %"


def known_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows without the columns in which no row has a value."""
    kept = [i for i in range(len(heads)) if not rows or any(row[i] not in (DASH, "") for row in rows)]
    return tuple(heads[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


_ENDS = {
    "confident": "it is as sure as was asked for", "max_reached": "the highest level allowed was reached",
    "none_feasible": "the lowest level allowed misses the SLO", "server_lost": "the server was lost",
    "budget_minutes": "no minutes are left for another probe (--budget-min)",
    "budget_usd": "no dollars are left for another probe (--budget-usd)", "stopped": "it was stopped",
    "given_up": "no level can be as cheap as the answer of another setting",
}  # fmt: skip


def search_lines(search: SearchFacts, slo: str) -> list[str]:
    """The answer of a search that has ended, a line each: the level, its cost, what is known of the limits, what the
    search took and why it ended, and what more of it would bring."""
    end, level, lines = search.end, search.level, list[str]()
    if end is None:
        return ["the search has no end yet"]
    if level is None or end.answer is None:
        none = "no level meets" if end.reason == "none_feasible" else "undecided: no level is known that meets"
        missed = end.lowest_missed
        misses = "" if missed is None else f"; already missed at {Level(missed, search.asked.kind).at}"
        lines.append(f"{none} {slo}{misses}")
    else:
        found, slack = end.answer, search.asked.slack
        sure = "best" if end.reason in ("confident", "max_reached") else "undecided: best so far"
        above = "; no optimum is bracketed, for no higher level was allowed (--high)"
        lines.append(f"{sure} at {level.at}, P(good) {chance(found.p_good)}" + above * (end.reason == "max_reached"))
        at_most = "" if slack is None else f"at most {100 * slack:g} % "
        lines.append(f"good: it meets the SLO and costs {at_most}more than the cheapest level that does")
        good_request = search.per == "good_request"
        times, what = (1.0, "a good request") if good_request else (1e6, "per 1M output tokens")
        cost = f"{_with_ends(found.usd, usd, times)} {what}" if found.usd else "no price was given (--usd-per-hour)"
        lines.append(f"{cost}; {_with_ends(found.throughput, number)} {per_second(search)}")
        ends = [f"P(SLO met) {chance(found.p_met)}, nearest limit {found.binding or 'none'}"]
        words = zip(("kept up to", "missed from"), found.bracket, strict=True)
        ends += [f"{word} {Level(one, level.kind)}" for word, one in words if one is not None]
        lines.append(", ".join(ends))
    spent = f", {usd(end.spent_usd)}" if end.spent_usd is not None else ""
    took = f"{number(end.seconds / 60)} min" if end.seconds >= 60 else f"{number(end.seconds)} s"
    lines.append(f"after {plural(end.probes, 'probe')}, {took}{spent}: {_ENDS.get(end.reason, DASH)}")
    if end.answer is not None and end.answer.more_p_good is not None:
        more = plural(end.answer.more, "probe")
        lines.append(f"ten more minutes ({more}) would most likely bring P(good) to {chance(end.answer.more_p_good)}")
    return lines


def search_answer(manifest: RunManifest, slo: Slo) -> list[str]:
    """search_lines of a run's folder, first that it was for another SLO where it is judged by one; [] of a sweep."""
    if manifest.search is None:
        return []
    own = parse_spec(manifest.spec, where="manifest.json").limits
    other = f"the search was for another SLO, {own}; its answer says nothing of {slo}"
    return [*[other] * (own != slo), *search_lines(manifest.search, str(own))]


def per_second(search: SearchFacts) -> str:
    """Of what is paid for."""
    return "good requests/s" if search.per == "good_request" else "output tok/s"


def _with_ends(ends: Sequence[float], shown: Callable[[float | None], str], times: float = 1.0) -> str:
    value, low, high = (shown(times * one) for one in ends)
    return f"{value} [{low}, {high}]"


def level_head(levels: Iterable[Level]) -> str:
    """The head of a column of levels: 'concurrency', of rates 'rate'."""
    kinds = {level.kind for level in levels}
    return "rate" if kinds == {"rate"} else "concurrency"


def show(metric: Metric, value: float | None) -> str:
    """A value of the metric, given in its base unit, in the unit that tables show, without it."""
    if metric.unit == "usd":
        return usd(value)
    if metric.unit == "ratio":
        return percent(value)
    if isinstance(value, int):
        return count(value)
    return number(None if value is None else value * metric.scale)


def head(column: str, judged: Iterable[EvaluatedLevel] = ()) -> str:
    """The head of a table's column: 'TTFT p95 ms'. column: of metrics.BY_COLUMN. judged: the levels of the table, whose
    scores may be graded, so that points are paid for."""
    points = column == "usd_per_1m_correct" and any(j.quality is not None and j.quality.graded for j in judged)
    return "$/1M score points" if points else BY_COLUMN[column].label


def over_runs(columns: Iterable[str]) -> str:
    """What intervals are over, in the words of a title."""
    return "over runs" + "; of scores over items" * ("score" in columns)


def cell(level: EvaluatedLevel, column: str, *, asked: bool = False) -> str:
    """The value of a level in a table; an en dash too for a percentile of too few requests, but for a judged one.

    asked: a person named the column, so that it is shown, with an asterisk where too few requests lie beyond it.
    """
    one = BY_COLUMN[column]
    value, mark = one.of(level), ""
    if one.stat in ("p90", "p95", "p99") and not is_judged(level, column):
        supported = tail(level.point.distributions[one.metric.key], one.stat)
        value, mark = (value, "*" * (value is not None and supported is None)) if asked else (supported, "")
    return show(one.metric, value) + mark


def is_judged(level: EvaluatedLevel, column: str) -> bool:
    """The SLO has a limit on this very statistic: it is shown however few requests support it."""
    return any(check.asked and check.limit.statistic.column == column for check in level.limits)


_COUNTS = ("concurrency", "rate_per_s", "repeat_count", "n_ok", "n_failed", "duration_s")


def with_judged(columns: Sequence[str], judged: Sequence[EvaluatedLevel], *, alone: bool = False) -> tuple[str, ...]:
    """`columns` with the statistics that the SLO limits before all other figures; alone: instead of others of theirs.

    Goodput and attainment are left out where no level knows them: no per-request limits were given. So is what is of
    scores or of reasoning where there are none, what levels of this kind (users, or a rate) do not have, and how long a
    run took, and its cost, where the runs are probes of a search.
    """
    kinds = {None, *(level.point.level.kind for level in judged)}
    columns = [column for column in columns if BY_COLUMN[column].metric.of_kind in kinds or not judged]
    columns = [column for column in columns if column != "usd_per_good_request" or "rate" in kinds]
    if any(level.point.probed for level in judged):
        columns = [column for column in columns if column not in ("duration_s", "cost_usd")]
    known = any(level.point.ratios.get("attainment") is not None for level in judged)
    thinks = any(level.point.reasoning_tokens for level in judged)
    shown = [column for column in columns if known or not BY_COLUMN[column].metric.needs_goodput]
    shown = [column for column in shown if thinks or column not in REASONING]
    scored = any(level.quality is not None for level in judged)
    shown = [column for column in shown if scored or not BY_COLUMN[column].metric.of_answers]
    limits = [check.limit.statistic for check in judged[0].limits if check.asked] if judged else []
    limited = [limit.column for limit in limits]
    metrics = {limit.metric.key for limit in limits}
    rest = [one for one in shown if one not in limited and not (alone and BY_COLUMN[one].metric.key in metrics)]
    at = sum(one in _COUNTS for one in rest)
    return (*rest[:at], *limited, *rest[at:])


def slo_cell(judged: EvaluatedLevel) -> str:
    """The verdict with its limits: 'met', 'not met: ttft_p95', 'undecided: ttft_p95'."""
    names = [check.limit.name for check in judged.checks(judged.slo_verdict)] if judged.slo_verdict != "met" else []
    return f"{judged.slo_verdict}: {', '.join(names)}" if names else judged.slo_verdict


def interval_cell(level: EvaluatedLevel, column: str) -> str:
    """The value with its interval: '4.57 [4.40, 4.75]'. One that is of the steady window alone is left out."""
    one, found, text = BY_COLUMN[column], level.intervals.get(column), cell(level, column)
    value = one.of(level)
    if text == DASH or found is None or found.value is None or not math.isclose(found.value, value, rel_tol=1e-9):
        return text
    if found.low is None and found.high is None:
        return text
    return f"{text} [{show(one.metric, found.low)}, {show(one.metric, found.high)}]"


def tail(values_s: Distribution, stat: str) -> float | None:
    """The percentile called `stat` in seconds, or None where fewer than ten observations lie beyond it.

    So p99 needs n >= 1000 and p95 n >= 200: below, it is hardly more than the largest value seen.
    """
    return values_s.stat(stat) if values_s.n * (100 - int(stat[1:])) >= 1000 else None


def best_tail(judged: Iterable[EvaluatedLevel]) -> str:
    """The highest of p99 and p95 that any level's TTFT supports."""
    return "p99" if any(tail(j.point.ttft_s, "p99") is not None for j in judged) else "p95"


def set_size(judged: EvaluatedLevel) -> int | None:
    """Requests in one run of the set; None in a table of points without it."""
    point = judged.point
    return None if point.n_failed is None else round((point.n_ok + point.n_failed) / point.repeat_count)


def headline(decision: Decision, judged: Sequence[EvaluatedLevel]) -> str:
    """The decision in one sentence, without a full stop: the level, the figures that the SLO limits, its price, and
    what is not sure of it.

    'optimum' and 'recommended' are levels that are proven to meet the SLO, with the probability that they are the
    cheapest; without that proof or that probability a level 'looks best', and what would settle it follows.
    """
    if decision.kind == "none":
        return no_level_text(decision)
    level, proven = decision.recommended, decision.proven
    if decision.p_good is not None:
        named = f"{level.point.level.label} by the search, P(good) {chance(decision.p_good)}"
    elif decision.verdict != "met" or not decision.p_by_level:
        named = f"{level.point.level.label} looks best"
    else:
        named = f"{'optimum' if level is decision.choice else 'recommended'} {level.point.level.label}"
    figures = [text for text in (slo_figures(level), price_text(level)) if text]
    said = [f"{named}{chance_text(decision)}: {', '.join(figures)}"]
    if decision.verdict != "met":
        said.append(f"whether it meets the SLO {doubt_text(level, values=False)}")
    if settles := effort_text(decision):
        said.append(settles)
    if decision.verdict != "met" and proven is not None:
        said.append(f"{proven.point.level.label} is proven to meet it ({price_text(proven)})")
    return "; ".join([*said, _next_level(level, judged)])


def slo_figures(level: EvaluatedLevel) -> str:
    """'TTFT p95 412 ms, 23.4 tok/s/user': the figures that the SLO limits; '' where none is known."""
    said = []
    for check in level.limits:
        if check.asked and check.value is not None:
            metric, stat = check.limit.statistic
            name, value = metric.label + (f" {stat}" if stat else ""), check.limit.show(check.value)
            text = f"{name} {value}" if metric.unit in ("s", "ratio") else f"{show(metric, check.value)} {name}"
            said.append(text + " (steady window)" * check.steady)
    return ", ".join(said)


def effort_text(decision: Decision) -> str:
    """'about 5 repeats would decide (4 more: 2.1 min, $0.03)'; '' where nothing is open."""
    found, level = decision.effort, decision.recommended if decision.kind == "optimum" else decision.nearest
    if found is None:
        if level is None or level.slo_verdict != "undecided" or level.point.probed:
            return ""
        if any(check.why == "search" for check in level.checks("undecided")):
            return ""
        if any(check.why == "disturbed" for check in level.checks("undecided")):
            return "the level was disturbed: measure it again without what its warnings name"
        items = [check.values["items"] for check in level.checks("undecided") if check.why == "items"]
        if items:
            return "no practical set would decide" if None in items else f"about {max(items):,} items would decide"
        return "no practical number of repeats would decide"
    if len(found.levels) > 1 or (level is not None and level.slo_verdict == "met"):
        what = f"{found.repeats} repeats of each level would show how certain that is"
    else:
        what = f"about {found.repeats} repeats would decide"
    price = [usd(found.usd)] * bool(found.usd)
    if found.minutes is not None:
        price.insert(
            0, f"{number(found.minutes * 60, 2)} s" if found.minutes < 1 else f"{number(found.minutes, 2)} min"
        )
    return f"{what} ({found.more} more{': ' * bool(price)}{', '.join(price)})"


def chance_text(decision: Decision) -> str:
    """' (P = 0.61; 16: 0.39)': how often the rule picks the level that is named, and what else; '' with one run."""
    by_level = decision.p_by_level
    if not by_level:
        return ""
    own = decision.recommended.point.level if decision.kind == "optimum" else None
    others = [f"{level.label}: {p:.2f}" for level, p in by_level.items() if level != own and p >= 0.005]
    none = 1 - sum(by_level.values())
    others += [f"none: {none:.2f}"] * (none >= 0.005)
    if own is not None:
        others.insert(0, f"P = {by_level[own]:.2f}")
    return f" ({'; '.join(others)})"


def chance(p: float | None) -> str:
    return DASH if p is None else f"{p:.2f}"


def known_ends(estimate: Estimate | None) -> tuple[float, float] | None:
    """Both ends of an interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.low, estimate.high


def has_intervals(judged: Iterable[EvaluatedLevel]) -> bool:
    """True if any level has the interval of its wall time: several runs."""
    return any((found := j.intervals.get("duration_s")) is not None and found.low is not None for j in judged)


def price_text(judged: EvaluatedLevel) -> str:
    """'$0.0012 per run of 64 requests, $3.20/1M output tokens'; without a price, how long the run took."""
    size, cost = set_size(judged), judged.cost
    if not judged.point.of_whole_runs:
        return _window_price_text(judged)
    run = "run" if size is None else f"run of {plural(size, 'request')}"
    if cost.cost_usd is None:
        return f"{number(judged.point.duration_s)} s per {run} (no price given)"
    per_1m = cost.usd_per_1m_output_tokens
    if per_1m is None:
        return f"{usd(cost.cost_usd)} per {run}"
    return f"{usd(cost.cost_usd)} per {run}, {usd(per_1m)}/1M output tokens{ends_text(judged)}"


def _window_price_text(judged: EvaluatedLevel) -> str:
    """'$1.38/1M output tokens, $0.000276 per request, 12 % of the time idle'; idle is a rate alone."""
    cost, idle = judged.cost, judged.point.ratios.get("idle_share")
    said = [f"{usd(cost.usd_per_1m_output_tokens)}/1M output tokens{ends_text(judged)}"] * bool(
        cost.usd_per_1m_output_tokens
    )
    prices = (("request", cost.usd_per_request), ("good request", cost.usd_per_good_request))
    said += [f"{usd(price)} per {what}" for what, price in prices if price is not None]
    said += ["no price given"] * (not said) + [f"{percent(idle)} of the time idle"] * (idle is not None)
    return ", ".join(said)


def ends_text(judged: EvaluatedLevel) -> str:
    """' [3.10, 3.30]': the interval of the cost per output token; '' without one."""
    found = judged.intervals.get("usd_per_1m_output_tokens")
    return "" if found is None or found.low is None else f" [{number(found.low)}, {number(found.high)}]"


def no_level_text(decision: NoFeasiblePoint) -> str:
    """'no level meets the SLO; nearest: 4 misses error_rate <= 1 % (25 %)'; only seen so: 'no level is seen to'."""
    nearest = decision.nearest
    if nearest is None:
        return "no level meets the SLO: none was measured"
    open_ = decision.verdict != "not met"
    said = [f"no level {'appears to meet' if open_ else 'meets'} the SLO"]
    said.append(f"nearest: {nearest.point.level.label} {doubt_text(nearest) or 'has no duration'}")
    if open_ and (settles := effort_text(decision)):
        said.append(settles)
    return "; ".join(said)


def doubt_text(judged: EvaluatedLevel, *, values: bool = True) -> str:
    """'misses output_throughput_per_user>20 (18.2 tok/s)', 'is undecided: ...'; '' when every limit is met."""

    def value(check: LimitCheck) -> str:
        of_window = " in the steady window" * check.steady
        return " unknown" if check.value is None else f" ({check.limit.show(check.value)}{of_window})" * values

    verbs: tuple[tuple[SloVerdict, str], ...] = (
        ("not met", "misses"), ("undecided", "is undecided:"), ("unknown", "is not proven:"),
    )  # fmt: skip
    said = [
        f"{verb} {' and '.join(f'{check.limit}{value(check)}' for check in checks)}"
        for verdict, verb in verbs
        if (checks := judged.checks(verdict))
    ]
    if judged.point.saturated:
        return f"is {judged.point.saturation_text}"
    # what is missed is enough to rule a level out
    return ", and ".join(said[:1] if judged.checks("not met") else said)


def _next_level(named: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> str:
    stopped = stopped_level(named, judged)
    above = [j for j in judged if j.point.level > named.point.level]
    if stopped is not None and stopped is not min(above, key=lambda j: j.point.level, default=None):
        return f"{stopped.point.level.label} would cost less but {doubt_text(stopped)}"
    if not above:
        return "it is the highest level measured, so measure higher"
    following = min(above, key=lambda j: j.point.level)
    cheaper = costs_less(following, named)  # then it is not sure to be the cheapest, or it would be named
    reason = doubt_text(following) or f"{'looks cheaper' if cheaper else 'costs more'} ({price_text(following)})"
    return f"next level {following.point.level.label} {reason}"


def asides(decision: Decision, judged: Sequence[EvaluatedLevel]) -> list[str]:
    """What the headline leaves out: the runner-up, the SLO's near-sure doubts, and what the figures cannot say."""
    level = decision.nearest if decision.kind == "none" else decision.recommended
    open_ = [] if level is None else level.checks("undecided", "unknown")
    whys: dict[str, list[str]] = {}
    for check in open_:
        whys.setdefault(f"{check.verdict}: {why_text(check)}", []).append(str(check.limit))
    verbs = {why: "is" if len(limits) == 1 else "are" for why, limits in whys.items()}
    said = [
        f"{' and '.join(limits)} at {level.point.level} {verbs[why]} {why}" for why, limits in whys.items() if level
    ]
    if decision.kind == "optimum" and decision.runner_up is not None:
        second = decision.runner_up
        sure = "" if second.slo_verdict == "met" else f"; whether it meets the SLO {doubt_text(second)}"
        said.append(f"runner-up {second.point.level.label}: {price_text(second)}{sure}")
    if decision.kind == "optimum" and level is not decision.choice:
        cheaper = decision.choice
        unsure = "to be the cheapest level that meets the SLO" if cheaper.slo_verdict == "met" else "to meet the SLO"
        looks = f"{cheaper.point.level.label} looks cheaper, by at most 5 %, but is not certain {unsure}"
        said.append(f"{looks} ({price_text(cheaper)})")
    if decision.kind == "none" and any(p >= 0.005 for p in decision.p_by_level.values()):
        said.append(f"when the runs are resampled, the rule picks{chance_text(decision)}")
    if level is not None:
        at = level.point.level
        guards = ", ".join(
            f"{c.limit} ({c.values['count']:,} of {c.values['n']:,}: up to {percent(c.values['high'])})"
            for c in level.limits
            if not c.asked and c.verdict == "undecided"
        )
        said += [f"not proven at {at}, and not asked for by the SLO: {guards}"] if guards else []
    steady: dict[Limit, list[str]] = {}
    for one in judged:
        for check in one.limits:
            if check.steady and check.asked and check.value is not None:
                steady.setdefault(check.limit, []).append(f"{check.limit.show(check.value)} at {one.point.level}")
    if steady:
        each = "; ".join(f"{limit}: {', '.join(values)}" for limit, values in steady.items())
        said.append(f"judged in the steady window, without ramp-up and drain, where tables show whole runs: {each}")
    if level is not None and level.closed_loop is not None:
        said += _capacity_texts(level, judged)
    if judged and all(j.point.repeat_count == 1 for j in judged):
        said.append("one run per level: no interval, so close levels may swap places")
    if judged and all(j.cost.usd_per_hour is None for j in judged):
        by = "their rate" if any(j.point.level.rate_per_s for j in judged) else "the run's duration"
        by = "output tok/s" if judged[0].point.probed else by
        said.append(f"no price: levels are ranked by {by}; give --usd-per-hour or --preset")
    return said


def _capacity_texts(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> Iterator[str]:
    """'at capacity, concurrency 16 in a closed loop: $0.54/1M output tokens, $0.0002 per request; 2 req/s costs 3.50
    times that', and from which rate on there is no steady state."""
    found, cost = level.closed_loop, level.cost.usd_per_1m_output_tokens
    assert found is not None
    best = found.usd_per_1m_output_tokens
    if found.level is None:
        yield "no level of the closed loop appears to meet the SLO, so there is no price at capacity"
    elif best is not None:
        times = f"; {level.point.level.label} costs {number(cost / best)} times that" if cost and best else ""
        of_request = f", {usd(found.usd_per_request)} per request" * (found.usd_per_request is not None)
        at = f"{found.level.at} in a closed loop{', where the SLO is undecided' * (not found.is_met)}"
        yield f"at capacity, {at}: {usd(best)}/1M output tokens{of_request}{times}"
    if over := [j.point.level for j in judged if j.closed_loop is not None and j.closed_loop.in_flight is None]:
        most = f"which completes {number(found.highest_request_per_s)} requests/s at its highest"
        yield f"from {over[0].words} on there is no steady state within the levels of the closed loop, {most}"


def at_levels(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """'ttft_p95 at 4, 8': each text once, with all its levels."""
    levels: dict[str, dict[str, None]] = {}
    for text, level in pairs:
        levels.setdefault(text, {})[str(level)] = None
    return [f"{text} at {', '.join(at)}" for text, at in levels.items()]


def judging_of(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The judging's facts among those of scores; None where there are none, or they are not as ours are."""
    found = facts.get("judge")
    try:
        return found if found and [*judge_lines(found), *judge_findings(found)] else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # of a folder that others made
        return None


def judge_lines(facts: Mapping[str, Any]) -> list[str]:
    """What a judge was asked, how far it can be believed, what it found, and its bill. facts: of a judging."""

    def shown(one: Mapping[str, Any]) -> str:
        return estimate_text(Estimate(**one), percent)

    control, no = facts["control"], facts["no_verdict"]
    why = f"; {no:,} without a usable verdict" * bool(no) + (f" ({facts['why']})" if facts["why"] else "")
    planted = ", ".join(f"{n} {name}" for name, n in control["planted"].items())
    lines = [
        f"judge {facts['model']}: {facts['asked']:,} questions, {facts['asked_before']:,} of them asked before{why}",
        f"control, {control['n']} answers: sensitivity {shown(control['sensitivity'])}, specificity "
        f"{shown(control['specificity'])}{planted and f'; planted: {planted}'}",
    ]
    if "win_rate" in facts:
        lines.append(
            f"{facts['runs'][0]} is better than {facts['runs'][1]} in {shown(facts['win_rate'])} of "
            f"{facts['rows'] - facts['not_judged']:,} items at {facts['at']}: {facts['wins']} won, {facts['losses']} "
            f"lost, {facts['ties']} tied, {facts['contradictions']} of them as the verdicts of both orders disagree"
        )
    for row in facts.get("levels", ()):
        known = row.get("corrected") or {"value": None}
        right = "" if known["value"] is None else f"; corrected for the judge's errors {shown(known)}"
        lines.append(f"{row['at']}: {shown(row['score'])}{right}")
    if (no := facts["not_judged"]) > MAX_NOT_JUDGED * facts["rows"]:
        lines.append(
            f"partial: {no:,} of {facts['rows']:,} have no verdict, so nothing is to be ranked by these scores"
        )
    n_in, n_out, bill = facts["input_tokens"], facts["output_tokens"], facts["usd"]
    tokens = "the judge counts no tokens" if n_in is None else f"{n_in:,} + {n_out:,} tokens"
    return [*lines, f"its bill, no part of the serving cost: {tokens}{'' if bill is None else f', {usd(bill)}'}"]


def sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a limit, and a full stop."""
    first, _, rest = text.partition(" ")
    named = "_" in first or rest[:1] in ("<", ">")
    return (text if named else text[:1].upper() + text[1:]) + "."


def spaced(text: str, space: str = "\u00a0") -> str:
    """Percentages as everywhere else: '5 %' for '5%', which on a page no line break parts."""
    return re.sub(r"(?<=\d) ?%", f"{space}%", text)


def same_warnings(found: Iterable[Finding]) -> list[tuple[Finding, tuple[Level, ...]]]:
    """Those of one code and remedy together: the first, and the levels that it concerns."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for warn in found:
        groups.setdefault((warn.code, warn.remedy), []).append(warn)
    return [(group[0], tuple(w.level for w in group if w.level is not None)) for group in groups.values()]


# of the decision, whatever the level that they are listed at
_OF_DECISION = ("near_miss", "fragile_optimum", "run_cut_short", "damaged_files")


def ranked_warnings(judged: Sequence[EvaluatedLevel], decision: Decision) -> list[tuple[Finding, tuple[Level, ...]]]:
    """The warnings of one code and remedy together, with their levels; first what moves the decision most.

    That is: of the level that is named or of the decision itself, then of the levels next to it, then of others; of
    each what makes a level prove nothing, then errors. What is only to know comes last.
    """
    named = decision.nearest if decision.kind == "none" else decision.recommended
    second = None if decision.kind == "none" else decision.runner_up
    stopped = None if named is None else stopped_level(named, judged)
    places = {one.point.level: place for one, place in ((stopped, 1), (second, 1), (named, 0)) if one is not None}

    def rank(item: tuple[Finding, tuple[Level, ...]]) -> tuple[int, int, int]:
        finding, levels = item
        place = 0 if finding.code in _OF_DECISION else min((places.get(level, 2) for level in levels), default=2)
        severity = ("error", "warning", "info").index(finding.severity)
        return severity == 2, place, (finding.code not in DISTURBING) + severity

    return sorted(same_warnings(warn for one in judged for warn in one.point.warnings), key=rank)


def warning_text(warn: Finding, levels: Sequence[Level]) -> str:
    """'at 8 (likewise 16, 32): finding; effect; try: remedy'."""
    said = spaced(f"{warn.finding}; {warn.effect}; try: {warn.remedy}", " ")
    if not levels:
        return said
    others = f" (likewise {', '.join(str(level) for level in levels[1:])})" if len(levels) > 1 else ""
    return f"at {levels[0].label}{others}: {said}"
