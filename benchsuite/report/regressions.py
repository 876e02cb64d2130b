"""How much worse than a baseline figures may be, as text and held against two runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.compare import Change, Verdict, change, log_margin, repeats_needed, verdicts
from benchsuite.analysis.run_figures import LevelRuns, by_run, figure_name, is_tail, more_is_better, short_name
from benchsuite.economics.cost import hour_at
from benchsuite.errors import InputError
from benchsuite.report.criteria import Criterion
from benchsuite.report.judgement import Judgement
from benchsuite.report.words import ms, number, usd
from benchsuite.slo import LATENCIES

MARGIN, MARGIN_TAIL = 0.05, 0.10
_UNITS: dict[str, tuple[Callable[[float], str], str]] = {
    "cost_usd": (usd, "a run"),
    "usd_per_1m_output_tokens": (usd, "per 1M output tokens"),
    "wall_s": (number, "s"),
    "throughput_paper_tok_s": (number, "tok/s per user"),
    "decode_tok_s": (number, "tok/s"),
    "output_tok_s": (number, "tok/s"),
    "request_per_s": (number, "requests/s"),
}


@dataclass(frozen=True, slots=True)
class Regression:
    """A figure that may be worse by `margin` (ratio) at most."""

    name: str
    margin: float


def default_regressions(pairs: Mapping[int, tuple[LevelRuns, LevelRuns]]) -> tuple[Regression, ...]:
    """Cost per token by 5 %, and the highest percentile of TTFT with ten requests beyond it in every run by 10 %."""
    fewest = min(min(len(run.order) for run in side.runs) for pair in pairs.values() for side in pair)
    stat = next((s for s, n in (("p99", 1000), ("p95", 200), ("p90", 100)) if fewest >= n), "mean")
    return Regression("usd_per_1m_output_tokens", MARGIN), Regression(f"ttft_{stat}_s", MARGIN_TAIL)


def parse_regressions(text: str, *, where: str = "--max-regression") -> tuple[Regression, ...]:
    """'ttft_p95=5%,cost=0.05,tpot': figures with margins; without one 5 %, and 10 % for p95, p99 and max."""
    found: dict[str, Regression] = {}
    for part in (part for part in text.split(",") if part.strip()):
        figure, equals, margin = part.partition("=")
        name = figure_name(figure, where=where)
        if name in found:
            raise InputError("a figure has two margins", where=where, given=text)
        default = MARGIN_TAIL if is_tail(name) else MARGIN
        found[name] = Regression(name, _margin(margin, part, where) if equals else default)
    if not found:
        raise InputError(
            "no figure is named", where=where, given=repr(text), expected="for example ttft_p95=5%,cost=5%"
        )
    return tuple(found.values())


def _margin(text: str, part: str, where: str) -> float:
    digits = text.strip().removesuffix("%")
    try:
        value = float(digits) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError("a margin does not read", where=where, given=part.strip(), expected="5% or 0.05; below 100%")
    return value


def compare_levels(
    pairs: Mapping[int, tuple[LevelRuns, LevelRuns]],
    regressions: Sequence[Regression],
    judgements: tuple[Judgement, Judgement],
    same_orders: bool,
) -> list[Criterion]:
    """Every figure at every level, judged together. pairs, judgements: of the run and of the baseline.

    same_orders: repeat i of both sent the same requests in the same order, so that repeats pair.
    """
    asked = [(level, one) for level in pairs for one in regressions]
    figures = [
        tuple(
            by_run(side, one.name, hour_at(judgement.usd_per_hour_total, level))
            for side, judgement in zip(pairs[level], judgements, strict=True)
        )
        for level, one in asked
    ]
    changes = [
        change(
            new,
            old,
            paired=same_orders and pairs[level][0].repeats == pairs[level][1].repeats,
            higher_is_better=more_is_better(one.name),
            tail=is_tail(one.name),
        )
        for (level, one), (new, old) in zip(asked, figures, strict=True)
    ]
    margins = [log_margin(one.margin, higher_is_better=more_is_better(one.name)) for _, one in asked]
    found = verdicts(changes, margins)
    return [
        _of_change(level, one, figures[i], changes[i], margins[i], found[i], len(asked))
        for i, (level, one) in enumerate(asked)
    ]


def _of_change(
    level: int, one: Regression, figures: Any, found: Change | None, margin: float, verdict: Verdict, criteria: int
) -> Criterion:
    less = more_is_better(one.name)
    asked = f"{short_name(one.name)} at most {one.margin * 100:.4g} % {'lower' if less else 'higher'}"
    if found is None:
        return Criterion("regression", one.name, level, asked, verdict, "not known in every run, or 0")
    sign = -1 if less else 1
    ratio, low, high = (math.expm1(sign * end) for end in (found.theta, found.low, found.high))
    low, high = min(low, high), max(low, high)
    value, baseline = (float(np.exp(np.log(side).mean())) for side in figures)
    ends = ", ".join(f"{100 * end:+.1f} %" for end in (low, high))
    said = f"{_against(one.name, value, baseline)}: {100 * ratio:+.1f} % [{ends}], {found.method}"
    if verdict == "inconclusive":
        said += _needed(found, margin, criteria)
    return Criterion("regression", one.name, level, asked, verdict, said, value, baseline, ratio, low, high)


def _against(name: str, value: float, baseline: float) -> str:
    """'15.2 against 14.1 ms', '$1.09 against $1.05 per 1M output tokens'."""
    if name in _UNITS:
        show, unit = _UNITS[name]
    else:
        show, unit = (ms, "ms") if name.partition("_")[0] in LATENCIES else (number, "")
    return f"{show(value)} against {show(baseline)} {unit}".rstrip()


def _needed(found: Change, margin: float, criteria: int) -> str:
    # a fail shares its level with the other criteria, a pass does not
    shared = criteria if found.theta > margin else 1
    if found.low > margin:
        return f"; beyond the margin alone, but not sure enough among {criteria} criteria: more repeats would decide"
    n = repeats_needed(found.sd, abs(found.theta - margin), shared)
    if n is None:
        return "; not decided: it is so near the margin that more than 100 repeats would be needed"
    if n <= min(found.n_new, found.n_baseline):  # a matter of luck, or of Holm's other criteria
        n = min(found.n_new, found.n_baseline) + 1
    return f"; not decided: about {n} repeats of each would decide"
