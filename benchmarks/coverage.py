"""Do the intervals hold what they promise? Processes whose truth is known, and how often each method catches it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are imported at their first use

from benchmarks import verdicts
from benchsuite.analysis.intervals import (
    batch_means,
    block_for,
    block_sums,
    order_statistics,
    quantile_interval,
    ratio_interval,
    t_over_runs,
)
from benchsuite.results import Estimate

DRAWS = 1000  # simulated measurements a line: the share has a standard error of 0.7 points at 95 %
SPREAD = 0.6  # of ln TTFT
Rng = np.random.Generator
Process = Callable[[int, Rng], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: a method on a process, and the number that its interval should hold."""

    method: str
    process: str
    truth: float
    measure: Callable[[Rng], Estimate]


def intervals(draws: int = DRAWS) -> list[dict[str, Any]]:
    """Share of nominal 95 % intervals that hold the truth (goal 93 to 97 %): each method on each process."""
    rows = []
    print(f"{'method':38} {'process':44} {'truth held':>10} {'none':>6}  of {draws}")
    for i, case in enumerate(_cases()):
        rng = np.random.default_rng([i, 20260103])
        found = [case.measure(rng) for _ in range(draws)]
        whole = [one for one in found if one.low is not None and one.high is not None]
        held = np.mean([one.low <= case.truth <= one.high for one in whole]) if whole else math.nan
        without = 1 - len(whole) / draws
        print(f"{case.method:38} {case.process:44} {held:10.1%} {without:6.1%}", flush=True)
        rows.append({"method": case.method, "process": case.process, "held": float(held), "no_interval": without})
    return rows


def _cases() -> list[Case]:
    return [*_over_runs(), *_quantiles(), *_means(), *_ratios(), *_resampled_repeats()]


def _over_runs() -> list[Case]:
    """Run-level figures: lognormal between runs; what an interval over runs holds is their median."""
    cases = []
    for n, cv in ((2, 0.03), (3, 0.03), (5, 0.03), (5, 0.3), (10, 0.1)):
        made = f"{n} runs, lognormal, CV {cv:.0%}"
        cases.append(Case("log-scale t over runs", made, 1.0, lambda rng, n=n, cv=cv: t_over_runs(_runs(n, cv, rng))))

    def percentile(rng: Rng) -> Estimate:
        return t_over_runs(np.array([np.quantile(own, 0.95) for own in _repeats(5, 600, rng)]))

    p95 = math.exp(SPREAD * scipy.stats.norm.ppf(0.95))
    return [*cases, Case("log-scale t over runs, p95", "5 runs of 600, CV 5 % between runs", p95, percentile)]


def _runs(n: int, cv: float, rng: Rng) -> Any:
    return np.exp(math.sqrt(math.log(1 + cv**2)) * rng.standard_normal(n))


def _repeats(n_runs: int, n: int, rng: Rng, rho: float = 0.0) -> list[Any]:
    """Requests of several runs: each run has a factor of its own, median 1."""
    return [factor * np.exp(SPREAD * _ar(n, rho, rng)) for factor in _runs(n_runs, 0.05, rng)]


def _ar(n: int, rho: float, rng: Rng) -> Any:
    """A Gaussian AR(1) with variance 1, started in its stationary law."""
    noise = rng.standard_normal(n) * math.sqrt(1 - rho**2)
    noise[0] = rng.standard_normal()
    return scipy.signal.lfilter([1.0], [1.0, -rho], noise)


def _lognormal(rho: float) -> Process:
    return lambda n, rng: np.exp(SPREAD * _ar(n, rho, rng))


LOGNORMAL_MEAN = math.exp(SPREAD**2 / 2)


def _quantiles() -> list[Case]:
    cases = []
    for n, p in ((300, 0.5), (300, 0.95), (1000, 0.99), (2993, 0.95), (2993, 0.99)):
        truth = math.exp(SPREAD * scipy.stats.norm.ppf(p))
        cases.append(
            Case(
                "order statistics",
                f"p{p * 100:g} of {n} independent",
                truth,
                lambda rng, n=n, p=p: order_statistics(_lognormal(0.0)(n, rng), p),
            )
        )
    for rho, n, p in (
        (0.0, 2993, 0.95), (0.5, 2993, 0.5), (0.5, 2993, 0.95), (0.8, 2993, 0.5), (0.8, 2993, 0.95), (0.8, 2993, 0.99),
        (0.95, 2993, 0.5), (0.95, 2993, 0.95),
    ):  # fmt: skip
        truth = math.exp(SPREAD * scipy.stats.norm.ppf(p))
        cases.append(
            Case(
                "percentile of one run (automatic)",
                f"p{p * 100:g} of {n}, AR(1) {rho:g}, N = 32",
                truth,
                lambda rng, rho=rho, n=n, p=p: _quantile(_lognormal(rho)(n, rng), p, rng),
            )
        )
    cases.append(
        Case(
            "order statistics, dependence ignored",
            "p50 of 2993, AR(1) 0.8 (for contrast)",
            1.0,
            lambda rng: order_statistics(_lognormal(0.8)(2993, rng), 0.5),
        )
    )
    return cases


def _quantile(values: Any, p: float, rng: Rng) -> Estimate:
    return quantile_interval(values, p, block_for(values, 32), rng)


def _queue(n: int, rng: Rng) -> Any:
    """Time in an M/M/1 system at load 0.5, one after another (Lindley): mean 2, autocorrelated and skewed."""
    service, between = rng.exponential(1.0, n + 500), rng.exponential(2.0, n + 500)
    steps = np.concatenate([[0.0], np.cumsum(service[:-1] - between[1:])])
    waits = steps - np.minimum.accumulate(np.minimum(steps, 0.0))
    return (waits + service)[500:]


def _means() -> list[Case]:
    cases = [
        Case(
            "batch means of one run",
            f"{n} requests, AR(1) {rho:g}",
            LOGNORMAL_MEAN,
            lambda rng, rho=rho, n=n: batch_means(_lognormal(rho)(n, rng)),
        )
        for rho, n in ((0.0, 300), (0.0, 2993), (0.5, 2993), (0.9, 2993))
    ]
    queue = Case(
        "batch means of one run", "2993 in a queue at load 0.5", 2.0, lambda rng: batch_means(_queue(2993, rng))
    )
    several = Case(
        "log-scale t over runs, mean",
        "5 runs of 600, AR(1) 0.5, CV 5 % between",
        LOGNORMAL_MEAN,
        lambda rng: t_over_runs(np.array([own.mean() for own in _repeats(5, 600, rng, 0.5)])),
    )
    return [*cases, *_heavy_tails(), queue, several]


def _heavy_tails() -> list[Case]:
    """Of 60 requests none is slow in 16 % of runs, which no interval can know: it holds the truth in at most 84 %."""
    return [
        Case(
            "batch means of one run",
            f"{n} requests, {law.name}",
            law.mean,
            lambda rng, law=law, n=n: batch_means(law.draw(n, rng)),
        )
        for law in verdicts.LAWS[2:]
        for n in (60, 100, 300)
    ]


def _ratios() -> list[Case]:
    """Decode speed: tokens over seconds, whose gap is AR(1) from request to request."""

    def speed(rho: float, rng: Rng) -> Estimate:
        tokens = np.ceil(rng.lognormal(5.0, 0.8, 2993))
        seconds = tokens * 0.02 * np.exp(0.2 * _ar(2993, rho, rng))
        return ratio_interval(tokens, seconds, block_for(seconds / tokens, 32), rng)

    truth = 1 / (0.02 * math.exp(0.2**2 / 2))
    return [
        Case(
            "ratio of sums, joint block bootstrap",
            f"2993 requests, AR(1) {rho:g}",
            truth,
            lambda rng, r=rho: speed(r, rng),
        )
        for rho in (0.0, 0.5, 0.8)
    ]


def _resampled_repeats() -> list[Case]:
    """What P_met and P_opt rest on: repeats resampled, then blocks of requests in each."""

    def resampled(n_runs: int, rng: Rng) -> Estimate:
        runs = [block_sums(own[:, None], 32) for own in _repeats(n_runs, 600, rng, 0.5)]
        picks = rng.integers(0, n_runs, (500, n_runs))
        total = np.zeros(500)
        for place, run in enumerate(runs):
            for slot in range(n_runs):
                chosen = np.flatnonzero(picks[:, slot] == place)
                total[chosen] += run.draw(rng, len(chosen))[:, 0]
        measured = float(sum(run.sums.mean() * run.n_blocks for run in runs))
        stretch = np.sqrt((n_runs - 1) / rng.chisquare(n_runs - 1, 500))
        means = measured / (600 * n_runs) * np.exp(stretch * np.log(total / measured))
        low, high = np.quantile(means, [0.025, 0.975])
        return Estimate(0.0, float(low), float(high), n_runs, "hierarchical bootstrap")

    made = "runs of 600, AR(1) 0.5, CV 5 % between"
    return [
        Case("repeats, then blocks (P(SLO), P_opt)", f"{n} {made}", LOGNORMAL_MEAN, lambda rng, n=n: resampled(n, rng))
        for n in (3, 5, 10)
    ]
