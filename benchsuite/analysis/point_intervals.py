"""The interval of every figure of a level: over its runs where there are several, within its run where that can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from benchsuite.analysis.bootstrap import block_for, quantile_interval, ratio_interval
from benchsuite.analysis.distribution import describe
from benchsuite.analysis.per_request import PerRequest
from benchsuite.analysis.rows import Floats, Rows
from benchsuite.analysis.runs import OneRun
from benchsuite.analysis.stats import batch_means, none, t_over_runs
from benchsuite.analysis.steady import window
from benchsuite.results import Estimate

SEED = 20260101  # of every resampling: the same rows give the same intervals
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def level_intervals(rows: Rows, each: PerRequest, runs: Sequence[OneRun], concurrency: int) -> dict[str, Estimate]:
    """By name: wall_s, throughput_paper_tok_s, output_tok_s, request_per_s, occupancy, decode_tok_s, ttft_mean_s,
    ttft_p50_s, ttft_p95_s, ttft_p99_s, tpot_mean_s. Empty where nothing was sent.

    With several runs all are t intervals over runs, which hold what differs between runs. With one, latencies and
    decode speed get intervals within it, and the run's own figures none.
    """
    if not runs:
        return {}
    found = _of_runs(rows, runs, concurrency)
    rng = np.random.default_rng(SEED)
    found["decode_tok_s"] = _decode(each, runs, concurrency, rng)
    for name, values in (("ttft", each.ttft_s), ("tpot", each.tpot_s)):
        found[f"{name}_mean_s"] = _mean(rows, values, runs, concurrency)
    for name, p in _QUANTILES.items():
        found[f"ttft_{name}_s"] = _quantile(each.ttft_s, runs, name, p, concurrency, rng)
    return found


def _of_runs(rows: Rows, runs: Sequence[OneRun], concurrency: int) -> dict[str, Estimate]:
    """Figures that a run has one of. Those of all runs together are ratios of sums."""
    wall_s = np.array([run.wall_s for run in runs])
    busy_s = np.array([run.flight.integral_s for run in runs])
    ok = [rows.ok[run.order] for run in runs]
    n_ok = np.array([float(fine.sum()) for fine in ok])
    tokens = np.array([_sum(rows.output_tokens[run.order][fine]) for run, fine in zip(runs, ok, strict=True)])

    def over(sums: Floats, users: int = 1) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            per_run, value = sums / (wall_s * users), float(sums.sum() / (wall_s.sum() * users))
        return t_over_runs(per_run, value if np.isfinite(value) else None)

    return {
        "wall_s": t_over_runs(wall_s),
        "throughput_paper_tok_s": over(tokens, concurrency),
        "output_tok_s": over(tokens),
        "request_per_s": over(n_ok),
        "occupancy": _share(over(busy_s, concurrency)),
    }


def _share(estimate: Estimate) -> Estimate:
    """A share's interval ends at 1."""
    return estimate if estimate.high is None else dataclasses.replace(estimate, high=min(estimate.high, 1.0))


def _sum(tokens: Floats) -> float:
    known = tokens[~np.isnan(tokens)]
    return float(known.sum()) if len(known) else np.nan


def _decode(each: PerRequest, runs: Sequence[OneRun], concurrency: int, rng: np.random.Generator) -> Estimate:
    tokens, spans_s = np.nan_to_num(each.decode_tokens), np.nan_to_num(each.decode_span_s)
    if len(runs) == 1:
        order = runs[0].order[spans_s[runs[0].order] > 0]
        block = block_for(spans_s[order] / tokens[order], concurrency)
        return ratio_interval(tokens[order], spans_s[order], block, rng)
    sums = [(float(tokens[run.order].sum()), float(spans_s[run.order].sum())) for run in runs]
    above, below = (sum(part) for part in zip(*sums, strict=True))
    per_run = np.array([t / s if s > 0 else np.nan for t, s in sums])
    return t_over_runs(per_run, above / below if below > 0 else None)


def _mean(rows: Rows, values: Floats, runs: Sequence[OneRun], concurrency: int) -> Estimate:
    if len(runs) > 1:
        return _over_runs(values, runs, lambda own: float(own.mean()))
    order = runs[0].order
    bounds = window(rows, order, concurrency)
    if bounds is None:
        known = values[~np.isnan(values)]
        return none(float(known.mean()) if len(known) else None, len(known), "no interval: one run, never steady")
    inside = (rows.sent_s[order] >= bounds[0]) & (rows.sent_s[order] <= bounds[1]) & ~np.isnan(values[order])
    chosen = order[inside]
    by_completion = chosen[np.argsort(rows.closed_s[chosen], kind="stable")]
    return batch_means(values[by_completion])


def _quantile(
    values: Floats, runs: Sequence[OneRun], name: str, p: float, concurrency: int, rng: np.random.Generator
) -> Estimate:
    def observed(own: Floats) -> float:
        value = describe(own).stat(name)
        assert value is not None  # nobody asks for a percentile of nothing
        return value

    if len(runs) > 1:
        return _over_runs(values, runs, observed)
    own = values[runs[0].order]
    own = own[~np.isnan(own)]
    return quantile_interval(own, p, block_for(own, concurrency), rng)


def _over_runs(values: Floats, runs: Sequence[OneRun], of: Callable[[Floats], float]) -> Estimate:
    """A statistic of each run; its value is that of all runs' values pooled. NaN are left out."""
    own = [values[run.order] for run in runs]
    own = [mine[~np.isnan(mine)] for mine in own]
    every = np.concatenate(own)
    per_run = np.array([of(mine) if len(mine) else np.nan for mine in own])
    return t_over_runs(per_run, of(every) if len(every) else None)
