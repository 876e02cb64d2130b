"""What measured power costs: against the paper's own A800, and by hand."""

from __future__ import annotations

import dataclasses

import pytest
from points_for_tests import point

from benchsuite.economics.cost import level_prices, owned_usd_per_hour, power_warnings, priced
from benchsuite.economics.decision import NOT_RESAMPLED, decide, judge_points
from benchsuite.level import Level
from benchsuite.results import PointEnergy
from benchsuite.slo import parse_slo
from benchsuite.spec import PriceSpec

A800 = {"purchase_price": 120_000, "years": 3, "electricity_per_kwh": 1.0, "currency": "CNY", "currency_per_usd": 7.09,
        "pue": 1.5, "maintenance_ratio": 0.03}  # fmt: skip
EMPTY = PointEnergy(1, 100.0, "counter", *[None] * 10)


def energy(watts=400.0, gpus=1, idle_w=None):
    """100 s at `watts`."""
    return dataclasses.replace(EMPTY, n_gpus=gpus, gross_j=watts * 100, mean_w=watts, idle_w=idle_w)


def test_electricity_and_carbon_of_wall_energy():
    """0.36 MJ at PUE 1.5 are 0.15 kWh: 3 cents at $0.20, 60 g at 400 g; a run makes half a million output tokens."""
    price = PriceSpec(usd_per_kwh=0.2, pue=1.5, gco2_per_kwh=400)
    found = priced(energy(3600), point(8, 100, 30, output_tokens=1_000_000, repeat_count=2), price)

    assert found.wall_j == pytest.approx(540_000)
    assert found.electricity_usd == pytest.approx(0.03)
    assert found.electricity_usd_per_1m_output_tokens == pytest.approx(0.06)
    assert (found.gco2_g, found.gco2_g_per_1m_output_tokens) == (pytest.approx(60), pytest.approx(120))


def test_what_has_no_price_has_none():
    """Without a price of electricity, an intensity or energy: None, not 0."""
    found = priced(energy(), point(8, 100, 30), PriceSpec())
    assert (found.electricity_usd, found.gco2_g, found.wall_j) == (None, None, pytest.approx(40_000))
    lost = priced(EMPTY, point(8, 100, 30), PriceSpec(usd_per_kwh=0.2, gco2_per_kwh=400))
    assert (lost.electricity_usd, lost.gco2_g, lost.wall_j) == (None, None, None)


def test_the_papers_hour_at_measured_power():
    """At the 400 W that the paper assumes the hour is its 0.786625; at 200 W it is 0.0423 less."""
    price = PriceSpec(owned=A800)
    assert owned_usd_per_hour(price, 0.4) == pytest.approx(0.786625, abs=1e-6)
    assert owned_usd_per_hour(price, 0.2) == pytest.approx(0.786625 - 0.2 * 1.5 / 7.09, abs=1e-6)
    assert owned_usd_per_hour(price) is None
    given = PriceSpec(owned=A800 | {"power_kw": 0.4})
    assert owned_usd_per_hour(given, 0.2) == pytest.approx(0.786625, abs=1e-6)


def test_measured_idle_power_in_the_full_mode():
    """u = 0.5: half the hours at 400 W, half at the 100 W that were measured; electricity by usd_per_kwh."""
    terms = {"purchase_price": 0, "years": 1, "utilisation": 0.5, "mode": "full", "maintenance_ratio": 0}
    price = PriceSpec(owned=terms, usd_per_kwh=0.2, pue=2)
    assert owned_usd_per_hour(price, 0.4, 0.1) == pytest.approx(0.2 * 2 * 0.25 / 0.5)
    assert owned_usd_per_hour(price, 0.4) == pytest.approx(0.2 * 2 * 0.4 / 0.5)


def test_a_price_per_level():
    """Two GPUs of 800 W together are 400 W each; a level without power leaves all levels without a price."""
    price = PriceSpec(owned=A800, gpus=2)
    low, high = Level(8), Level(16)
    found = level_prices(price, {low: energy(400, gpus=2), high: energy(800, gpus=2)})
    at_400_w = pytest.approx(1.573250 - 2 * 0.2 * 1.5 / 7.09, abs=1e-6)
    assert found == {low: at_400_w, high: pytest.approx(1.573250, abs=1e-6)}
    assert level_prices(price, {low: energy(400, gpus=2), high: None}) is None

    (warn,) = power_warnings(price, {low: energy(400, gpus=2), high: None})
    assert (warn.code, warn.level.users) == ("owned_power_unknown", 16)


def test_energy_of_other_gpus_than_the_price_is_for():
    """Eight measured, one paid for: named; not where no price is asked, nor for a slice of a card."""
    eight = {Level(8): energy(gpus=8)}
    assert [warn.code for warn in power_warnings(PriceSpec(usd_per_hour=2), eight)] == ["gpu_count"]
    assert power_warnings(PriceSpec(), eight) == []


def test_the_decision_at_prices_by_level():
    """16 users are 5 % faster and draw so much more that the hour costs 10 % more: 8 is the cheapest."""
    slo = parse_slo("output_throughput_per_user>20")
    points = [point(8, 100, 30), point(16, 95, 25)]
    judged = judge_points(points, slo, {Level(8): 1.0, Level(16): 1.1}, NOT_RESAMPLED)
    assert [j.cost.cost_usd for j in judged] == [pytest.approx(100 / 3600), pytest.approx(104.5 / 3600)]
    assert decide(judged).choice.point.level.users == 8
    assert decide(judge_points(points, slo, 1.0)).choice.point.level.users == 16
