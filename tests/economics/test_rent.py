"""A rented hour: on demand, spot, reserved and mixtures, by hand and by law."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.gpu_hour import OnDemand, Reserved, Spot, mixture, rent_cost
from benchsuite.errors import PriceError


@pytest.mark.parametrize(
    ("rent", "usd"),
    [
        (OnDemand(1.99), 1.99),
        (Reserved(1.2, 1.0), 1.2),
        (Reserved(1.2, 0.5), 2.4),
        (Spot(0.9), 0.9),
        (Spot(0.9, interruptions_per_hour=0.1, interruption_hours=1.0), 1.0),  # 0.9 / (1 - 0.1)
        (Spot(0.9, 0.1, 1.0, fallback_ratio=0.25, fallback_usd_per_hour=2.0), 1.25),  # 0.75 x 1.0 + 0.25 x 2.0
    ],
)
def test_known_answers(rent, usd):
    """Computed by hand from the formulas."""
    cost = rent_cost(rent)
    assert cost.usd_per_hour == pytest.approx(usd)
    assert sum(cost.parts().values()) == pytest.approx(usd)
    assert cost.assumptions


def test_mixture_by_hand():
    """70 % reserved at 1.2 / 0.9 and 30 % on demand at 2: 0.93333 + 0.6."""
    cost = mixture([(0.7, rent_cost(Reserved(1.2, 0.9))), (0.3, rent_cost(OnDemand(2.0)))])
    assert cost.usd_per_hour == pytest.approx(0.9333333 + 0.6)
    assert cost.parts() == pytest.approx({"rent_usd_per_hour": 0.84 + 0.6, "idle_usd_per_hour": 0.0933333})
    assert cost.mode == "mixture"


@given(price=st.floats(0.01, 100), lost=st.floats(0, 0.9), share=st.floats(0, 1), fallback=st.floats(0.01, 100))
def test_spot_lies_between_spot_and_fallback(price, lost, share, fallback):
    """A spot hour costs at least the cheaper and at most the dearer of the redone spot hour and the fallback."""
    usd = rent_cost(Spot(price, lost, 1.0, share, fallback)).usd_per_hour
    effective = price / (1 - lost)
    assert min(effective, fallback) * (1 - 1e-9) <= usd <= max(effective, fallback) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rent", "key"),
    [
        (OnDemand(-1), "usd_per_hour"),
        (OnDemand(float("nan")), "usd_per_hour"),
        (Reserved(1, 0), "utilisation"),
        (Reserved(1, 1.1), "utilisation"),
        (Spot(1, -0.1), "interruptions_per_hour"),
        (Spot(1, 1, 1), "interruption_hours"),
        (Spot(1, fallback_ratio=1.5), "fallback_ratio"),
        (Spot(1, fallback_ratio=0.5), "fallback_usd_per_hour"),
    ],
)
def test_nonsense_is_refused_by_name(rent, key):
    """The message names the parameter."""
    with pytest.raises(PriceError, match=f"where: +{key}"):
        rent_cost(rent)


def test_shares_that_do_not_add_up():
    """A mixture is of the whole."""
    with pytest.raises(PriceError, match="shares"):
        mixture([(0.5, rent_cost(OnDemand(1)))])
