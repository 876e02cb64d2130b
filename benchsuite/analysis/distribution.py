"""Many values as one Distribution: mean and observed percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.results import EMPTY, Distribution

PERCENTILES = (50, 90, 95, 99)


def describe(values: NDArray[Any], scale: float = 1.0) -> Distribution:
    """The distribution of `values * scale`; NaN is left out, no value at all gives EMPTY.

    values: (n,) numbers, any order. Percentiles are observed values, the inverse of the empirical distribution
    function: the smallest value that at least p % of all do not exceed. Source: Hyndman & Fan (1996), definition 1.
    """
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return EMPTY
    ranks = [(n * p + 99) // 100 - 1 for p in PERCENTILES]  # ceil(n p / 100) - 1 in whole numbers: 0.07 * 100 is not 7
    ordered = np.partition(values, [*ranks, n - 1])
    p50, p90, p95, p99, top = (float(ordered[rank]) * scale for rank in (*ranks, n - 1))
    return Distribution(n, float(np.mean(values)) * scale, p50, p90, p95, p99, top)
