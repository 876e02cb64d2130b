"""The verdict on each limit at a level: met, not met, undecided or unknown; and what would decide. Pure.

The only place that decides about limits; every output shows its verdicts: docs/METHODS.md, "The verdict".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special

from benchsuite.analysis.intervals import Z
from benchsuite.analysis.regression import ONE_RUN_CV, ONE_RUN_CV_TAIL, repeats_needed
from benchsuite.analysis.requests import Floats
from benchsuite.analysis.slo_test import (
    RunFigures,
    SloResampling,
    TailCount,
    n_min,
    proportion_verdict,
    requests_for_share,
    requests_to_decide,
    tail_verdict,
)
from benchsuite.analysis.warnings import ClientVerdict
from benchsuite.metrics import CONFIDENCE, Statistic
from benchsuite.results import Estimate, LimitCheck, PointSummary, SloVerdict
from benchsuite.slo import Limit, Slo
from benchsuite.warning_table import DISTURBING

MET, NOT_MET = 0.95, 0.05
FAR = 3.0  # what makes a level slow, or the client late, moves no figure by this factor
STEADY_WAVES = 10  # requests of each user in a run, from which ramp-up and drain are a small part of it

WHY = {
    "unknown": "not known",
    "runs": "{runs} runs: P = {p:.3f} that it is met",
    "runs_unknown": "not known in every run",
    "one_run": "one run; runs are assumed to differ by {spread:.0%}",
    "all": "no number of requests proves a limit on every request",
    "share": "{count:,} of {n:,} requests: between {low:.2%} and {high:.2%} (" + CONFIDENCE + " each way)",
    "ramp": "the run is too short to be steady: without ramp-up and drain it might be {best}; "
    "{wanted:,} requests a run would decide",
    "saturated": "saturated: such a rate meets no SLO",
    "no_users": "not known: a rate has no virtual users; limit tpot or decode_throughput instead",
    "items": "{n:,} items: between {low:.1%} and {high:.1%} (" + CONFIDENCE + ")",
    "no_scores": "not known: no answer has a score (benchsuite score RUN, unless their length is fixed)",
    "no_answers": "not known: a table of levels has no answers",
    "partial": "not known: more than 1 % of the answers could not be judged, or their judge cannot tell",
    "search": "P = {p:.2f} that the SLO is met, by all probes of the search",
    "disturbed": "would be {otherwise}, but the level was disturbed: {codes}",
}
_COUNT = "{violations:,} of {n:,} beyond the limit"


def why_text(check: LimitCheck, criteria: int = 1) -> str:
    """What the verdict rests on and what would decide, in words. criteria: that have to be decided together."""
    values = check.values
    said = [WHY[check.why].format(**values)]
    if "violations" in values:
        said.insert(0, _COUNT.format(**values))
    if check.steady:
        said.append("of the steady window, as ramp-up and drain bias the whole run")
    if check.verdict == "undecided" and check.why == "items":
        wanted = values["items"]
        said.append("too close to the limit for any set" if wanted is None else f"about {wanted:,} items would decide")
    if check.verdict != "undecided" or check.why not in ("runs", "one_run", "share"):
        return "; ".join(said)
    if "wanted" in values:
        said.append(
            f"a pass needs {values['wanted']:,} independent requests without a further violation; these count as "
            f"{values['n_eff']:,.0f}"
        )
    repeats = repeats_to_decide([check], criteria)
    if repeats is not None:
        said.append(f"about {repeats} repeats would decide" + f" all {criteria} criteria" * (criteria > 1))
    elif check.requests is not None:
        said.append(f"about {check.requests:,} requests would decide")
    else:
        said.append("too close to the limit for a practical number of repeats")
    return "; ".join(said)


def check_limits(
    point: PointSummary,
    slo: Slo,
    sums: SloResampling | None = None,
    client: ClientVerdict | None = None,
    by_search: float | None = None,
) -> tuple[LimitCheck, ...]:
    """The verdict on every limit, the SLO's first, then those guards whose figure is known. A saturated rate keeps no
    limit on a latency, whatever it was seen at.

    sums: of the level's requests, None for a level of a table. client: None where nothing is known of it, or it
    is taken to be beyond doubt. by_search: P(SLO met) by a search, which knows more than the level's own probes.
    """
    found = []
    for i, limit in enumerate(slo.effective):
        asked = i < len(slo.limits)
        figures = None if sums is None else sums.figures[i]
        value = limit.statistic.of_point(point) if figures is None or not figures.steady else figures.value
        if value is None:
            if asked:
                ratio = limit.statistic.metric.ratio
                of_users = point.level.rate_per_s is not None and ratio is not None and ratio[1] == "user_s"
                why = "no_users" if of_users else "unknown"
                if limit.statistic.metric.of_answers:
                    of_run = "no_answers" if sums is None else "no_scores"
                    why = "partial" if limit.metric in point.intervals else of_run
                found.append(LimitCheck(limit, None, "unknown", why))
            continue
        if limit.metric in ("error_rate", "empty_rate"):
            check = _share(limit, value, point)
        elif limit.statistic.metric.of_answers:
            check = _of_items(limit, value, point.intervals[limit.metric])
        elif figures is not None and len(figures.runs) > 1:
            assert sums is not None
            check = _over_runs(limit, value, figures, sums.tails[i])
        else:
            check = _one_run(limit, value, point, None if sums is None else sums.tails[i])
        if figures is not None:
            check = _of_short_runs(replace(check, steady=figures.steady), figures, point)
        if limit.share == 1 and check.verdict == "met":
            check = replace(check, verdict="undecided", why="all", repeats=None, requests=None)
        if by_search is not None and asked:
            check = _of_search(check, by_search)
        check = _of_disturbed(check, point, client)
        if point.saturated and asked and limit.statistic.metric.unit == "s" and check.verdict != "not met":
            check = replace(check, verdict="not met", why="saturated", values={}, repeats=None, requests=None)
        found.append(replace(check, asked=asked))
    return tuple(found)


def repeats_to_decide(checks: Sequence[LimitCheck], criteria: int | None = None) -> int | None:
    """Runs in all that decide every undecided one of `checks` four times in five, all together.

    criteria: that have to be decided at once, at least these. None: no sensible number, or nothing is undecided.
    """
    open_ = [check for check in checks if check.verdict == "undecided"]
    together = max(criteria or 0, len(open_), 1)
    found = []
    for check in open_:
        if "sd" not in check.values:
            found.append(check.repeats)
            continue
        n = _repeats(check.values["sd"], check.values["distance"], together)
        found.append(None if n is None or check.repeats is None else max(n, check.repeats))
    return None if not found or None in found else max(n for n in found if n is not None)


def _repeats(sd: float, distance: float, together: int = 1) -> int | None:
    return repeats_needed(sd, distance, together, beyond=False, alpha=2 * NOT_MET)


def _share(limit: Limit, value: float, point: PointSummary) -> LimitCheck:
    """Failed or empty requests: counted, whatever the number of runs."""
    failed = point.n_failed
    if failed is None:  # a table that tells the rate of errors alone
        failed = round(value * point.n_ok / (1 - value)) if value < 1 else point.n_ok
        n = point.n_ok + (failed if value < 1 else 0)
    else:
        n = point.n_ok + failed
    count = failed if limit.metric == "error_rate" else round(value * n)
    verdict, low, high = proportion_verdict(count, n, limit)
    values = {"count": count, "n": n, "low": low, "high": high}
    requests = requests_for_share(count / n, limit) if verdict == "undecided" else None
    return LimitCheck(limit, value, verdict, "share", values, requests=requests)


_MOST_ITEMS = 1_000_000


def _of_items(limit: Limit, value: float, found: Estimate) -> LimitCheck:
    """The score of a level, at least. Its runs ask the same items, so that it is items that prove it, not runs."""
    low, high = (value if end is None else end for end in (found.low, found.high))
    verdict: SloVerdict = "met" if limit.holds(low) else "undecided" if limit.holds(high) else "not met"
    values: dict[str, Any] = {"n": found.n, "low": low, "high": high}
    if verdict == "undecided":
        reach, distance = (value - low if limit.holds(value) else high - value), abs(value - limit.value)
        power = (1 + float(special.ndtri(0.8)) / Z) ** 2  # four times in five
        wanted = power * found.n * (reach / distance) ** 2 if distance > 0 else math.inf
        values["items"] = math.ceil(wanted) if wanted <= _MOST_ITEMS else None
    return LimitCheck(limit, value, verdict, "items", values)


def _over_runs(limit: Limit, value: float, figures: RunFigures, tail: TailCount | None) -> LimitCheck:
    """A one-sided t test over the runs; a percentile has to be decided alike by the count of requests beyond it.

    The count alone would take all runs for one, and be wrong more often than it promises where they differ.
    """
    runs = figures.runs
    if not np.isfinite(runs).all():
        return LimitCheck(limit, value, "undecided", "runs_unknown")
    p, sd, distance = _kept(limit, runs)
    verdict: SloVerdict = "met" if p >= MET else "not met" if p <= NOT_MET else "undecided"
    repeats = _repeats(sd, distance) if verdict == "undecided" else None
    values: dict[str, Any] = {"runs": len(runs), "p": p}
    if verdict == "undecided":
        values |= {"sd": sd, "distance": distance}
    check = LimitCheck(limit, value, verdict, "runs", values, p=p, repeats=repeats)
    return check if tail is None else _counted(check, tail, len(runs))


def _counted(check: LimitCheck, tail: TailCount, runs: int = 1) -> LimitCheck:
    """The verdict on a percentile with what the count of requests says of it: decided only where both agree."""
    share = check.limit.share
    assert share is not None
    values = check.values | {"violations": tail.violations, "n": tail.n, "n_eff": tail.n_eff}
    by_count = tail_verdict(tail.n, tail.violations, share, tail.n_eff)
    if by_count == check.verdict:
        return replace(check, values=values)
    requests = requests_to_decide(share, tail.violations / tail.n) if by_count == "undecided" and tail.n else None
    values["wanted"] = n_min(share, tail.violations)
    by_requests = None if requests is None or not tail.n_eff else math.ceil(requests / (tail.n_eff / runs) - 1e-9)
    repeats = check.repeats
    if by_count == "undecided":
        repeats = None if by_requests is None else max(by_requests, repeats or 2)
    return replace(check, verdict="undecided", values=values, requests=requests, repeats=repeats)


def _kept(limit: Limit, runs: Floats) -> tuple[float, float, float]:
    """The probability that the limit is kept by the mean over runs, the runs' spread, and the distance: in ln where
    that can be taken."""
    figures, bound = runs, limit.value
    if (runs > 0).all() and bound > 0 and not limit.statistic.metric.share:
        runs, bound = np.log(runs), math.log(bound)
    mean, sd = float(runs.mean()), float(runs.std(ddof=1))
    if sd <= 1e-12 * max(abs(mean), 1.0):
        return float(limit.holds(float(figures[0]))), 0.0, abs(mean - bound)
    t = (bound - mean) / (sd / math.sqrt(len(runs)))
    return float(special.stdtr(len(runs) - 1, t if limit.is_upper else -t)), sd, abs(mean - bound)


def _one_run(limit: Limit, value: float, point: PointSummary, tail: TailCount | None) -> LimitCheck:
    """One run tells nothing of the next, unless the limit is further away than runs are likely to differ."""
    cv = ONE_RUN_CV if limit.share is None else ONE_RUN_CV_TAIL
    found = point.intervals.get(limit.statistic.column)
    within = 0.0  # what requests of one run differ by
    if found is not None and found.low and found.high and found.low > 0:
        within = math.log(found.high / found.low) / (2 * Z)
    spread = math.hypot(cv, within)
    if limit.statistic.metric.share and not limit.is_upper:
        figure, bound = 1 - value, 1 - limit.value  # of those that miss
    else:
        figure, bound = value, limit.value
    distance = abs(math.log(figure / bound)) if figure > 0 and bound > 0 else math.inf
    values: dict[str, Any] = {"spread": spread}
    if distance >= Z * spread:
        check = LimitCheck(limit, value, "met" if limit.holds(value) else "not met", "one_run", values)
    else:
        values |= {"sd": spread, "distance": distance}
        check = LimitCheck(limit, value, "undecided", "one_run", values, repeats=_repeats(spread, distance))
    return check if tail is None else _counted(check, tail)


def _of_short_runs(check: LimitCheck, figures: RunFigures, point: PointSummary) -> LimitCheck:
    """A run without a steady window proves no miss that its ramp-up and drain may have made."""
    best = figures.unramped
    if check.verdict != "not met" or best is None or not check.limit.holds(best):
        return check
    wanted = STEADY_WAVES * (point.level.concurrency or 1)
    values = {"best": check.limit.show(best), "wanted": wanted}
    return replace(check, verdict="undecided", why="ramp", values=values, requests=wanted * point.repeat_count)


def _of_search(check: LimitCheck, p_met: float) -> LimitCheck:
    """By the probability that all limits are met together: a limit that is met by itself may stay so, and where they
    are not, it is one whose figure is beyond it."""
    verdict: SloVerdict = "met" if p_met >= MET else "not met" if p_met <= NOT_MET else "undecided"
    if (verdict == "undecided" and check.verdict == "met") or (verdict == "not met" and check.within):
        return check
    return replace(check, verdict=verdict, why="search", values={"p": p_met}, p=p_met, repeats=None, requests=None)


def _of_disturbed(check: LimitCheck, point: PointSummary, client: ClientVerdict | None) -> LimitCheck:
    """A disturbed level proves no pass; and a miss only where what disturbed it can not have made it. A figure further
    than FAR from its limit stands where the disturbance is bounded: a level out of line with the others, a late client.
    """
    limit, value, codes = check.limit, check.value, point.disturbances
    counted = limit.metric in ("error_rate", "empty_rate") or limit.statistic.metric.of_answers
    if check.verdict not in ("met", "not met") or counted or value is None:
        return check
    bound = 0.0 if limit.statistic.metric.share else limit.value
    if min(value, bound) > 0 and max(value / bound, bound / value) >= FAR:
        bounded = {"slow_level"} | ({"client_bound"} if client is not None and client.cause != "busy" else set())
        codes = tuple(code for code in codes if code not in bounded)
    if client is None:
        codes = tuple(code for code in codes if code != "client_bound")
    if check.verdict == "not met":
        codes = tuple(code for code in codes if DISTURBING[code] == "either")
        if client is not None and "client_bound" in codes:
            effect = client_effect(limit.statistic, value, point, client)
            if not limit.holds(value * (1 - effect) if limit.is_upper else value * (1 + effect)):
                codes = tuple(code for code in codes if code != "client_bound")
    if not codes:
        return check
    values = {"otherwise": check.verdict, "codes": ", ".join(codes)}
    return replace(check, verdict="undecided", why="disturbed", values=values, repeats=None, requests=None)


def client_effect(figure: Statistic, value: float, point: PointSummary, client: ClientVerdict) -> float:
    """By how much, relative to it, the client may have made a figure worse: its lags (p99) against the time that the
    figure is of; inf where that is not known. Shares of requests have no such bound, nor has a client that uses up its
    core: it may hold back the load itself."""
    lags = [client.figures.get(f"{name}_p99_ms") for name in ("read_lag", "loop_lag", "dispatch")]
    known = [lag / 1e3 for lag in lags if lag is not None]
    latency = figure.metric.unit == "s"
    time_s = value if latency else point.distributions["e2e_s"].mean
    if figure.metric.share or not known or not time_s or client.cause == "busy":
        return math.inf
    return max(max(known) / time_s, 0.0 if latency else client.figures.get("late_share") or 0.0)
