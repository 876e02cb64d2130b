"""Do the intervals of scores hold the truth? Sets of items whose true score is known, asked, and asked again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchsuite.analysis.intervals import Z, t_over_runs, wilson
from benchsuite.economics.cost import usd_per_correct
from benchsuite.quality.choice import read_labels
from benchsuite.quality.paired import difference, mean_interval, overall_difference, overall_interval, scenario_interval
from benchsuite.results import Estimate, ScenarioQuality

TRIALS = 2000  # a line: the share has a standard error of 0.5 points at 95 %
Rng = np.random.Generator
Found = tuple[Estimate, float]


def coverage(trials: int = TRIALS) -> list[dict[str, Any]]:
    """Share of nominal 95 % intervals of scores that hold the truth (goal 93 to 97 %), by item and over answers."""
    rows = []
    print(f"{'method':46} {'items':50} {'truth held':>10} {'too low':>8} {'too high':>8} {'width':>6}  of {trials}")
    for i, (method, items, measure) in enumerate(_CASES):
        rng = np.random.default_rng([i, 20260104])
        ends = np.array([_ends(*measure(rng)) for _ in range(trials)])
        low, high, truth = ends.T
        below, above = float(np.mean(high < truth - 1e-12)), float(np.mean(low > truth + 1e-12))
        held, width = 1 - below - above, float(np.mean(high - low))
        print(f"{method:46} {items:50} {held:10.1%} {below:8.1%} {above:8.1%} {width:6.3f}", flush=True)
        rows.append({"method": method, "items": items, "held": held, "below": below, "above": above, "width": width})
    return rows


def _ends(found: Estimate, truth: float) -> tuple[float, float, float]:
    assert found.low is not None
    assert found.high is not None
    assert found.high > found.low
    return found.low, found.high, truth


def _asked(rng: Rng, items: int, levels: int, a: float, b: float) -> np.ndarray[Any, Any]:
    """(items, levels) answers. An item is answered rightly with a chance of its own, Beta(a, b) over items."""
    return (rng.random((items, levels)) < rng.beta(a, b, items)[:, None]).astype(float)


def _clustered(items: int, levels: int, a: float, b: float) -> Callable[[Rng], Found]:
    return lambda rng: (mean_interval(_asked(rng, items, levels, a, b).mean(axis=1)), a / (a + b))


def _over_answers(items: int, levels: int, a: float, b: float) -> Callable[[Rng], Found]:
    def measure(rng: Rng) -> Found:
        answers = _asked(rng, items, levels, a, b)
        p = float(answers.mean())
        return Estimate(p, *wilson(p, answers.size, Z), answers.size, "Wilson over answers"), a / (a + b)

    return measure


def _graded(items: int, a: float, b: float) -> Callable[[Rng], Found]:
    return lambda rng: (mean_interval(rng.beta(a, b, items)), a / (a + b))


def _scenarios(sizes: list[int], a: float, b: float, graded: bool = False) -> Callable[[Rng], Found]:
    """The chance of a right answer differs between scenarios too, but is fixed: the draws are of items."""
    chances = np.clip(a / (a + b) + 0.25 * min(a, b) / (a + b) * np.linspace(-1, 1, len(sizes)), 0, 1)

    def measure(rng: Rng) -> Found:
        sets = {
            str(i): rng.beta(8 * p, 8 * (1 - p), n) if graded else (rng.random(n) < p).astype(float)
            for i, (n, p) in enumerate(zip(sizes, chances, strict=True))
        }
        return overall_interval(sets), float(chances.mean())

    return measure


def _corrections(items: int) -> Callable[[Rng], Found]:
    """Three planted errors an item, each found with 0.7; wrong edits are Poisson, 0.6 an item."""
    tp, fp = 2.1, 0.6
    truth = 1.25 * tp / (1.25 * tp + 0.25 * (3 - tp) + fp)

    def measure(rng: Rng) -> Found:
        found = rng.binomial(3, 0.7, items)
        return scenario_interval(np.column_stack([found, rng.poisson(fp, items), 3 - found]).astype(float)), truth

    return measure


def _paired(items: int, p: float, moved: float, graded: bool = False) -> Callable[[Rng], Found]:
    """Of the items a share `moved` falls; as many again change either way."""

    def measure(rng: Rng) -> Found:
        first = rng.random(items) < p
        change = rng.random(items)
        second = np.where(change < moved, False, np.where(change < 2 * moved, rng.random(items) < p, first))
        a, b = first.astype(float), second.astype(float)
        if graded:
            a, b = 0.6 * a + 0.4 * rng.random(items), 0.6 * b + 0.4 * rng.random(items)
        truth = moved * p * (0.6 if graded else 1.0)
        sides = ({str(i): float(v) for i, v in enumerate(side)} for side in (a, b))
        return difference(*sides).difference, truth

    return measure


def _paired_scenarios(sizes: list[int], p: float, fall: float) -> Callable[[Rng], Found]:
    """Of each scenario's items a share `fall` becomes wrong, and 5 % are answered anew."""

    def measure(rng: Rng) -> Found:
        sides: tuple[dict[str, dict[str, float]], ...] = ({}, {})
        for name, n in enumerate(sizes):
            first, change = rng.random(n) < p, rng.random(n)
            second = np.where(change < fall, False, np.where(change < fall + 0.05, rng.random(n) < p, first))
            for side, answers in zip(sides, (first, second), strict=True):
                side[str(name)] = {str(i): float(answer) for i, answer in enumerate(answers)}
        return overall_difference(*sides).difference, fall * p

    return measure


def _cost(runs: int, items: int, p: float) -> Callable[[Rng], Found]:
    """Of a run that costs a dollar in the median, and of runs by 10 % more or less."""

    def measure(rng: Rng) -> Found:
        per_run, right = np.exp(0.1 * rng.standard_normal(runs)), (rng.random(items) < p).astype(float)
        scored = ScenarioQuality(
            None, items, mean_interval(right), 0, 0, 0, 0, 0, float(right.sum()),
            {str(i): score for i, score in enumerate(right.tolist())}, time_share=1.0,
        )  # fmt: skip
        found = usd_per_correct(t_over_runs(per_run), 1, scored)
        assert found is not None
        return found, 1 / (items * p)

    return measure


_BY_ITEM, _OF_ANSWERS, _OF_SCENARIOS = "mean over items", "Wilson over answers (never used)", "stratified bootstrap"
_CASES: list[tuple[str, str, Callable[[Rng], Found]]] = [
    (_OF_ANSWERS, "300 items at six levels, the same answer at each", _over_answers(300, 6, 0.003, 0.002)),
    (_OF_ANSWERS, "300 items at six levels, hard or easy", _over_answers(300, 6, 0.3, 0.2)),
    (_BY_ITEM, "300 items at six levels, the same answer at each", _clustered(300, 6, 0.003, 0.002)),
    *((_BY_ITEM, f"{n} items at six levels, {what}", _clustered(n, 6, a, b))
      for n in (300, 20)
      for what, a, b in (("hard or easy", 0.3, 0.2), ("alike", 30.0, 20.0), ("98 % right", 0.98, 0.02),
                         ("3 % right", 0.09, 2.91))),
    *((_BY_ITEM, f"{n} items once, {100 * p:g} % right", _clustered(n, 1, 1e6 * p, 1e6 * (1 - p)))
      for n, p in ((300, 0.6), (300, 0.99), (300, 0.02), (20, 0.6), (20, 0.95))),
    *((_BY_ITEM, f"{n} items, graded, {what}", _graded(n, a, b))
      for n in (300, 20)
      for what, a, b in (("even", 2.0, 2.0), ("mostly near 1", 4.0, 0.3), ("mostly near 0", 0.2, 4.0))),
    *((_OF_SCENARIOS, f"ten scenarios of {what}", _scenarios(sizes, a, b, graded))
      for what, sizes, a, b, graded in (
          ("30 items, 60 % right", [30] * 10, 0.6, 0.4, False), ("10 items, 60 % right", [10] * 10, 0.6, 0.4, False),
          ("5 to 200 items, 60 % right", [5, 8, 12, 20, 30, 50, 80, 120, 160, 200], 0.6, 0.4, False),
          ("30 items, 98 % right", [30] * 10, 0.98, 0.02, False), ("20 items, graded", [20] * 10, 0.7, 0.3, True))),
    (_OF_SCENARIOS, "three scenarios of 20 items, 97 % right", _scenarios([20] * 3, 0.97, 0.03)),
    *(("bootstrap of summed edits", f"{n} corrections", _corrections(n)) for n in (300, 50, 20)),
    *(("Newcombe's paired interval", f"{n} items, {100 * p:g} % right, {100 * moved:g} % fall", _paired(n, p, moved))
      for n, p, moved in ((300, 0.7, 0.05), (300, 0.97, 0.01), (50, 0.7, 0.1))),
    *(("$ per correct answer", f"{runs} runs, CV 10 %; {n} items, {100 * p:g} % right", _cost(runs, n, p))
      for runs, n, p in ((3, 300, 0.6), (5, 300, 0.6), (5, 50, 0.9))),
    ("paired t", "300 items, graded, 5 % fall", _paired(300, 0.7, 0.05, graded=True)),
    *(("paired t, stratified", f"{what}, {100 * p:g} % right, {100 * fall:g} % fall", _paired_scenarios(sizes, p, fall))
      for what, sizes, p, fall in (
          ("ten scenarios of 30", [30] * 10, 0.75, 0.05), ("ten scenarios of 300", [300] * 10, 0.75, 0.02),
          ("5 to 80 items", [5, 8, 12, 20, 40, 80], 0.75, 0.05), ("ten scenarios of 30", [30] * 10, 0.95, 0.0))),
    ("paired t", "20 items, graded, 10 % fall", _paired(20, 0.7, 0.1, graded=True)),
]  # fmt: skip


def letters() -> list[dict[str, Any]]:
    """The labelled answers of tests/data by what the rules of `choice` and `choices` read in them."""
    table = []
    for path in sorted((Path(__file__).parents[1] / "tests/data").glob("letters*.jsonl")):
        found: Counter[str] = Counter()
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            truth = "".join(sorted(row["truth"] or ""))
            reading, _ = read_labels(row["answer"], "ABCDEFGHIJ"[: row["options"]], row["multiple"])
            kind = "right" if reading == truth else "missed" if not reading else "wrong" if truth else "invented"
            found[kind] += 1
        counts = {kind: found[kind] for kind in ("right", "wrong", "missed", "invented")}
        print(f"{path.name:<22}" + "  ".join(f"{kind} {count:5}" for kind, count in counts.items()))
        table.append({"set": path.name, **counts})
    return table
