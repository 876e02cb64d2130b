"""Does the gate keep its promises? Runs whose truth is known, and how often it passes, fails or cannot tell."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.regression import change, verdicts

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
    changes = [change(a, b, paired=case.paired, higher_is_better=False) for a, b in zip(new, old, strict=True)]
    found = verdicts(changes, [math.log1p(MARGIN)] * case.criteria)
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
