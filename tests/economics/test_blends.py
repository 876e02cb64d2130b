"""Blends: each by hand on a small case, and the laws that any best split keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.economics.api_vs_own import (
    SelfHost,
    TokenHours,
    base_load,
    best_overflow,
    fine_tuning_usd_per_month,
    overflow,
    own_only,
    semantic_cache,
    token_hours,
    training_usd,
)
from benchsuite.errors import PriceError

HOST = SelfHost(1.0, 100e6)  # 730 a month
DAY = TokenHours((10.0, 50.0), (18.0, 6.0))  # a day: 18 quiet hours, 6 busy ones


@pytest.mark.parametrize(
    ("tokens", "hit_rate", "replicas", "usd"),
    [
        (190e6, 0.35, (2, 2), (1460.0, 1460.0)),  # 123.5 M still need two: nothing is saved
        (190e6, 0.5, (2, 1), (1460.0, 730.0)),
        (90e6, 0.35, (1, 1), (730.0, 730.0)),
    ],
)
def test_a_cache_saves_when_a_replica_goes(tokens, hit_rate, replicas, usd):
    """k is recomputed for what the cache leaves."""
    found = semantic_cache(tokens, hit_rate, HOST)
    assert (found.replicas_without, found.replicas_with) == replicas
    assert (found.usd_without, found.usd_with) == pytest.approx(usd)


def test_hits_cost_too():
    """95 M hits at 0.1 a million are 9.50."""
    assert semantic_cache(190e6, 0.5, HOST, 0.1).usd_with == pytest.approx(739.50)


def test_overflow_by_hand():
    """One replica of 30 tok/s: 20 of 50 for a quarter of the hours is 5 of the mean 20: a quarter goes to the API."""
    found = overflow(DAY, 1, 30.0, HOST, 2.0)
    assert found.overflow_ratio == pytest.approx(0.25)
    assert DAY.tokens_per_month() == pytest.approx(20 * 730 * 3600)
    assert found.usd == pytest.approx(730 + 0.25 * 20 * 2.628 * 2.0)


def test_the_best_number_of_replicas():
    """A dear API is never asked, a cheap one does it all."""
    assert best_overflow(DAY, 30.0, HOST, 1000.0).replicas == 2
    assert best_overflow(DAY, 30.0, HOST, 1000.0).overflow_ratio == 0
    assert own_only(DAY, 30.0, HOST) == best_overflow(DAY, 30.0, HOST, 1000.0)
    assert best_overflow(DAY, 30.0, HOST, 0.01).replicas == 0
    assert best_overflow(DAY, 30.0, HOST, 0.01).overflow_ratio == 1


@given(api=st.floats(0.001, 1000), tok_s=st.floats(1, 100))
def test_the_best_is_no_worse_than_the_ends(api, tok_s):
    """Neither all API nor all own is cheaper."""
    best = best_overflow(DAY, tok_s, HOST, api)
    assert best.usd <= overflow(DAY, 0, tok_s, HOST, api).usd + 1e-9
    assert best.usd <= overflow(DAY, 60, tok_s, HOST, api).usd + 1e-9


def test_base_load_by_hand():
    """One replica all day reserved at 1, the second for a quarter of the hours at 2: 730 + 182.5 x 2 = 1,095."""
    found = base_load(DAY, 30.0, 1.0, 2.0)
    assert (found.reserved, found.peak_replica_hours) == (1, pytest.approx(182.5))
    assert found.usd == pytest.approx(1095)
    assert base_load(DAY, 30.0, 1.0, 5.0).reserved == 2  # a quarter of the hours at 5 is dearer than all at 1
    assert base_load(DAY, 30.0, 2.0, 1.0).reserved == 0


def test_a_history_becomes_a_histogram():
    """3,600 requests an hour of 20 tokens are 20 tokens a second."""
    assert token_hours([3600.0, 7200.0], 20.0) == TokenHours((20.0, 40.0), (1.0, 1.0))


def test_fine_tuning_is_spread_over_its_life():
    """(3,000 + 1,200 a year x 2) / 24 months; 10 M tokens, 3 epochs at 3,000 tok/s are 2.78 h at 1.99."""
    assert fine_tuning_usd_per_month(3000, 1200, 2) == pytest.approx(225)
    assert training_usd(10e6, 3, 3000, 1.99) == pytest.approx(5.5278, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: semantic_cache(1, 1.1, HOST), "cache_hit_rate"),
        (lambda: semantic_cache(1, 0.5, HOST, -1), "hit_usd_per_1m"),
        (lambda: TokenHours((), ()), "demand"),
        (lambda: TokenHours((0.0,), (1.0,)), "demand"),
        (lambda: TokenHours((-1.0,), (1.0,)), "demand: tok_s"),
        (lambda: base_load(DAY, 0, 1, 1), "capacity_tok_s"),
        (lambda: base_load(DAY, 1, -1, 1), "reserved_usd_per_hour"),
        (lambda: fine_tuning_usd_per_month(-1, 0, 1), "fine_tune_usd"),
        (lambda: training_usd(1, 1, 0, 1), "train_tok_s"),
    ],
)
def test_nonsense_is_refused_by_name(make, key):
    """The message names the key."""
    with pytest.raises(PriceError, match=f"where: +{key}"):
        make()
