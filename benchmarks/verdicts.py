"""Are verdicts as sure as they say? Levels whose truth is known, judged by the product's own functions.

A level is measured in runs that differ by a factor of their own (CV between runs); nothing but TTFT differs. Limits
stand at the truth, and 10 and 20 % from it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are imported at their first use

from benchsuite.analysis.autocorrelation import effective_size
from benchsuite.analysis.intervals import batch_means, block_for, block_sums, quantile_interval
from benchsuite.analysis.requests import describe
from benchsuite.analysis.slo_test import RunFigures, SloResampling, TailCount
from benchsuite.economics.decision import chances
from benchsuite.economics.verdict import check_limits
from benchsuite.level import Level
from benchsuite.metrics import LATENCIES, RATIOS
from benchsuite.results import EMPTY, PointSummary
from benchsuite.slo import Limit, Slo

DRAWS = 200  # levels a line: a share of 5 % has a standard error of 1.5 points
REQUESTS = 300  # a run
_RESAMPLES = 400
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Requests:
    """TTFT within a run: lognormal with spread s, autocorrelation rho, and a share of it `slow` times as long."""

    name: str
    s: float = 0.6
    rho: float = 0.0
    slow_share: float = 0.0
    slow: float = 50.0

    def draw(self, n: int, rng: Rng) -> Any:
        noise = rng.standard_normal(n) * math.sqrt(1 - self.rho**2)
        noise[0] = rng.standard_normal()
        values = 0.2 * np.exp(self.s * scipy.signal.lfilter([1.0], [1.0, -self.rho], noise))
        return np.where(rng.random(n) < self.slow_share, self.slow, 1.0) * values

    @property
    def mean(self) -> float:
        return 0.2 * math.exp(self.s**2 / 2) * (1 + self.slow_share * (self.slow - 1))

    @property
    def p95(self) -> float:
        if not self.slow_share:
            return 0.2 * math.exp(self.s * float(scipy.stats.norm.ppf(0.95)))
        return float(np.quantile(self.draw(2_000_000, np.random.default_rng(1)), 0.95))


PLAIN = Requests("lognormal 0.6")
LAWS = (PLAIN, Requests("AR(1) 0.8", rho=0.8), Requests("lognormal 1.5", s=1.5), Requests("3 % x 50", 0.3, 0.0, 0.03))
CELLS = (
    *((PLAIN, cv, runs) for cv in (0.0, 0.03, 0.05, 0.1) for runs in (1, 2, 3, 5)),
    *((law, 0.05, runs) for law in LAWS[1:] for runs in (1, 3, 5)),
)
BINS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))  # of the probability said
FACTORS = (1 / 1.2, 1 / 1.1, 1.0, 1.1, 1.2)  # the limit over the truth


def verdicts(draws: int = DRAWS) -> list[dict[str, Any]]:
    """Shares of met and not met at a limit that is the truth (goal: each at most 5 %), and 10 and 20 % from it."""
    found = []
    heads = f"{'at the limit':>14} {'10 % away':>14} {'20 % away':>14}"
    print(f"{'requests':14} {'CV':>5} {'runs':>4} {'limit':>9} {heads}   met / not met; away: where it is so")
    for i, (law, cv, runs) in enumerate(CELLS):
        rng = np.random.default_rng([i, 20260105])
        truths = {"mean": law.mean, "p95": law.p95}
        limits = [Limit("ttft_s", stat, "<", truth * factor) for stat, truth in truths.items() for factor in FACTORS]
        slo, counts = Slo(tuple(limits)), Counter[tuple[int, str]]()
        for _ in range(draws):
            measured = _runs(law, cv, runs, rng)
            checks = check_limits(_point(measured, rng), slo, _sums(measured, slo))
            counts.update((k, check.verdict) for k, check in enumerate(checks[: len(limits)]))
        for first, stat in ((0, "mean"), (len(FACTORS), "p95")):
            met, missed = ([counts[first + k, word] / draws for k in range(5)] for word in ("met", "not met"))
            row = {"requests": law.name, "cv": cv, "runs": runs, "limit": f"ttft_{stat}"}
            shares = [(met[2], missed[2]), (met[3], missed[1]), (met[4], missed[0])]
            print(
                f"{law.name:14} {cv:5.0%} {runs:4} {row['limit']:>9} "
                + " ".join(f"{a:6.1%} {b:7.1%}" for a, b in shares),
                flush=True,
            )
            found.append(row | {"at_limit": shares[0], "away_10": shares[1], "away_20": shares[2]})
    return found


def calibration(draws: int = DRAWS) -> list[dict[str, Any]]:
    """P(SLO) and P(best) said against how often it is so, over truths about the limit (goal: within 5 points)."""
    found: list[dict[str, Any]] = []
    print(f"{'':10} {'CV':>5} {'runs':>4} {'said':>14} {'levels':>7} {'mean said':>9} {'true':>7}")
    for i, (what, cv, runs) in enumerate(itertools.product(("P(SLO)", "P(best)"), (0.03, 0.1), (3, 5))):
        rng = np.random.default_rng([i, 20260106])
        pair = _slo_pair if what == "P(SLO)" else _best_pair
        said, true = (
            np.array(side, float) for side in zip(*(pair(cv, runs, rng) for _ in range(2 * draws)), strict=True)
        )
        for low, high in BINS:
            inside = (said >= low) & ((said < high) | (high == 1.0))
            if inside.any():
                row = {"what": what, "cv": cv, "runs": runs, "from": low, "to": high, "levels": int(inside.sum())}
                found.append(row | {"said": float(said[inside].mean()), "true": float(true[inside].mean())})
                _print_calibrated(found[-1], f"{cv:5.0%} {runs:4}")
    return [*found, *_pooled(found)]


def _pooled(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same over all CV and runs: the cells weighted by their levels."""
    rows = []
    for what, (low, high) in itertools.product(("P(SLO)", "P(best)"), BINS):
        mine = [cell for cell in cells if cell["what"] == what and cell["from"] == low]
        levels = sum(cell["levels"] for cell in mine)
        if levels:
            means = {key: sum(cell["levels"] * cell[key] for cell in mine) / levels for key in ("said", "true")}
            rows.append({"what": what, "from": low, "to": high, "levels": levels} | means)
            _print_calibrated(rows[-1], f"{'all':>5} {'all':>4}")
    return rows


def _print_calibrated(row: dict[str, Any], cell: str) -> None:
    share = f"{row['from']:7.0%} - {row['to']:4.0%}"
    print(f"{row['what']:10} {cell} {share} {row['levels']:7} {row['said']:9.1%} {row['true']:7.1%}", flush=True)


def _slo_pair(cv: float, runs: int, rng: Rng) -> tuple[float, bool]:
    """The probability said that mean TTFT is within a limit whose distance from the truth is as runs vary."""
    distance = 2 * cv / math.sqrt(runs) * rng.standard_normal()
    slo = Slo((Limit("ttft_s", "mean", "<", PLAIN.mean * math.exp(distance)),))
    sums = _sums(_runs(PLAIN, cv, runs, rng), slo)
    return chances([sums], draws=_RESAMPLES, seed=int(rng.integers(1 << 30))).p_met[Level(1)], distance > 0


def _best_pair(cv: float, runs: int, rng: Rng) -> tuple[float, bool]:
    """The probability said that the first of two levels takes the shorter time, when their truths differ a little."""
    difference = 2 * cv * math.sqrt(2 / runs) * rng.standard_normal()
    slo = Slo((Limit("ttft_s", "mean", "<", 1e6),))
    levels = [
        _sums([own * math.exp(shift) for own in _runs(PLAIN, cv, runs, rng)], slo, users)
        for users, shift in ((1, 0.0), (2, difference))
    ]
    said = chances(levels, draws=_RESAMPLES, seed=int(rng.integers(1 << 30))).p_by_level
    assert said is not None
    return said[Level(1)], difference > 0


def _runs(law: Requests, cv: float, runs: int, rng: Rng) -> list[Any]:
    factors = np.exp(math.sqrt(math.log1p(cv**2)) * rng.standard_normal(runs))  # median 1
    return [factor * law.draw(REQUESTS, rng) for factor in factors]


def _sums(runs: list[Any], slo: Slo, concurrency: int = 1) -> SloResampling:
    """What analysis.slo_test makes of runs of one level whose requests follow each other."""
    pooled = np.concatenate(runs)
    guards = len(slo.effective) - len(slo.limits)
    described, together = [describe(own) for own in runs], describe(pooled)
    figures, tails = [], []
    for limit in slo.limits:
        stat = limit.stat or "mean"
        figures.append(RunFigures(np.array([one.stat(stat) for one in described], float), together.stat(stat)))
        if limit.share is None:
            tails.append(None)
            continue
        beyond = [(own >= limit.value).astype(np.float64) for own in runs]
        violations = int(sum(own.sum() for own in beyond))
        tails.append(TailCount(len(pooled), violations, sum(effective_size(own) for own in beyond)))
    blocks = []
    for own in runs:
        columns = [own]
        for limit in slo.limits:
            columns += [own if limit.share is None else (own < limit.value).astype(np.float64), np.ones(len(own))]
        columns += [np.zeros(len(own)), np.ones(len(own))] * guards
        blocks.append(block_sums(np.column_stack(columns), block_for(own, concurrency)))
    return SloResampling(
        level=Level(concurrency),
        limits=slo.effective,
        n_asked=len(slo.limits),
        barred=False,
        repeats=tuple(range(len(runs))),
        runs=tuple(blocks),
        tails=(*tails, *[None] * guards),
        figures=(*figures, *[RunFigures(np.zeros(len(runs)), 0.0)] * guards),
    )


def _point(runs: list[Any], rng: Rng) -> PointSummary:
    """A level without a failure; with one run also the intervals within it, which its verdict rests on."""
    n, ttft_s = sum(map(len, runs)), describe(np.concatenate(runs))
    intervals = {}
    if len(runs) == 1:
        p95 = quantile_interval(runs[0], 0.95, block_for(runs[0], 1), rng)
        intervals = {"ttft_mean_s": batch_means(runs[0]), "ttft_p95_s": p95}
    return PointSummary(
        model="m", level=Level(1), repeat_count=len(runs), n_ok=n, n_failed=0, duration_s=1.0, input_tokens=n,
        output_tokens=2 * n, ratios={metric.key: None for metric in RATIOS} | {"error_rate": 0.0},
        distributions={metric.key: EMPTY for metric in LATENCIES} | {"ttft_s": ttft_s}, intervals=intervals,
    )  # fmt: skip
