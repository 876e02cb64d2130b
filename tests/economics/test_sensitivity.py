"""Sensitivity of the paper's hourly cost: the tornado, the spread, Sobol's indices, and laws of all three."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.gpu_hour import complete, hour_parts, hourly_cost, terms_of
from benchsuite.economics.prices import preset
from benchsuite.economics.sensitivity import (
    draw,
    ranges_about,
    sensitivity,
    sobol_total,
    spread,
    tornado,
)
from benchsuite.errors import PriceError

A800 = preset("a800-owned")
HOUR = A800.owned
UNIFORM = A800.uniform


@pytest.mark.parametrize(
    ("key", "low", "high", "usd_at_low", "usd_at_high"),
    [
        ("purchase_price", 75000, 155000, 0.523, 0.991),
        ("years", 5, 2, 0.529, 1.109),
        ("utilisation", 1, 0.5, 0.787, 1.431),
        ("maintenance_ratio", 0.01, 0.05, 0.748, 0.825),
        ("currency_per_usd", 7.4, 6.8, 0.754, 0.820),
        ("electricity_per_kwh", 0.5, 1.2, 0.744, 0.804),
        ("power_kw", 0.25, 0.5, 0.755, 0.808),
        ("pue", 1.2, 1.6, 0.770, 0.792),
    ],
)
def test_tornado_of_the_paper(key, low, high, usd_at_low, usd_at_high):
    """One at a time, to the third decimal; the bundled ranges are these."""
    (swing,) = tornado(HOUR, {key: (low, high)})
    assert (swing.usd_at_low, swing.usd_at_high) == pytest.approx((usd_at_low, usd_at_high), abs=6e-4)
    assert A800.tornado[key] == (low, high)


def test_tornado_is_ordered():
    """The widest swing first: utilisation, lifetime, price."""
    swings = tornado(HOUR, A800.tornado)
    assert [swing.key for swing in swings][:3] == ["utilisation", "years", "purchase_price"]


def test_monte_carlo_of_the_paper():
    """All inputs at once: .48, .75, 1.20 a GPU-hour."""
    found = spread(draw(HOUR, UNIFORM, n=20_000, seed=1), 0.786625)
    assert (found.p5, found.p50, found.p95, found.n) == pytest.approx((0.48, 0.75, 1.20, 20_000), abs=0.01)


def test_sobol_of_the_paper():
    """Price, utilisation and lifetime are worth arguing about; nothing else is."""
    found = sobol_total(HOUR, UNIFORM)
    assert found.pop("purchase_price") == pytest.approx(0.44, abs=0.01)
    assert found.pop("utilisation") == pytest.approx(0.38, abs=0.01)
    assert found.pop("years") == pytest.approx(0.21, abs=0.01)
    assert len(found) == 5
    assert max(found.values()) < 0.005


def test_draws_are_the_seeds():
    """The same seed gives the same draws, another gives others."""
    one, again, other = (draw(HOUR, UNIFORM, n=50, seed=seed) for seed in (7, 7, 8))
    assert (one == again).all()
    assert not (one == other).all()


@given(value=st.floats(50_000, 200_000), mode=st.sampled_from(["eq5", "note", "full"]), u=st.floats(0.05, 1))
def test_arrays_and_numbers_agree(value, mode, u):
    """The unchecked formula on arrays is the checked one on numbers."""
    import numpy as np

    changes = {"purchase_price": value, "utilisation": u, "mode": mode}
    one = hourly_cost(terms_of(changes, A800.owned))
    arrays = {"purchase_price": np.array([value]), "utilisation": np.array([u]), "mode": mode}
    many = sum(hour_parts(complete(A800.owned).model_copy(update=arrays)).values())
    assert many[0] == pytest.approx(one, rel=1e-12)


def test_draws_stay_within_the_corners():
    """The cost rises with the price alone, so no draw leaves the ends of its range."""
    drawn = draw(HOUR, {"purchase_price": (75_000, 155_000)}, n=1000)
    assert 0.523 < drawn.min() < drawn.max() < 0.992
    ends = {"purchase_price": (75_000, 155_000)}
    below = [sensitivity(HOUR, ends, output_tok_s=1e6 / 3600, versus_usd_per_1m=usd).share_below for usd in (0.5, 1)]
    assert below == [0, 1]


def test_rent_varies_too():
    """A reserved hour from u = 1 to .5 doubles; a spot's inputs off by a quarter keep to what makes sense."""
    reserved = terms_of({"usd_per_hour": 1.2, "billing": "reserved", "utilisation": 0.8})
    (swing,) = tornado(reserved, {"utilisation": (1, 0.5)})
    assert (swing.usd_at_low, swing.usd_at_high) == pytest.approx((1.2, 2.4))
    spot = terms_of({"usd_per_hour": 1, "billing": "spot", "fallback_ratio": 0.9, "fallback_usd_per_hour": 3})
    about = ranges_about(spot)
    assert about["fallback_ratio"] == pytest.approx((0.675, 1.0))
    assert set(ranges_about(HOUR)) == set(A800.uniform)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({}, "nothing to vary"),
        ({"prize": (1, 2)}, "no such input"),
        ({"pue": (0.9, 1.5)}, "pue"),
        ({"utilisation": (0, 1)}, "utilisation"),
    ],
)
def test_nonsense_is_refused(ranges, message):
    """By the name of the input, in every method."""
    for method in (tornado, draw, sobol_total):
        with pytest.raises(PriceError, match=message):
            method(HOUR, ranges)


def test_inputs_that_do_not_vary_share_nothing():
    """No variance: every index is 0, not undefined."""
    assert sobol_total(HOUR, {"pue": (1.5, 1.5)}) == {"pue": 0.0}
    assert sobol_total(HOUR, {"pue": (1.2, 1.5)}) == {"pue": 1.0}
    both = sobol_total(HOUR, {"pue": (1.5, 1.5), "years": (2, 5)})
    assert both == {"pue": pytest.approx(0, abs=1e-12), "years": pytest.approx(1, abs=0.02)}
