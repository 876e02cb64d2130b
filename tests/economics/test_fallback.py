"""The fallback's share and its bill beside the own hours, worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from benchsuite.analysis.endpoints import Balance, EndpointPart
from benchsuite.economics.cost import fallback_use, hours_with_bills
from benchsuite.level import Level

OWN = EndpointPart(Level(8), "http://a", "own", 80, 0.8, 0, 40_000, 160_000, 0, 0.2, 80, 0.02, 0.8)
API = EndpointPart(Level(8), "http://api", "fallback", 20, 0.2, 0, 10_000, 40_000, 0, 0.5, 20, 0.01, 0.2)
PRICES = (2.0, 10.0)


def level(*parts: EndpointPart) -> Balance:
    return Balance(Level(8), parts, None, ())


def test_the_blended_cost():
    """Half an hour at $2 and a bill of $0.42 for 200,000 tokens are $7.10 for a million of them."""
    use = fallback_use(level(OWN, API), usd_per_1m=PRICES, usd_per_hour_total=2.0, duration_s=1800.0, tries=18, skips=2)
    assert (use.request_share, use.token_share, use.tries, use.skips) == (0.2, 0.2, 18, 2)
    assert use.api_usd == pytest.approx(0.02 + 0.40)
    assert use.own_usd == 1.0
    assert use.usd_per_1m_output_tokens == pytest.approx(7.1)
    assert use.own_usd_per_1m_output_tokens == pytest.approx(6.25)


@pytest.mark.parametrize(("api", "prices"), [(API, None), (dataclasses.replace(API, tokens_unknown=1), PRICES)])
def test_a_bill_that_is_not_known(api, prices):
    """Without list prices, or with an answer whose tokens no usage tells, there is no bill and no blended cost."""
    use = fallback_use(level(OWN, api), usd_per_1m=prices, usd_per_hour_total=2.0, duration_s=1800.0)
    assert (use.api_usd, use.usd_per_1m_output_tokens, use.own_usd) == (None, None, 1.0)
    assert hours_with_bills(2.0, [use], {Level(8): 1800.0}) is None


def test_an_api_that_answered_nothing():
    """A level at which nothing went to the API, or nothing came back, has a bill of 0."""
    unused = dataclasses.replace(API, requests=0, input_tokens=None, output_tokens=None)
    failed = dataclasses.replace(API, failures=20, input_tokens=None, output_tokens=None)
    for api in (unused, failed):
        use = fallback_use(level(OWN, api), usd_per_1m=None, usd_per_hour_total=2.0, duration_s=1800.0)
        assert (use.api_usd, use.token_share, use.usd_per_1m_output_tokens) == (0.0, 0.0, 6.25)


def test_the_hour_with_the_bill_in_it():
    """An hour's price times the time is what both cost: (1 + 0.42) / 0.5 h; the levels' own prices are kept."""
    use = fallback_use(level(OWN, API), usd_per_1m=PRICES, usd_per_hour_total=2.0, duration_s=1800.0)
    assert hours_with_bills(2.0, [use], {Level(8): 1800.0}) == {Level(8): pytest.approx(2.84)}
    assert hours_with_bills({Level(8): 4.0}, [use], {Level(8): 1800.0}) == {Level(8): pytest.approx(4.84)}
    assert hours_with_bills(None, [use], {Level(8): 1800.0}) is None
