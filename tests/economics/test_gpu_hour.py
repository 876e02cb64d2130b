"""A GPU's useful hour, owned and rented: the paper's example, its own contradiction at u = 0.7, and rents by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.gpu_hour import complete, hour_parts, hourly_cost, terms_of
from benchsuite.errors import PriceError

PAPER = {
    "purchase_price": 120000, "currency": "CNY", "currency_per_usd": 7.09, "years": 3, "power_kw": 0.4, "pue": 1.5,
    "electricity_per_kwh": 1.0,
}  # fmt: skip


def usd(**terms):
    return hourly_cost(terms_of(terms))


@pytest.mark.parametrize(
    ("utilisation", "mode", "known"),
    [
        (1.0, None, 0.786625),
        (1.0, "note", 0.786625),
        (1.0, "full", 0.786625),
        (0.7, "eq5", 1.062640),
        (0.7, "note", 1.123750),
        (0.7, "full", 1.123750),  # idle power not given: taken as working power, so the same as the note
        (0.5, "eq5", 1.430660),
    ],
)
def test_the_papers_hour(utilisation, mode, known):
    """The paper's A800, to the sixth decimal."""
    assert usd(**PAPER, utilisation=utilisation, mode=mode) == pytest.approx(known, abs=5e-7)


def test_parts_of_the_paper():
    """0.6440 + 0.0846 + 0.0580: the paper rounds each and gets 0.78, the sum rounds to 0.79."""
    owned = complete(terms_of(PAPER))
    assert list(hour_parts(owned).values()) == pytest.approx([0.644035, 0.084626, 0.057963], abs=5e-7)
    assert owned.mode == "eq5"


def test_full_mode_by_hand():
    """(8760-876)/8760 + 8760*.1/8760 + 0.5 + 2*0.1*(0.5*1 + 0.5*0.2) = 0.9 + 0.1 + 0.5 + 0.12, over u = 0.5."""
    owned = terms_of({
        "purchase_price": 8760, "years": 1, "power_kw": 1.0, "idle_kw": 0.2, "electricity_per_kwh": 0.1, "pue": 2.0,
        "maintenance_ratio": 0.1, "utilisation": 0.5, "salvage": 876, "hosting_per_hour": 0.5,
    })  # fmt: skip
    assert (complete(owned).mode, hourly_cost(owned)) == ("full", pytest.approx(1.62 / 0.5))
    assert hour_parts(complete(owned))["hosting_usd_per_hour"] == pytest.approx(1.0)


SPOT = {"usd_per_hour": 0.9, "billing": "spot", "interruptions_per_hour": 0.1, "interruption_hours": 1.0}


@pytest.mark.parametrize(
    ("terms", "known"),
    [
        ({"usd_per_hour": 1.99}, 1.99),
        ({"usd_per_hour": 1.2, "billing": "reserved"}, 1.2),
        ({"usd_per_hour": 1.2, "billing": "reserved", "utilisation": 0.5}, 2.4),
        ({"usd_per_hour": 0.9, "billing": "spot"}, 0.9),
        (SPOT, 1.0),  # 0.9 / (1 - 0.1)
        (SPOT | {"fallback_ratio": 0.25, "fallback_usd_per_hour": 2.0}, 1.25),  # 0.75 x 1.0 + 0.25 x 2.0
        (
            {"usd_per_hour": 2.0, "reserved_usd_per_hour": 1.2, "reserved_ratio": 0.7, "utilisation": 0.9},
            0.7 * 1.2 / 0.9 + 0.6,
        ),
    ],
)
def test_rents_by_hand(terms, known):
    """Computed by hand from the formulas."""
    assert usd(**terms) == pytest.approx(known)


a_price, none_or_some = st.floats(0.01, 100), st.just(0) | st.floats(1e-9, 0.9)


@given(price=a_price, lost=none_or_some, share=none_or_some, fallback=a_price)
def test_spot_lies_between_spot_and_fallback(price, lost, share, fallback):
    """A spot hour costs at least the cheaper and at most the dearer of the redone spot hour and the fallback."""
    found = usd(
        usd_per_hour=price, billing="spot", interruptions_per_hour=lost, interruption_hours=1.0, fallback_ratio=share,
        fallback_usd_per_hour=fallback,
    )  # fmt: skip
    effective = price / (1 - lost)
    assert min(effective, fallback) * (1 - 1e-9) <= found <= max(effective, fallback) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("terms", "key"),
    [
        *[
            (PAPER | {key: value}, key)
            for key, value in [
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
                ("salvage", -1),
                ("salvage", 120001),
                ("mode", "eq6"),
            ]
        ],
        (PAPER | {"hosting_per_hour": 1, "mode": "eq5"}, "hosting_per_hour"),  # which would leave it out in silence
        (PAPER | {"idle_kw": 0.1, "mode": "note"}, "idle_kw"),
        (PAPER | {"billing": "spot"}, "billing"),
        ({"usd_per_hour": -1}, "usd_per_hour"),
        ({"usd_per_hour": 1, "utilisation": 0.5}, "utilisation"),
        ({"usd_per_hour": 1, "billing": "reserved", "utilisation": 1.1}, "utilisation"),
        (SPOT | {"interruptions_per_hour": -0.1}, "interruptions_per_hour"),
        (SPOT | {"interruptions_per_hour": 1}, "interruption_hours"),
        (SPOT | {"fallback_ratio": 1.5}, "fallback_ratio"),
        (SPOT | {"fallback_ratio": 0.5}, "fallback_usd_per_hour"),
        ({"usd_per_hour": 1, "reserved_usd_per_hour": 1, "reserved_ratio": 1.5}, "reserved_ratio"),
    ],
)
def test_nonsense_is_refused_by_name(terms, key):
    """Every mistake is named by its key."""
    with pytest.raises(PriceError) as caught:
        terms_of(terms)
    assert key in caught.value.what


def test_an_owned_gpu_needs_its_power():
    """Which a sweep measures, and a price by itself cannot know."""
    with pytest.raises(PriceError) as caught:
        hourly_cost(terms_of({"purchase_price": 1, "years": 3, "power_kw": 1}))
    assert caught.value.where == "electricity_per_kwh"
