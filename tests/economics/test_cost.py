"""Equation 4 and what it is divided by."""

from __future__ import annotations

import pytest
from points_for_tests import point

from benchsuite.economics.cost import point_cost, total_usd_per_hour
from benchsuite.errors import PriceError


def test_cost_by_hand():
    """Half an hour at $2/h is $1; twice over, for 4 M output and 6 M tokens and 1,000 answers in both runs together."""
    p = point(8, 1800.0, 30.0, repeat_count=2, input_tokens=2_000_000, output_tokens=4_000_000, n_ok=1000)
    cost = point_cost(p, 2.0)
    assert cost.cost_usd == pytest.approx(1.0)
    assert cost.usd_per_1m_output_tokens == pytest.approx(0.5)
    assert cost.usd_per_1m_total_tokens == pytest.approx(1 / 3)
    assert cost.usd_per_request == pytest.approx(0.002)


def test_missing_stays_missing():
    """No price, no time, or no tokens: None, never 0."""
    unpriced = point_cost(point(8, 10.0, 30.0), None)
    assert (unpriced.usd_per_hour, unpriced.cost_usd, unpriced.usd_per_request) == (None, None, None)
    assert point_cost(point(8, 10.0, 30.0, output_tokens=None), 1.0).usd_per_1m_output_tokens is None
    assert point_cost(point(8, 10.0, 30.0, n_ok=0), 1.0).usd_per_request is None
    assert point_cost(point(8, None, 30.0), 1.0).cost_usd is None  # type: ignore[arg-type]


def test_the_machine_is_its_gpus():
    """Price times GPUs; nonsense is refused."""
    assert total_usd_per_hour(0.79, 2) == pytest.approx(1.58)
    for usd, gpus in ((-1.0, 1), (float("nan"), 1), (1.0, 0)):
        with pytest.raises(PriceError):
            total_usd_per_hour(usd, gpus)
