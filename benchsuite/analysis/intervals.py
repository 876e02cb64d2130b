"""The interval of every figure of a level: over its runs where there are several, within its run where that can be."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import special  # not scipy.stats: a second to import, and 50 times as long to ask

from benchsuite.analysis.autocorrelation import autocorrelation, block_length, effective_size
from benchsuite.analysis.requests import Floats, LevelRows, by_repeat, known_mean
from benchsuite.analysis.steady_state import window
from benchsuite.metrics import ALPHA, LATENCIES, RATIOS, Metric, Statistic
from benchsuite.results import Estimate

Z = float(special.ndtri(1 - ALPHA / 2))  # 1.96: half an interval of the normal distribution, in standard deviations
ONE_RUN = "no interval: one run"
MIN_BATCHED = 40  # values, below which batches are too short to average
MAX_LAG1 = 0.2


def none(value: float | None, n: int, why: str) -> Estimate:
    """The value alone, and why it has no interval."""
    return Estimate(value, None, None, n, why if why.startswith("no interval") else f"no interval: {why}")


def t_over_runs(per_run: Floats, value: float | None = None) -> Estimate:
    """exp(mean ln y -+ t s / sqrt(n)) over n runs. value: what the point shows; the mean over runs if None.

    per_run: (n,) one figure a run, in its unit. No interval for one run, or where a run's figure is missing or not
    above 0. The interval is widened to hold `value`, which is an arithmetic mean or a ratio of sums.
    """
    n = len(per_run)
    if n == 0 or not np.isfinite(per_run).all():
        return none(value, n, "no interval: not known in every run")
    value = float(per_run.mean()) if value is None else value
    if n == 1:
        return none(value, 1, ONE_RUN)
    if (per_run <= 0).any():
        return none(value, n, "no interval: a run has 0")
    logs = np.log(per_run)
    half = float(special.stdtrit(n - 1, 1 - ALPHA / 2) * logs.std(ddof=1) / math.sqrt(n))
    middle = float(logs.mean())
    low, high = math.exp(middle - half), math.exp(min(middle + half, 700.0))
    return Estimate(value, min(low, value), max(high, value), n, f"log-scale t over {n} runs")


def order_statistics(values: Floats, p: float, n_eff: float | None = None) -> Estimate:
    """The p-quantile with the exact binomial interval of its ranks. An end that no rank supports is None.

    values: (n,) any order, no NaN; 0 < p < 1. n_eff: when the values depend on each other, the ranks are those of
    n_eff independent ones. Raises ValueError for another p.
    """
    if not 0 < p < 1:
        raise ValueError(f"a quantile between 0 and 1, not {p}")
    n = len(values)
    if n == 0:
        return none(None, 0, "no interval: no values")
    ordered = np.sort(values)
    value = float(ordered[max(math.ceil(n * p - 1e-9), 1) - 1])
    m = n if n_eff is None else max(1, math.floor(n_eff))
    lower, upper = binomial_quantile(ALPHA / 2, m, p), binomial_quantile(1 - ALPHA / 2, m, p) + 1
    low = float(ordered[max(1, math.floor(lower / m * n)) - 1]) if lower >= 1 else None
    high = float(ordered[math.ceil(upper / m * n) - 1]) if upper <= m else None
    method = "order statistics" + ("" if n_eff is None else f", n_eff {m}")
    if low is None and high is None:
        return none(value, n, f"no interval: {m} values are too few for p{p * 100:g}")
    if high is None:
        method += "; too few values for an upper end"
    elif low is None:
        method += "; too few values for a lower end"
    return Estimate(value, low, high, n, method)


def binomial_quantile(q: float, n: int, p: float) -> int:
    """The smallest k with P(Binomial(n, p) <= k) >= q."""
    k: int = math.ceil(special.bdtrik(q, n, p))
    return k - 1 if k > 0 and special.bdtr(k - 1, n, p) >= q else k


def batch_means(values: Floats) -> Estimate:
    """The mean with a t interval over the means of 30 batches, half as many while neighbours correlate.

    values: (n,) of one run in order of completion, no NaN, without its start and its end. No interval below 40 values,
    or where fewer than five batches would be left before their lag-1 autocorrelation is at most 0.2. Independent values
    with a heavy tail get the wider of it and a bootstrap-t interval. Source: Law, Simulation Modeling and Analysis,
    chapter 9.
    """
    n = len(values)
    if n < MIN_BATCHED:
        return none(float(values.mean()) if n else None, n, f"no interval: fewer than {MIN_BATCHED} values")
    value = float(values.mean())
    batches = 30 if n >= 2 * 30 else 20
    while True:
        means = values[n % batches :].reshape(batches, -1).mean(axis=1)
        if autocorrelation(means)[1] <= MAX_LAG1:
            break
        if batches < 10:
            return none(value, n, "no interval: requests depend on each other over the whole run")
        batches //= 2
    half = float(special.stdtrit(batches - 1, 1 - ALPHA / 2) * means.std(ddof=1) / math.sqrt(batches))
    high, method = value + half, f"{batches} batch means of one run"
    if _skewness(values) <= MAX_SKEWNESS or effective_size(values) < DEPENDENT_BELOW * n:
        return Estimate(value, value - half, high, n, method)
    low, end_high = _bootstrap_t(values)
    method += ", bootstrap-t for its heavy tail"
    if end_high > MAX_UPPER_END * value:
        end_high, method = MAX_UPPER_END * value, method + ": too few slow requests to know its upper end"
    low = max(min(value - half, low), float(values.min()))
    return Estimate(value, low, max(high, end_high), n, method)


MAX_SKEWNESS = 2.0  # that of the exponential; beyond it a t interval's upper end is too low too often
MAX_UPPER_END = 10.0  # times the mean: further up an end says no more than that the mean is not known
_T_DRAWS, _T_VALUES = 999, 200


def _skewness(values: Floats) -> float:
    centred = values - values.mean()
    spread = float(np.mean(centred**2)) ** 1.5
    return float(np.mean(centred**3)) / spread if spread > 0 else 0.0


def _bootstrap_t(values: Floats) -> tuple[float, float]:
    """The interval of the mean from the resampled t statistic. values: (n,) independent, above 0.

    The upper end takes the 0.5 % quantile instead of 2.5 % for few values: a sample lacks part of a heavy tail, and so
    do its resamples (with 2.5 % a lognormal with s = 1.5 was held in 91 % at n = 60). Source: Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), section 12.5.
    """
    groups = min(len(values), _T_VALUES)
    means = values[len(values) % groups :].reshape(groups, -1).mean(axis=1)
    drawn = means[np.random.default_rng(SEED).integers(0, groups, (_T_DRAWS, groups))]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num((drawn.mean(axis=1) - means.mean()) / errors, nan=-np.inf)
    error = float(means.std(ddof=1)) / math.sqrt(groups)
    short = 0.005 if _skewness(means) > MAX_SKEWNESS else ALPHA / 2
    lower, upper = np.quantile(t, [short, 1 - ALPHA / 2], method="inverted_cdf")
    return float(values.mean() - upper * error), float(values.mean() - lower * error)


DRAWS = 2000
MAX_BLOCKS = 200  # longer blocks than dependence asks for cost little; more blocks cost time
_QUANTILE_DRAWS, _QUANTILE_BLOCKS, _CANDIDATES, _SEGMENTS = 1000, 100, 101, 20_000
DEPENDENT_BELOW = 0.8  # of n: n_eff below it counts as dependence
MIN_TAIL = 5  # n_eff (1 - p): five for p99 is n_eff 500


@dataclass(frozen=True, slots=True)
class BlockSums:
    """sums: (n, k) sums of the block that starts at each row, scaled so that n_blocks of them make one whole run."""

    sums: Floats
    n_blocks: int

    def draw(self, rng: np.random.Generator, draws: int) -> Floats:
        """(draws, k) totals of resampled runs."""
        starts = rng.integers(0, len(self.sums), (self.n_blocks, draws))
        total = np.zeros((draws, self.sums.shape[1]))
        for chosen in starts:  # a loop over blocks keeps memory at (draws, k)
            total += self.sums[chosen]
        return total


def segment_rows(n: int) -> int:
    """How many of n rows make a segment; blocks of more than _SEGMENTS rows begin at none but the first of each."""
    return math.ceil(n / _SEGMENTS)


def in_segments(values: Floats) -> Floats:
    """The sums of the segments of a column (n,); itself where a segment is a row."""
    size = segment_rows(len(values))
    return values if size < 2 else np.add.reduceat(values, np.arange(0, len(values), size))


def block_sums(columns: Floats, block: int, max_blocks: int = MAX_BLOCKS) -> BlockSums:
    """Block sums of `columns` (n, k), n >= 1, no NaN. block: rows; made longer where there would be too many blocks."""
    n = len(columns)
    block = min(max(block, math.ceil(n / max_blocks), 1), n)
    n_blocks = max(1, round(n / block))
    running = np.concatenate(
        [np.zeros((1, columns.shape[1])), np.cumsum(np.vstack([columns, columns[:block]]), axis=0)]
    )
    return BlockSums((running[block : block + n] - running[:n]) * (n / (n_blocks * block)), n_blocks)


def block_for(values: Floats, users: int) -> int:
    """Rows a block: no shorter than a batch of the server, nor than three times Politis and White's length.

    values: (n,) in send order, no NaN. Three times, because theirs makes the error of a variance least, not the
    error of an interval: with it a nominal 95 % holds about 92 % of AR(1) 0.8, with three times 93 to 96 %.
    """
    return max(users, 3 * block_length(values))


def ratio_interval(above: Floats, below: Floats, block: int, rng: np.random.Generator) -> Estimate:
    """sum(above) / sum(below) with the percentile interval of a joint block bootstrap.

    above, below: (n,) per request in send order, no NaN. No interval for fewer than ten blocks.
    """
    n, total = len(above), float(below.sum())
    value = float(above.sum()) / total if total > 0 else None
    if n == 0 or value is None:
        return none(None, n, "no interval: no values")
    sums = block_sums(np.column_stack([in_segments(above), in_segments(below)]), math.ceil(block / segment_rows(n)))
    if sums.n_blocks < 10:
        return none(value, n, f"no interval: only {sums.n_blocks} blocks of {block} requests")
    drawn = sums.draw(rng, DRAWS)
    ratios = drawn[:, 0] / np.maximum(drawn[:, 1], np.finfo(float).tiny)
    low, high = (float(end) for end in np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2]))
    low, high = _widened(value, low, high, sums.n_blocks)
    return Estimate(value, low, high, n, f"joint block bootstrap, {sums.n_blocks} blocks")


def _widened(value: float, low: float, high: float, n_blocks: int) -> tuple[float, float]:
    """The percentile interval of few blocks, made as wide as Student's t of so many asks for. Never negative."""
    factor = special.stdtrit(n_blocks - 1, 1 - ALPHA / 2) / Z
    factor *= math.sqrt(n_blocks / (n_blocks - 1))
    return max(float(value - factor * (value - low)), 0.0), float(value + factor * (high - value))


def quantile_interval(values: Floats, p: float, block: int, rng: np.random.Generator) -> Estimate:
    """The p-quantile of one run: order statistics when its requests are independent, else the block bootstrap.

    values: (n,) in send order, no NaN; block: rows, at least. n_eff: of `value <= quantile`. Where it is below
    5 / (1 - p), or blocks are fewer than ten, too little lies beyond the quantile to resample: order statistics with
    n_eff.
    """
    plain = order_statistics(values, p)
    if plain.value is None:
        return plain
    if effective_size(values) >= DEPENDENT_BELOW * len(values):
        return plain
    n_eff = effective_size((values <= plain.value).astype(np.float64))
    if n_eff * min(p, 1 - p) < MIN_TAIL or len(values) < 10 * block:
        return order_statistics(values, p, n_eff)
    low, high, blocks = _resampled_quantile(values, p, block, n_eff, rng)
    low, high = _widened(plain.value, low, high, blocks)
    method = f"circular block bootstrap, {blocks} blocks, n_eff {n_eff:.0f}"
    return Estimate(plain.value, low, high, len(values), method)


def _resampled_quantile(
    values: Floats, p: float, block: int, n_eff: float, rng: np.random.Generator
) -> tuple[float, float, int]:
    """The bootstrap of a quantile among 101 candidates around it: q* <= x if and only if F*(x) >= p."""
    n = len(values)
    ordered = np.sort(values)
    spread = 6 * math.sqrt(p * (1 - p) / n_eff)
    ranks = np.ceil(np.linspace(p - spread, p + spread, _CANDIDATES) * n).clip(1, n).astype(np.int64)
    candidates = np.unique(ordered[ranks - 1])
    segment = segment_rows(n)
    place = np.searchsorted(candidates, values)  # the first candidate that is not below the value
    width = len(candidates) + 1
    cells = np.bincount(np.arange(n) // segment * width + place, minlength=math.ceil(n / segment) * width)
    counts = np.cumsum(cells.reshape(-1, width), axis=1).astype(np.float64)  # the last column: all rows
    sums = block_sums(counts, math.ceil(block / segment), _QUANTILE_BLOCKS)
    drawn = sums.draw(rng, _QUANTILE_DRAWS)
    reached = drawn[:, :-1] >= p * drawn[:, -1:] * (1 - 1e-12)
    found = np.where(reached.any(axis=1), reached.argmax(axis=1), len(candidates) - 1)
    low, high = np.quantile(candidates[found], [ALPHA / 2, 1 - ALPHA / 2], method="inverted_cdf")
    return float(low), float(high), sums.n_blocks


SEED = 20260101  # of every resampling: the same rows give the same intervals
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def level_intervals(measured: LevelRows) -> dict[str, Estimate]:
    """By Statistic.column, of every metric in WITH_INTERVAL that a level has. Empty where nothing was sent.

    With several runs all are t intervals over runs, which hold what differs between runs. With one, what requests have
    gets an interval within it, and the run's own figures none.
    """
    if not measured.repeats:
        return {}
    rng = np.random.default_rng(SEED)
    found = {"duration_s": t_over_runs(np.array([run.duration_s for run in measured.repeats]))}
    for metric in RATIOS:
        if metric.of_kind in (None, measured.level.kind) and (not metric.needs_goodput or "good" in measured.sums):
            found[metric.key] = _ratio(measured, metric, rng)
    for metric in LATENCIES:
        if metric.each != "chunks" and metric.word is not None:
            found[Statistic(metric, "mean").column] = _mean(measured, metric)
            for stat, p in _QUANTILES.items():
                found[Statistic(metric, stat).column] = _quantile(measured, metric, stat, p, rng)
    return found


def _ratio(measured: LevelRows, metric: Metric, rng: np.random.Generator) -> Estimate:
    assert metric.ratio is not None
    (above, *more), below = metric.ratio
    value, n = measured.ratio(metric), len(measured.repeats)
    if metric.share:
        return _share(measured, metric, value)
    if n == 1 and not more and below in measured.sums:  # of its requests alone: no figure of the run
        parts = [np.nan_to_num(measured.sums[name]) for name in (above, below)]
        order = measured.repeats[0].order[parts[1][measured.repeats[0].order] > 0]
        tokens, spans_s = (part[order] for part in parts)
        return ratio_interval(tokens, spans_s, block_for(spans_s / tokens, measured.at_once), rng)
    found = t_over_runs(by_repeat(measured, Statistic(metric)), value)
    if metric.unit == "ratio" and found.high is not None:
        return dataclasses.replace(found, high=min(found.high, 1.0))
    return found


def _share(measured: LevelRows, metric: Metric, value: float | None) -> Estimate:
    """Wilson's interval with the independent requests of all runs; of several runs no narrower than t over them."""
    assert metric.ratio is not None
    counted = measured.sums[metric.ratio[0][0]]
    assert value is not None
    n_eff = sum(effective_size(counted[run.order]) for run in measured.repeats)
    low, high = wilson(value, max(n_eff, 1.0), Z)
    method = f"Wilson, n_eff {n_eff:.0f}"
    over_runs = t_over_runs(by_repeat(measured, Statistic(metric)), value)
    if over_runs.low is not None and over_runs.high is not None:
        low, high = min(low, over_runs.low), max(high, min(over_runs.high, 1.0))
        method += f", and {over_runs.method}"
    return Estimate(value, low, high, len(counted), method)


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """The score interval of a proportion. Source: Wilson, JASA 22 (1927)."""
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return min((middle - half) / scale, p) if p > 0 else 0.0, max((middle + half) / scale, p) if p < 1 else 1.0


def _mean(measured: LevelRows, metric: Metric) -> Estimate:
    values = measured.each[metric.key]
    if len(measured.repeats) > 1:
        return t_over_runs(by_repeat(measured, Statistic(metric, "mean")), measured.distribution(metric).mean)
    run = measured.repeats[0]
    bounds = window(measured, run)
    if bounds is None:
        return none(known_mean(values), int(np.count_nonzero(~np.isnan(values))), "one run, never steady")
    begin_s = measured.rows.begin_s[run.order]
    chosen = run.order[(begin_s >= bounds[0]) & (begin_s <= bounds[1]) & ~np.isnan(values[run.order])]
    by_completion = chosen[np.argsort(measured.rows.closed_s[chosen], kind="stable")]
    return batch_means(values[by_completion])


def _quantile(measured: LevelRows, metric: Metric, stat: str, p: float, rng: np.random.Generator) -> Estimate:
    if len(measured.repeats) > 1:
        return t_over_runs(by_repeat(measured, Statistic(metric, stat)), measured.distribution(metric).stat(stat))
    own = measured.each[metric.key][measured.repeats[0].order]
    own = own[~np.isnan(own)]
    return quantile_interval(own, p, block_for(own, measured.at_once), rng)
