"""The first screen: which concurrency, at what cost, how sure, and what limits it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchsuite.economics.optimum import stopped_level
from benchsuite.report.titles import whole_percent
from benchsuite.report.words import chance, doubt_text, ms, number, price_text, set_size, usd
from benchsuite.results import Decision, Judged, NoFeasiblePoint, Optimum
from benchsuite.slo import Slo


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the four answers: its question in a word or two, the answer, and what stands behind it."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision in a sentence, and its four parts."""

    sentence: str
    tiles: tuple[Tile, ...]


def answer(decision: Decision, judged: Sequence[Judged], slo: Slo) -> Answer:
    """What the page says first. `decision` was made over `judged`."""
    if decision.kind == "none":
        return _none(decision, judged, slo)
    level = decision.recommended
    users = level.point.concurrency
    sentence = f"Run {users} user{'s' * (users > 1)} at once: {_cost(level)}, {_certainty(decision)}"
    tiles = (_concurrency(decision, judged, slo), _price(level), _sure(decision), _limit(decision, judged))
    return Answer(sentence, tiles)


def _cost(level: Judged) -> str:
    per_1m = level.cost.usd_per_1m_output_tokens
    if per_1m is not None:
        return f"{usd(per_1m)} per 1M output tokens"
    if level.cost.cost_usd is not None:
        return f"{usd(level.cost.cost_usd)} per run of the set"
    return f"{number(level.point.wall_s)} s per run of the set"


def _certainty(decision: Optimum) -> str:
    """Whether the level keeps the SLO, and whether it is the cheapest that does, as far as the runs tell."""
    level = decision.recommended
    verdict = {
        "met": "surely within the SLO",
        "met in this run": "within the SLO in this one run",
        "undecided": "but whether it keeps the SLO is undecided",
    }.get(level.slo_verdict, "within the SLO as far as the table tells")
    if decision.p_opt is None:
        return verdict
    if level is not decision.choice:
        cheapest = decision.choice.point.concurrency
        return f"{verdict}; {cheapest} is the cheapest in only {whole_percent(decision.p_opt)} of resampled runs"
    return f"{verdict}, the cheapest in {whole_percent(decision.p_opt)} of resampled runs"


def _concurrency(decision: Optimum, judged: Sequence[Judged], slo: Slo) -> Tile:
    level = decision.recommended
    kept = sum(j.meets_slo for j in judged)
    what = "the cheapest" if level is decision.choice else "the safer"
    which = f"{what} of the {kept} levels, of {len(judged)} measured, that keep {slo}"
    if kept <= 1:
        which = (
            f"the only one of {len(judged)} levels that keeps {slo}" if len(judged) > 1 else "the only level measured"
        )
    point = level.point
    speeds = [
        f"TTFT {ms(point.ttft_s.mean)} ms" if point.ttft_s.mean is not None else "",
        f"{number(point.throughput_paper_tok_s)} tok/s per user" if point.throughput_paper_tok_s is not None else "",
        f"{number(point.output_tok_s)} tok/s in all" if point.output_tok_s is not None else "",
    ]
    there = ", ".join(one for one in speeds if one)
    return Tile(
        "Concurrency",
        f"{point.concurrency} user{'s' * (point.concurrency > 1)}",
        f"{which}. There: {there}",
    )


def _price(level: Judged) -> Tile:
    size, cost = set_size(level), level.cost
    run = "run of the set" if size is None else f"run of {size:,} requests"
    if cost.cost_usd is None:
        return Tile(
            "Cost", f"{number(level.point.wall_s)} s", f"per {run}; no price is known, so the shortest run wins"
        )
    hourly = f"at {usd(cost.usd_per_hour)} an hour"
    if cost.usd_per_1m_output_tokens is None:
        return Tile("Cost", usd(cost.cost_usd), f"per {run}, {hourly}")
    found = level.intervals.get("usd_per_1m_output_tokens")
    ends = "" if found is None or found.low is None else f" [{number(found.low)}, {number(found.high)}]"
    detail = f"per 1M output tokens{ends}; {usd(cost.cost_usd)} per {run}, {hourly}"
    return Tile("Cost", usd(cost.usd_per_1m_output_tokens), detail)


def _sure(decision: Optimum) -> Tile:
    level, p = decision.recommended, decision.p_opt
    runs = level.point.repeat_count
    if p is None:
        if runs == 1:
            detail = "no interval between runs, so close levels may swap places; measure each three times"
            return Tile("Certainty", "one run", detail + _warned(level))
        detail = decision.p_method or "the levels were not repeated alike"
        return Tile("Certainty", level.slo_verdict, detail + _warned(level))
    own = decision.p_by_level.get(level.point.concurrency, 0.0)
    rivals = sorted(decision.p_by_level.items(), key=lambda pair: -pair[1])
    others = [f"{n}: {q:.2f}" for n, q in rivals if n != level.point.concurrency and q >= 0.005][:3]
    none = 1 - sum(decision.p_by_level.values())
    others += [f"none: {none:.2f}"] * (none >= 0.005)
    rest = f" ({', '.join(others)})" if others else ""
    detail = f"the cheapest in that share of resampled runs{rest}; SLO {level.slo_verdict}, P met {chance(level.p_met)}"
    return Tile("Certainty", f"P {own:.2f}", f"{detail}; {runs} runs a level{_warned(level)}")


def _warned(level: Judged) -> str:
    """'; 2 warnings on this level, below'; '' without."""
    n = len(level.point.warnings)
    return f"; {n} warning{'s' * (n > 1)} on this level, below" if n else ""


def _limit(decision: Optimum, judged: Sequence[Judged]) -> Tile:
    stopped = stopped_level(decision.choice, judged)
    if stopped is None:
        said = (decision.binding or "").removeprefix("no limit: ")
        return Tile("Limited by", "nothing yet" if "measure higher" in said else "cost", said)
    limit = decision.binding or ""
    detail = f"{stopped.point.concurrency} users: {doubt_text(stopped)}"
    cheaper = (stopped.cost.cost_usd or 0.0) < (decision.choice.cost.cost_usd or 0.0)
    return Tile("Limited by", limit, f"{detail}{'; it would cost less' if cheaper else ''}")


def _none(decision: NoFeasiblePoint, judged: Sequence[Judged], slo: Slo) -> Answer:
    nearest = decision.nearest
    if nearest is None:
        return Answer("No level keeps the SLO: none was measured", ())
    users = nearest.point.concurrency
    sentence = f"No level keeps the SLO; the nearest, {users} user{'s' * (users > 1)},"
    picks = sum(decision.p_by_level.values())
    sure = (
        Tile("Certainty", "one run", "no interval between runs; measure each level three times")
        if not decision.p_by_level
        else Tile("Certainty", f"P {1 - picks:.2f}", "no level keeps the SLO in that share of resampled runs")
    )
    tiles = (
        Tile("Concurrency", "none", f"none of {len(judged)} levels keeps {slo}"),
        Tile("Cost", "\u2013", f"the nearest, {users}: {price_text(nearest)}"),
        sure,
        Tile("Limited by", _worst(nearest), doubt_text(nearest) or "it has no duration"),
    )
    return Answer(f"{sentence} {doubt_text(nearest) or 'has no duration'}", tiles)


def _worst(nearest: Judged) -> str:
    doubts = (*nearest.misses, *nearest.unknown)
    return doubts[0].partition(" missed: ")[0].removesuffix(" unknown") if doubts else "\u2013"
