"""Tail limits by the MLPerf early-stopping test. Pure.

Source: MLPerf inference rules, "Early Stopping Criterion".
"""

from __future__ import annotations

import functools
import math
from typing import Literal

from scipy import stats

CONFIDENCE = 0.99
TailVerdict = Literal["met", "not met", "undecided"]


@functools.lru_cache(maxsize=4096)
def n_min(p: float, violations: int, confidence: float = CONFIDENCE) -> int:
    """The fewest requests with which `violations` of them beyond the limit still prove that a share p is within it.

    The smallest n with P(Binomial(n, 1 - p) <= violations) <= 1 - confidence.
    """
    low, high = violations, violations + 1
    while stats.binom.cdf(violations, high, 1 - p) > 1 - confidence:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if stats.binom.cdf(violations, middle, 1 - p) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def max_violations(n: int, p: float, confidence: float = CONFIDENCE) -> int | None:
    """The most violations among n requests that still pass; None if n is too small to pass with none."""
    if n < n_min(p, 0, confidence):
        return None
    most = int(stats.binom.ppf(1 - confidence, n, 1 - p))
    while stats.binom.cdf(most, n, 1 - p) > 1 - confidence:
        most -= 1
    return most


def tail_verdict(n: int, violations: int, p: float, n_eff: float, confidence: float = CONFIDENCE) -> TailVerdict:
    """Whether a share p of all requests keeps the limit, of which `violations` of n did not.

    With dependent requests n_eff stands for n, and the violations are scaled with it, upwards. Not met: so many
    violations would be as unlikely (1 - confidence) if the share were kept.
    """
    m = math.floor(n_eff)
    t = min(m, math.ceil(violations * m / n - 1e-9)) if n else 0
    most = max_violations(m, p, confidence)
    if most is not None and t <= most:
        return "met"
    if m and t and float(stats.binom.sf(t - 1, m, 1 - p)) <= 1 - confidence:
        return "not met"
    return "undecided"
