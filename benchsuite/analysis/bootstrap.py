"""The circular block bootstrap, on sums of blocks instead of rows, so that its cost does not grow with the rows. Pure.

Rows are in send order. Blocks that wrap around give every row the same weight; the moving-block form does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchsuite.analysis.dependence import block_length, effective_size
from benchsuite.analysis.rows import Floats
from benchsuite.analysis.stats import ALPHA, none, order_statistics
from benchsuite.results import Estimate

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


def block_sums(columns: Floats, block: int, max_blocks: int = MAX_BLOCKS) -> BlockSums:
    """Block sums of `columns` (n, k), n >= 1, no NaN. block: rows; made longer where there would be too many blocks."""
    n = len(columns)
    block = min(max(block, math.ceil(n / max_blocks), 1), n)
    n_blocks = max(1, round(n / block))
    running = np.concatenate(
        [np.zeros((1, columns.shape[1])), np.cumsum(np.vstack([columns, columns[:block]]), axis=0)]
    )
    return BlockSums((running[block : block + n] - running[:n]) * (n / (n_blocks * block)), n_blocks)


def block_for(values: Floats, concurrency: int) -> int:
    """Rows a block: no shorter than a batch of the server, nor than three times Politis and White's length.

    values: (n,) in send order, no NaN. Three times, because theirs makes the error of a variance least, not the
    error of an interval: with it a nominal 95 % holds about 92 % of AR(1) 0.8, with three times 93 to 96 %.
    """
    return max(concurrency, 3 * block_length(values))


def ratio_interval(above: Floats, below: Floats, block: int, rng: np.random.Generator) -> Estimate:
    """sum(above) / sum(below) with the percentile interval of a joint block bootstrap.

    above, below: (n,) per request in send order, no NaN. No interval for fewer than ten blocks.
    """
    n, total = len(above), float(below.sum())
    value = float(above.sum()) / total if total > 0 else None
    if n == 0 or value is None:
        return none(None, n, "no interval: no values")
    sums = block_sums(np.column_stack([above, below]), block)
    if sums.n_blocks < 10:
        return none(value, n, f"no interval: only {sums.n_blocks} blocks of {block} requests")
    drawn = sums.draw(rng, DRAWS)
    ratios = drawn[:, 0] / np.maximum(drawn[:, 1], np.finfo(float).tiny)
    low, high = (float(end) for end in np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2]))
    low, high = _widened(value, low, high, sums.n_blocks)
    return Estimate(value, low, high, n, f"joint block bootstrap, {sums.n_blocks} blocks")


def _widened(value: float, low: float, high: float, n_blocks: int) -> tuple[float, float]:
    """The percentile interval of few blocks, made as wide as Student's t of so many asks for. Never negative."""
    factor = stats.t.ppf(1 - ALPHA / 2, n_blocks - 1) / stats.norm.ppf(1 - ALPHA / 2)
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
    segment = math.ceil(n / _SEGMENTS)
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
