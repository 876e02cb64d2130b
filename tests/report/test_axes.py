"""Axes: round ticks that cover what is drawn."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.report.charts import Scale, log_ticks, nice_ticks, tick_text

values = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9)


@given(values, values, st.integers(2, 10))
def test_ticks_are_nice_and_cover_the_range(a: float, b: float, n: int):
    """Equal steps of 1, 2 or 5 times a power of ten, from below the lowest to above the highest value."""
    low, high = sorted((a, b))
    ticks = nice_ticks(low, high, n)
    step = ticks[1] - ticks[0]
    slack = 1e-6 * step
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 3 * n + 3
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert any(math.isclose(mantissa, nice, rel_tol=1e-5) for nice in (1, 2, 5))
    assert all(math.isclose(later - tick, step, rel_tol=1e-5) for tick, later in itertools.pairwise(ticks))


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6))
def test_log_ticks_cover_the_range(low: float, ratio: float):
    """From a tick at or below the lowest value to one at or above the highest."""
    ticks = log_ticks(low, low * ratio)
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= low * ratio * (1 - 1e-6)
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.27, [0, 0.1, 0.2, 0.3]),
        (0, 83, [0, 20, 40, 60, 80, 100]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 3, [3, 4, 5, 6]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_known_ticks(low: float, high: float, expected: list[float]):
    """Exactly the decimals that one would write."""
    assert nice_ticks(low, high) == expected


@pytest.mark.parametrize(("low", "high"), [(2, 1), (0, math.inf), (math.nan, 1)])
def test_no_ticks_for_no_range(low: float, high: float):
    """A range that is none is refused."""
    with pytest.raises(ValueError, match="no ticks"):
        nice_ticks(low, high)


def test_scale_and_labels():
    """A log scale puts 4 half way from 2 to 8; a tick has the decimals of its step."""
    scale = Scale(2, 8, 100, 300, log=True)
    assert [scale.at(v) for v in (2, 4, 8)] == pytest.approx([100, 200, 300])
    assert Scale(3, 3, 0, 10).at(3) == 5
    assert (tick_text(0.2, 0.05), tick_text(12000, 2000), tick_text(0, 0.5)) == ("0.20", "12,000", "0.0")
