"""API or own: the article's months, break-even on the staircase, payback and present value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.api_vs_own import (
    Interval,
    SelfHost,
    TokenMix,
    api_month_usd,
    blended_usd_per_1m,
    break_even,
    capacity_tokens_per_month,
    npv_usd,
    payback_months,
)
from benchsuite.economics.prices import ApiPrice
from benchsuite.errors import PriceError

FLAT30 = ApiPrice("gpt-4", 30.0, None, 30.0, "article", "2026-03")
FLAT1 = ApiPrice("gpt-3.5", 1.0, None, 1.0, "article", "2026-03")
ANY = TokenMix(0.5)


@pytest.mark.parametrize(
    ("price", "tokens", "usd"), [(FLAT1, 1.5e6, 1.50), (FLAT30, 30e6, 900.0), (FLAT30, 600e6, 18_000.0)]
)
def test_the_articles_api_months(price, tokens, usd):
    """1.5 M at $1/1M, 30 M and 600 M at $30/1M."""
    assert api_month_usd(price, tokens, ANY) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("usd_per_hour", "hours", "usd"), [(0.35, 720, 252.0), (1.99, 730, 1452.70), (7.96, 730, 5810.80)]
)
def test_the_articles_own_months(usd_per_hour, hours, usd):
    """L4 at 720 hours, one H100 and four at 730."""
    assert SelfHost(usd_per_hour, None, hours_per_month=hours).month_usd(1e6) == pytest.approx(usd)


def test_blend_by_hand():
    """Half input, a fifth of it cached: .5 (.8 x 2 + .2 x .5) + .5 x 8 = 4.85; with no cached price .5 x 2 + 4 = 5."""
    price = ApiPrice("x", 2.0, 0.5, 8.0, "s", None)
    assert blended_usd_per_1m(price, TokenMix(0.5, 0.2)) == pytest.approx(4.85)
    assert blended_usd_per_1m(ApiPrice("x", 2.0, None, 8.0, "s", None), TokenMix(0.5, 0.2)) == pytest.approx(5.0)


def test_simple_break_even_of_the_article():
    """An H100 at $1,453 a month against $30/1M: 48.4 M tokens; an L4 at $252 against $1/1M: 252 M."""
    h100 = SelfHost(1453 / 730, capacity_tokens_per_month(100))
    assert break_even(30.0, h100).simple_tokens == pytest.approx(48.4e6, rel=1e-3)
    l4 = SelfHost(0.35, None, hours_per_month=720)
    assert break_even(1.0, l4).simple_tokens == pytest.approx(252e6)
    assert capacity_tokens_per_month(1.0) == pytest.approx(2.628e6)
    assert capacity_tokens_per_month(100, 0.5) == pytest.approx(1.314e8)


def test_the_staircase_by_hand():
    """A replica for 730 serves 50, the API 20 a million: steps at 36.5, 73, 109.5, 146 M; from the third on for good.

    36.5 to 50, 73 to 100, then 109.5 on: the fourth step begins at 150 and its crossing, 146, lies below.
    """
    found = break_even(20.0, SelfHost(1.0, 50e6))
    assert found.simple_tokens == pytest.approx(36.5e6)
    assert found.intervals == (
        Interval(pytest.approx(36.5e6), pytest.approx(50e6)),
        Interval(pytest.approx(73e6), pytest.approx(100e6)),
        Interval(pytest.approx(109.5e6), None),
    )


@pytest.mark.parametrize(
    ("api", "host"),
    [
        (1.0, SelfHost(1.0, 1e9, energy_usd_per_1m=1.0)),  # the API costs no more than the energy
        (0.5, SelfHost(1.0, 1e9, energy_usd_per_1m=1.0)),
        (30.0, SelfHost(1.99, capacity_tokens_per_month(18))),  # 48.4 M needed, 47.3 M served
    ],
)
def test_no_break_even(api, host):
    """The blended price at or below the energy, or more tokens needed than a replica serves."""
    found = break_even(api, host)
    assert (found.simple_tokens, found.intervals) == (None, ())
    assert found.reason.startswith("never")


def test_a_fixed_cost_may_need_more_replicas():
    """2,000 a month on top: seven replicas never pay (7,110 / 20 = 355.5 M > 350 M), eight do from 392 M (of 400 M)."""
    found = break_even(20.0, SelfHost(1.0, 50e6, fixed_usd_per_month=2000.0))
    assert found.simple_tokens is None
    assert found.intervals[0] == Interval(pytest.approx(392e6), pytest.approx(400e6))
    assert "one replica alone never pays" in found.reason


@given(
    api=st.floats(0.1, 100),
    usd=st.floats(0.1, 20),
    tok_s=st.floats(5, 5000),
    energy=st.floats(0, 5),
    fixed=st.floats(0, 5000),
    spare=st.integers(0, 3),
    at=st.floats(0.01, 40),
)
def test_intervals_say_what_the_months_say(api, usd, tok_s, energy, fixed, spare, at):
    """At any demand, own is cheaper exactly inside an interval (away from the very edge)."""
    capacity = capacity_tokens_per_month(tok_s)
    host = SelfHost(usd, capacity, energy, fixed, spare)
    tokens = at * capacity
    own, bought = host.month_usd(tokens), api * tokens / 1e6
    if abs(own - bought) < 1e-6 * bought or abs(at - round(at)) < 1e-6:
        return
    inside = any(i.low < tokens and (i.high is None or tokens <= i.high) for i in break_even(api, host).intervals)
    assert inside == (own < bought)


def test_payback_and_present_value():
    """12,000 against 1,500 - 500 a month: 12 months. At no interest 24 months are worth 12,000; never when it loses."""
    assert payback_months(12_000, 1_500, 500) == pytest.approx(12)
    assert payback_months(12_000, 500, 500) is None
    assert payback_months(12_000, 100, 500) is None
    assert npv_usd(12_000, 1_000, 0.0, 2) == pytest.approx(12_000)
    assert npv_usd(0, 1_000, 0.10, 1) == pytest.approx(11_400.49, abs=0.01)  # 1000 x 0.0909091 / (1.1^(1/12) - 1)


@given(rate=st.floats(0, 1), saved=st.floats(1, 1e5))
def test_interest_lowers_the_present_value(rate, saved):
    """Money later is worth less."""
    assert npv_usd(1000, saved, rate, 3) <= npv_usd(1000, saved, 0, 3) + 1e-6


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SelfHost(-1, None), "usd_per_hour"),
        (lambda: SelfHost(1, 0), "capacity_tokens_per_month"),
        (lambda: SelfHost(1, None, hours_per_month=9000), "hours_per_month"),
        (lambda: TokenMix(1.2), "input_ratio"),
        (lambda: TokenMix(0.5, -0.1), "cached_ratio"),
        (lambda: api_month_usd(FLAT1, -1, ANY), "tokens_per_month"),
        (lambda: capacity_tokens_per_month(0), "capacity_tok_s"),
        (lambda: capacity_tokens_per_month(1, 1.1), "u_max"),
        (lambda: npv_usd(1, 1, 7, 1), "discount_rate"),
        (lambda: payback_months(-1, 1, 1), "capex_usd"),
    ],
)
def test_nonsense_is_refused_by_name(make, key):
    """The message names the key."""
    with pytest.raises(PriceError, match=f"where: +{key}"):
        make()
