"""The hourly cost against the paper's example and its own contradiction at u = 0.7."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchsuite.economics.gpu_hour import HourlyCost, Ownership, hourly_cost
from benchsuite.errors import PriceError

PAPER = Ownership(
    purchase_price=120000,
    currency="CNY",
    currency_per_usd=7.09,
    years=3,
    utilisation=1.0,
    power_kw=0.4,
    pue=1.5,
    electricity_per_kwh=1.0,
    maintenance_ratio=0.03,
)


@pytest.mark.parametrize(
    ("utilisation", "mode", "usd"),
    [
        (1.0, "eq5", 0.786625),
        (1.0, "note", 0.786625),
        (1.0, "full", 0.786625),
        (0.7, "eq5", 1.062640),
        (0.7, "note", 1.123750),
        (0.7, "full", 1.123750),  # idle power not given: taken as working power, so the same as the note
        (0.5, "eq5", 1.430660),
    ],
)
def test_known_answers(utilisation, mode, usd):
    """The paper's A800, to the sixth decimal."""
    cost = hourly_cost(replace(PAPER, utilisation=utilisation), mode)
    assert cost.usd_per_hour == pytest.approx(usd, abs=5e-7)
    assert sum(cost.parts().values()) == pytest.approx(cost.usd_per_hour)


def test_parts_of_the_paper():
    """0.6440 + 0.0846 + 0.0580: the paper rounds each and gets 0.78, the sum rounds to 0.79."""
    cost = hourly_cost(PAPER)
    assert cost == HourlyCost(
        usd_per_hour=pytest.approx(0.786625, abs=5e-7),
        depreciation_usd_per_hour=pytest.approx(0.644035, abs=5e-7),
        power_usd_per_hour=pytest.approx(0.084626, abs=5e-7),
        maintenance_usd_per_hour=pytest.approx(0.057963, abs=5e-7),
        hosting_usd_per_hour=None,
        mode="eq5",
    )


def test_full_mode_by_hand():
    """(8760-876)/8760 + 8760*.1/8760 + 0.5 + 2*0.1*(0.5*1 + 0.5*0.2) = 0.9 + 0.1 + 0.5 + 0.12, over u = 0.5."""
    owned = Ownership(
        purchase_price=8760,
        years=1,
        power_kw=1.0,
        idle_kw=0.2,
        electricity_per_kwh=0.1,
        pue=2.0,
        maintenance_ratio=0.1,
        utilisation=0.5,
        salvage=876,
        hosting_per_hour=0.5,
    )
    cost = hourly_cost(owned, "full")
    assert cost.usd_per_hour == pytest.approx(1.62 / 0.5)
    assert cost.hosting_usd_per_hour == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("purchase_price", -1),
        ("purchase_price", float("nan")),
        ("years", 0),
        ("utilisation", 0),
        ("utilisation", 1.01),
        ("power_kw", -0.1),
        ("pue", 0.99),
        ("electricity_per_kwh", float("inf")),
        ("maintenance_ratio", 3),
        ("currency_per_usd", 0),
        ("currency_per_usd", 1),  # Chinese yuan at par with the dollar: the rate was forgotten
        ("hosting_per_hour", 1),  # mode eq5 would leave it out in silence
        ("idle_kw", 0.1),
        ("salvage", -1),
    ],
)
def test_nonsense_is_refused_by_name(key, value):
    """The message names the parameter and what was given."""
    with pytest.raises(PriceError, match=f"where: +{key}") as caught:
        hourly_cost(replace(PAPER, **{key: value}))
    assert caught.value.exit_code == 2


def test_salvage_above_the_price_and_unknown_mode():
    """Neither makes sense."""
    with pytest.raises(PriceError, match="salvage"):
        hourly_cost(replace(PAPER, salvage=120001), "full")
    with pytest.raises(PriceError, match="eq5 or note or full"):
        hourly_cost(PAPER, "eq6")  # type: ignore[arg-type]
