"""Does the gate keep its promises? Runs whose truth is known, and how often it passes, fails or cannot tell."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.history import against, change_points, noise_of, with_sessions
from benchsuite.analysis.regression import LOOKS, changes, difference_verdicts, look_alpha, verdicts

GATES = 3000  # a line: a share of 2.5 % has a standard error of 0.3 points
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """`criteria` figures of `repeats` runs each side. slower: the truth of one of them; the others are as they were.

    cv: between runs; shared: the share of its variance that repeat i of both sides has in common (the same requests).
    """

    slower: float
    repeats: int
    cv: float
    criteria: int = 6
    shared: float = 0.0
    paired: bool = True


CASES = (
    *(Case(slower, n, 0.01) for slower in (0.0, 0.05, 0.1, 0.2) for n in (3, 5)),
    *(Case(slower, n, 0.03) for slower in (0.0, 0.05, 0.2) for n in (2, 5, 10)),
    Case(0.0, 5, 0.03, shared=0.8),
    Case(0.1, 5, 0.03, shared=0.8),
    *(Case(slower, 5, 0.03, paired=False) for slower in (0.0, 0.05, 0.2)),
    Case(0.05, 5, 0.03, criteria=1),
    *(Case(slower, 1, 0.05) for slower in (0.0, 0.2, 1.0)),
)


def gate(gates: int = GATES) -> list[dict[str, Any]]:
    """Shares of pass, fail and inconclusive of simulated gates, margin 5 %, one figure of several slower."""
    rows = []
    print(
        f"{'truth':>8} {'repeats':>7} {'CV':>5} {'criteria':>8} {'compared':>22} {'pass':>7} {'fail':>7} {'neither':>8}"
    )
    for i, case in enumerate(CASES):
        rng = np.random.default_rng([i, 20260104])
        counts = Counter(_verdict(case, rng) for _ in range(gates))
        shares = {name: counts[name] / gates for name in ("pass", "fail", "inconclusive")}
        how = "unpaired" if not case.paired else f"paired, {case.shared:.0%} shared"
        print(
            f"{case.slower:+8.0%} {case.repeats:7} {case.cv:5.0%} {case.criteria:8} {how:>22} {shares['pass']:7.1%}"
            f" {shares['fail']:7.1%} {shares['inconclusive']:8.1%}",
            flush=True,
        )
        rows.append({"slower": case.slower, "repeats": case.repeats, "cv": case.cv, "how": how} | shares)
    return rows


def _verdict(case: Case, rng: np.random.Generator) -> str:
    sd = math.sqrt(math.log1p(case.cv**2))
    shape = (case.criteria, case.repeats)
    common = math.sqrt(case.shared) * rng.standard_normal(shape)
    own = [math.sqrt(1 - case.shared) * rng.standard_normal(shape) for _ in range(2)]
    effect = np.zeros((case.criteria, 1))
    effect[0] = math.log1p(case.slower)
    new, old = np.exp(effect + sd * (common + own[0])), np.exp(sd * (common + own[1]))
    found = verdicts(
        changes(list(new), list(old), paired=case.paired, higher_is_better=False),
        [math.log1p(MARGIN)] * case.criteria,
    )
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


RUNS, REPEATS, LEVELS = 15, 3, 3  # of a history: cost and TTFT at each level, repeats that differ by half of `cv`


@dataclass(frozen=True, slots=True)
class Past:
    """Histories of RUNS runs that differ by `cv`; `step` from run `at` to run `until`; the new run is `slower` than the
    last. shared: the share of the variance between runs that all levels have in common; heavy: Student's t with 4."""

    cv: float
    step: float = 0.0
    at: int = RUNS
    until: int = RUNS
    slower: float = 0.0
    shared: float = 0.5
    heavy: bool = False


PASTS = (
    *(Past(cv, slower=slower) for cv in (0.01, 0.02) for slower in (0.0, 0.05, 0.1, 0.2)),
    *(Past(0.02, shared=shared) for shared in (0.0, 1.0)),
    Past(0.02, heavy=True),
    *(Past(0.02, step, at) for step in (0.05, 0.1, 0.2) for at in (3, 7, 12)),
    *(Past(0.02, step, 6, 10) for step in (0.05, 0.1, 0.2)),
    *(Past(0.04, step, 7) for step in (0.05, 0.1, 0.2)),
)


def history(histories: int = 500) -> list[dict[str, Any]]:
    """Histories of 15 runs, margin 5 %: changes found, of which within a run of the truth; the verdict against the runs
    since, and how often the run fails against the newest of them as a baseline, alone and with the history."""
    rows = []
    print(
        f"{'CV':>4} {'shared':>6} {'step':>5} {'runs':>6} {'truth':>6} {'any':>6} {'right':>6} {'pass':>6} {'fail':>6}"
        f" {'neither':>7} {'base':>6} {'both':>6}"
    )
    for i, case in enumerate(PASTS):
        rng = np.random.default_rng([i, 20261130])
        ends = [_past(case, rng) for _ in range(histories)]
        wanted = [at for at in (case.at, case.until) if at < RUNS and case.step]
        right = [bool(found) and all(min(abs(at - x) for x in found) <= 1 for at in wanted) for found, _ in ends]
        row = {"any_change": float(np.mean([bool(found) for found, _ in ends]))}
        row |= {f"fail_{how}": float(np.mean([said[i] == "fail" for _, said in ends])) for i, how in enumerate(HOW)}
        row["right_change"] = float(np.mean(right)) if wanted else 0.0
        row |= {name: sum(said[0] == name for _, said in ends) / histories for name in ("pass", "fail", "inconclusive")}
        where = f"{case.at}-{case.until}" if wanted else "-"
        print(
            f"{case.cv:4.0%} {'t4' if case.heavy else format(case.shared, '.0%'):>6} {case.step:+5.0%} {where:>6}"
            f" {case.slower:+6.0%} {row['any_change']:6.1%} {row['right_change']:6.1%} {row['pass']:6.1%}"
            f" {row['fail']:6.1%} {row['inconclusive']:7.1%} {row['fail_baseline']:6.1%} {row['fail_both']:6.1%}",
            flush=True,
        )
        rows.append({"cv": case.cv, "step": case.step, "at": case.at, "until": case.until, "slower": case.slower} | row)
    return rows


HOW = ("history", "baseline", "both")


def _past(case: Past, rng: np.random.Generator) -> tuple[list[int], list[str]]:
    """The changes found, and the verdict by each of HOW."""

    def draw(*shape: int) -> Any:
        return rng.standard_t(4, shape) / math.sqrt(2) if case.heavy else rng.standard_normal(shape)

    own, common = draw(2, LEVELS, RUNS + 1), draw(2, 1, RUNS + 1)
    sessions = math.sqrt(1 - case.shared) * own + math.sqrt(case.shared) * common
    sessions[..., case.at : case.until] += math.log1p(case.step) / case.cv
    kept = case.step if case.at < case.until == RUNS else 0.0
    sessions[..., -1] += (math.log1p(kept) + math.log1p(case.slower)) / case.cv
    repeats = case.cv * (sessions[..., None] + 0.5 * draw(2, LEVELS, RUNS + 1, REPEATS))
    found = change_points(repeats[:, :, :RUNS].mean(axis=-1).reshape(-1, RUNS))
    by_how: list[list[Any]] = [[], [], []]
    for figure in repeats:
        new, base = (list(np.exp(figure[:, i])) for i in (-1, -2))
        pairs = changes(new, base, paired=True, higher_is_better=False)
        learned = noise_of([list(level[:RUNS]) for level in figure], [0, *found])
        for level, noise, pair in zip(figure, learned, pairs, strict=True):
            assert pair is not None
            each = (against(level[-1], noise), pair, with_sessions(pair, noise))
            for those, change in zip(by_how, each, strict=True):
                those.append(change)
    said = [verdicts(those, [math.log1p(MARGIN)] * len(those)) for those in by_how]
    return found, ["fail" if "fail" in one else "inconclusive" if "inconclusive" in one else "pass" for one in said]


@dataclass(frozen=True, slots=True)
class Session:
    """`ab` sessions of cost and TTFT at `levels`, all `slower` in B. cv: of cost between rounds; of TTFT 5/3 of it.

    shared: the share of the variance that both arms of a round have in common; steep: the CV grows over the levels up
    to this factor; most: rounds after which the budget ends it; fixed: judged once, after that many rounds.
    """

    slower: float
    cv: float = 0.03
    levels: int = 3
    shared: float = 0.0
    steep: float = 1.0
    most: int = 18
    fixed: bool = False


SESSIONS = (
    *(Session(slower, fixed=True, most=5, levels=6) for slower in (0.0, 0.05, 0.1)),
    *(Session(slower) for slower in (0.0, 0.05, 0.1, 0.2)),
    *(Session(slower, shared=0.8) for slower in (0.0, 0.05, 0.1)),
    *(Session(slower, steep=2.5) for slower in (0.05, 0.1)),
    *(Session(slower, cv=0.08) for slower in (0.0, 0.05, 0.1, 0.2)),
    *(Session(slower, levels=1) for slower in (0.0, 0.05, 0.1)),
)


def ab(sessions: int = 1000) -> list[dict[str, Any]]:
    """Simulated sessions of `ab`, margin 5 %: false alarms (said slower or faster and it is not), and what is found."""
    rows = []
    print(
        f"{'truth':>6} {'CV':>4} {'levels':>6} {'shared':>6} {'steep':>5} {'rounds':>9} {'false alarm':>11}"
        f" {'slower':>7} {'no diff.':>8} {'undecided':>9} {'rounds used':>11}"
    )
    for i, case in enumerate(SESSIONS):
        rng = np.random.default_rng([i, 20261129])
        ends = [_session(case, rng) for _ in range(sessions)]
        alarms = [said for said, _ in ends if "faster" in said or (case.slower <= MARGIN and "slower" in said)]
        row = {
            "false_alarm": len(alarms) / sessions,
            "slower": sum("slower" in said for said, _ in ends) / sessions,
            "no_difference": sum(set(said) == {"no difference"} for said, _ in ends) / sessions,
            "undecided": sum("undecided" in said or "not slower" in said for said, _ in ends) / sessions,
            "rounds_mean": float(np.mean([n for _, n in ends])),
        }
        print(
            f"{case.slower:+6.0%} {case.cv:4.0%} {case.levels:6} {case.shared:6.0%} {case.steep:5.3g}"
            f" {'' if case.fixed else '<= '}{case.most:{6 + 3 * case.fixed}} {row['false_alarm']:11.1%}"
            f" {row['slower']:7.1%} {row['no_difference']:8.1%} {row['undecided']:9.1%} {row['rounds_mean']:11.1f}",
            flush=True,
        )
        rows.append({"slower": case.slower, "cv": case.cv, "levels": case.levels, "shared": case.shared} | row)
    return rows


def _session(case: Session, rng: np.random.Generator) -> tuple[list[str], int]:
    factors = np.linspace(1.0, case.steep, case.levels)[:, None] / math.sqrt(case.steep)
    arms = []
    for cv in (case.cv, case.cv * 5 / 3):
        sd, shape = math.sqrt(math.log1p(cv**2)) * factors, (case.levels, case.most)
        common = math.sqrt(case.shared) * rng.standard_normal(shape)
        own = [math.sqrt(1 - case.shared) * rng.standard_normal(shape) for _ in range(2)]
        arms.append((np.exp(math.log1p(case.slower) + sd * (common + own[0])), np.exp(sd * (common + own[1]))))
    margins = [math.log1p(MARGIN)] * (2 * case.levels)
    before = 0.0
    for n in [case.most] if case.fixed else [*(math.ceil(look * case.most) for look in LOOKS), case.most]:
        found = [
            one for b, a in arms for one in changes(list(b[:, :n]), list(a[:, :n]), paired=True, higher_is_better=False)
        ]
        alpha, before = look_alpha(n / case.most, before), n / case.most
        said = list(difference_verdicts(found, margins, alpha))
        if not {"undecided", "not slower"} & set(said):
            break
    return list(map(str, said)), n
