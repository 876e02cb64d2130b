"""One demand for every candidate: the known answers of the chain, of months and of break-even, and the refusals."""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from points_for_tests import TABLE4

from benchsuite.economics.capacity import (
    Demand,
    SpeedCurve,
    closed_loop,
    in_flight,
    of_hours,
    of_mean,
    parse_hours,
    replicas_for,
)
from benchsuite.economics.decision import JudgedLevels, decide, judge_points
from benchsuite.economics.plan import Api, Own, answer, plan
from benchsuite.economics.plan_file import Extras, Fleet, MachineTerms, PlanFile, parse_plan_file, parse_plan_tree
from benchsuite.economics.prices import ApiPrice, PriceBook, bundled, check_gpu, price_book
from benchsuite.errors import InputError, PriceError, SpecError
from benchsuite.results import Estimate
from benchsuite.slo import PAPER_SLO, parse_slo
from benchsuite.spec import OwnedSpec

SLO = parse_slo(PAPER_SLO)


def api_price(name, read, written):
    return ApiPrice(name=name, input_usd_per_1m_tokens=read, output_usd_per_1m_tokens=written, source="listed")


QWEN_API = Api("qwen", api_price("qwen", 0.1, 0.5))
BATCH = Fleet(spare_replicas=0)


def own(model: str = "Qwen3-30B", usd_per_hour: float = 1.574, **more) -> Own:
    """A model of the paper's table on its machine, at its optimum."""
    judged = judge_points([p for p in TABLE4 if p.model == model], SLO, usd_per_hour)
    level = decide(judged).choice
    return Own(model, 2, usd_per_hour, levels=tuple(judged), level=level, **more)


def tokens(machine: Own) -> float:
    """Tokens of a measured request, input and output."""
    point = machine.level.point
    return (point.input_tokens + point.output_tokens) / point.n_ok


def per_month(machine: Own, tokens_per_month: float, **more) -> Demand:
    """So many tokens a month as requests of the measured size."""
    return of_mean(tokens_per_month / tokens(machine) / (730 * 3600), **more)


def test_the_chain_at_four_fifths():
    """M/M/1 processor sharing at 0.8 holds 4.0000; an arrival at M/M/8 waits as Erlang-C(8, 6.4) = .4576 says."""
    assert in_flight(SpeedCurve((1.0,), (1.0,)), 0.8).mean == pytest.approx(4.0, abs=1e-6)
    eight = SpeedCurve(tuple(float(n) for n in range(1, 9)), tuple(float(n) for n in range(1, 9)))
    assert 1 - in_flight(eight, 6.4).kept(8.0) == pytest.approx(0.4576, abs=5e-5)


def test_what_a_closed_loop_says_of_a_rate():
    """M/M/1 processor sharing at 0.8: 4.0 in flight for 5.0 s, idle for a fifth of the time; at 1 no steady state."""
    one = closed_loop(SpeedCurve((1.0,), (1.0,)), 0.8, None)
    assert (one.in_flight, one.e2e_s, one.idle_share) == pytest.approx((4.0, 5.0, 0.2), abs=1e-6)
    assert (one.level, one.usd_per_request) == (None, None)
    for rate in (1.0, 1.5):
        full = closed_loop(SpeedCurve((1.0,), (1.0,)), rate, None)
        assert (full.in_flight, full.e2e_s, full.idle_share, full.highest_request_per_s) == (None, None, None, 1.0)
    # Erlang: M/M/8 at 6.4 has 6.4 + .4576 x .8 / .2 in it; p0 by its sum
    eight = closed_loop(SpeedCurve(tuple(range(1, 9)), tuple(range(1, 9))), 6.4, None)
    assert eight.in_flight == pytest.approx(6.4 + 0.4576 * 4, abs=1e-3)
    terms = sum(6.4**k / factorial(k) for k in range(8)) + 6.4**8 / factorial(8) / 0.2
    assert eight.idle_share == pytest.approx(1 / terms)


def test_the_paper_beside_a_rate():
    """WiNGPT-2.7 at 1.58 $/h: its optimum is 16; half as fast as it goes, a request costs about 2.4 times as much."""
    machine = own("WiNGPT-2.7", 1.58)
    curve = SpeedCurve.of(j.point for j in machine.levels)
    found = closed_loop(curve, 5.0, machine.level)
    assert (found.in_flight, found.level.users) == (pytest.approx(29.3, rel=0.03), 16)
    assert found.usd_per_1m_output_tokens == machine.level.cost.usd_per_1m_output_tokens
    assert found.usd_per_request == pytest.approx(1.58 / 3600 / machine.level.point.request_per_s)
    assert closed_loop(curve, found.highest_request_per_s, machine.level).in_flight is None


@pytest.mark.parametrize(
    ("per_s", "flight", "tok_s", "usd_per_1m"), [(2, 7.7, 29.8, 1.904), (5, 29.3, 19.7, 0.762), (7, 67.0, 12.0, 0.544)]
)
def test_the_paper_at_part_load(per_s, flight, tok_s, usd_per_1m):
    """WiNGPT-2.7 at 1.58 $/h: in flight, speed of a user and price at 2, 5 and 7 requests a second, within 3 %."""
    levels = sorted((p for p in TABLE4 if p.model == "WiNGPT-2.7"), key=lambda p: p.level.users)
    curve = SpeedCurve(tuple(float(p.level.users) for p in levels), tuple(p.request_per_s for p in levels))
    found = in_flight(curve, per_s)
    answer = levels[0].output_tokens / levels[0].n_ok
    assert found.mean == pytest.approx(flight, rel=0.03)
    assert answer / found.time_s == pytest.approx(tok_s, rel=0.03)
    assert 1.58e6 / 3600 / (per_s * answer) == pytest.approx(usd_per_1m, rel=0.03)


@given(st.floats(0.05, 0.95), st.integers(2, 6))
def test_balancing_in_its_order(load, replicas):
    """Least connections holds no more than taking turns, and that no more than chance; shares add up to 1."""
    curve = SpeedCurve((1.0, 8.0), (1.0, 4.0))
    found = [
        in_flight(curve, load * 4 * replicas, replicas, way) for way in ("least-connections", "round-robin", "random")
    ]
    means = [one.mean for one in found]
    assert means == sorted(means) or np.ptp(means) < 1e-6
    assert all(one.shares.sum() == pytest.approx(1) and one.on_arrival.sum() == pytest.approx(1) for one in found)


def test_more_than_the_replicas_complete():
    """A rate beyond what is measured has no steady state; replicas_for says how many keep it, or None."""
    curve = SpeedCurve((1.0, 8.0), (1.0, 4.0))
    assert in_flight(curve, 4.0) is None
    assert replicas_for(curve, 100.0, 8.0, target_utilization=0.8) >= 32
    assert replicas_for(curve, 1e9, 8.0, target_utilization=0.8, most=1000) is None


def test_a_day_of_one_hump():
    """24 hours whose mean is kept and whose busiest is the peak factor times it; batch is flat."""
    day = of_mean(2.0, 3.0)
    assert (len(day.hours), day.mean_per_s, day.peak_per_s) == (24, pytest.approx(2.0), pytest.approx(6.0))
    assert of_mean(2.0, 3.0, batch=True).peak_per_s == 2.0
    assert of_mean(2.0, 3.0).scaled(1.5).mean_per_s == pytest.approx(3.0)


def test_hours():
    """The p99 hour is the peak: of 200 hours the second highest; of a day the highest."""
    assert of_hours([36.0] * 23 + [3600.0]).peak_per_s == 1.0
    assert of_hours([36.0] * 197 + [3600.0, 7200.0, 9000.0]).peak_per_s == 1.0
    assert parse_hours("requests\n1\n2\n", "h") == [1.0, 2.0]
    for text, where in (("x\n1\n", "h:1"), ("requests\n1\nmany\n", "h:3")):
        with pytest.raises(InputError) as caught:
            parse_hours(text, "h")
        assert caught.value.where == where
    with pytest.raises(InputError):
        parse_hours("requests\n-1\n", "h")
    for hours in ([1.0] * 23, [0.0] * 24):
        with pytest.raises(InputError):
            of_hours(hours)


def test_one_demand_for_both_sides():
    """6e9 tokens a month: flat, one replica at $1,149 beats the API; at three times the mean, four at $4,596 do not."""
    machine = own()
    flat = plan(per_month(machine, 6e9, batch=True), [machine, QWEN_API], BATCH)
    peak = plan(per_month(machine, 6e9), [machine, QWEN_API])
    by_name = {row.name: row for row in flat.rows}
    assert (by_name["Qwen3-30B"].replicas, round(by_name["Qwen3-30B"].usd_per_month)) == (1, 1149)
    assert flat.winner == "Qwen3-30B"
    by_name = {row.name: row for row in peak.rows}
    assert (by_name["Qwen3-30B"].replicas, round(by_name["Qwen3-30B"].usd_per_month)) == (4, 4596)
    assert peak.winner != "Qwen3-30B"
    assert by_name["Qwen3-30B"].usd_per_1m_tokens > by_name["qwen"].usd_per_1m_tokens


def test_another_mix_takes_capacity_too():
    """5 % input: 5.7e9 output tokens are 2,169 tok/s, a level makes 1,282: three replicas, and the note says so."""
    machine = own()
    demand = replace(
        per_month(machine, 6e9, batch=True), input_tokens=0.05 * tokens(machine), output_tokens=0.95 * tokens(machine)
    )
    (row,) = [r for r in plan(demand, [machine], BATCH).rows if r.kind == "own"]
    assert (row.replicas, round(row.usd_per_month)) == (3, 3447)
    assert any("another mix" in note for note in row.notes)


def test_caches_and_training_are_on_both_sides():
    """A cache that answers half halves the API's bill; what training costs is added to each."""
    machine, demand = own(), per_month(own(), 6e9, batch=True)
    plain = {r.name: r for r in plan(demand, [machine, QWEN_API], BATCH).rows}
    extras = Extras(cache_hit_rate=0.5, training_usd=1200.0)
    found = {r.name: r for r in plan(demand, [machine, QWEN_API], BATCH, extras).rows}
    assert found["qwen"].usd_per_month == pytest.approx(plain["qwen"].usd_per_month / 2 + 100)
    assert found["Qwen3-30B"].usd_per_month == pytest.approx(plain["Qwen3-30B"].usd_per_month + 100)


def test_break_even_is_where_the_lines_cross():
    """Just below it the API is cheaper, just above the own replicas, at the same shape of demand."""
    machine, demand = own(), of_mean(3.0, batch=True)
    (row,) = [r for r in plan(demand, [machine, QWEN_API], BATCH).rows if r.kind == "own"]
    at = row.break_even_requests_per_day / 86400
    for factor, cheaper in ((0.99, "qwen"), (1.01, "Qwen3-30B")):
        found = plan(of_mean(at * factor, batch=True), [machine, QWEN_API], BATCH)
        assert next(r.name for r in found.rows if r.kind != "own + API") == cheaper


def test_stated_machines():
    """The article's machines: 0.35 x 720 = 252, 1.99 x 730 = 1,452.70, and four times that."""
    for gpus, price, hours, usd in ((1, 0.35, 720, 252.0), (1, 1.99, 730, 1452.70), (4, 1.99, 730, 5810.80)):
        machine = Own("stated", gpus, price * gpus, requests_per_s=10.0)
        demand = of_mean(0.001, batch=True)
        found = plan(demand, [machine], Fleet(spare_replicas=0, hours_per_month=hours))
        assert found.rows[0].usd_per_month == pytest.approx(usd)


def test_the_article_at_its_own_prices():
    """1.5, 30 and 600 M tokens at 1, 30 and 30 $/1M are $1.50, $900 and $18,000 at the API."""
    for requests, size, price, usd in ((100, 500, 1.0, 1.5), (1000, 1000, 30.0, 900.0), (10_000, 2000, 30.0, 18_000.0)):
        api = Api("a", api_price("a", price, price))
        demand = replace(of_mean(requests / 86400, batch=True), input_tokens=size / 2, output_tokens=size / 2)
        month = plan(demand, [api], Fleet(hours_per_month=720)).rows[0]
        assert month.usd_per_month == pytest.approx(usd)


def test_reserved_base_and_on_demand_peaks():
    """With a reserved price there is a split, never dearer than all on demand."""
    machine = own(terms=MachineTerms(reserved_usd_per_hour=0.45))
    rows = plan(per_month(machine, 30e9), [machine]).rows
    split = next(r for r in rows if r.kind == "reserved + on demand")
    assert split.usd_per_month <= next(r for r in rows if r.kind == "own").usd_per_month


def test_machines_that_never_pay_back():
    """Payback beyond the machines' life is none, and the present value is negative."""
    owned = OwnedSpec(purchase_price=15_000.0, years=3.0, power_kw=0.4, electricity_per_kwh=0.2)
    machine = own(owned=owned)
    (row,) = [r for r in plan(per_month(machine, 6e9), [machine, QWEN_API]).rows if r.kind == "own"]
    assert row.payback_months is None
    assert row.npv_usd < 0


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: plan(of_mean(1.0), []), "candidates"),
        (lambda: plan(of_mean(1.0), [QWEN_API]), "qwen"),
    ],
)
def test_refused_with_its_key(make, where):
    """What makes no sense is named."""
    with pytest.raises((InputError, PriceError)) as caught:
        make()
    assert caught.value.where == where


def test_other_request_sets_are_refused():
    """Two machines measured with other requests do not carry one demand, unless it names its tokens."""
    one, other = own(), own("WiNGPT-2.7")
    point = replace(other.level.point, output_tokens=other.level.point.output_tokens * 3)
    other = replace(other, level=replace(other.level, point=point))
    with pytest.raises(InputError, match="other requests"):
        plan(of_mean(1.0), [one, other])
    named = replace(of_mean(1.0), input_tokens=400.0, output_tokens=100.0)
    assert len(plan(named, [one, other]).rows) == 2


def test_the_sample_reads():
    """`plan --init` is a valid plan; a mistyped key is named with the nearest."""
    asked = parse_plan_file(bundled("plan.toml"), "plan.toml")
    assert isinstance(asked, PlanFile)
    assert len(asked.candidate) == 3
    with pytest.raises(SpecError, match="peak_factor"):
        parse_plan_file(bundled("plan.toml").replace("peak_factor", "peak_facto"), "plan.toml")


def test_certainty_of_two_machines_whose_names_begin_alike():
    """Each is drawn by its own rate: the dear one is hardly ever the cheapest, whatever its name begins with."""
    cheap, dear = own(), replace(own(usd_per_hour=15.0), name="Qwen3-30B, dear")
    spread = Estimate(value=10.0, low=9.0, high=11.0, n=3, method="t")
    machines = [
        replace(one, level=replace(one.level, intervals={"request_per_s": spread}, p_met=1.0)) for one in (cheap, dear)
    ]
    rows = {row.name: row for row in plan(per_month(cheap, 6e9), machines).rows}
    assert rows["Qwen3-30B"].p_cheapest == pytest.approx(1.0)
    assert rows["Qwen3-30B, dear"].p_cheapest == pytest.approx(0.0)
    assert rows["Qwen3-30B"].usd_low <= rows["Qwen3-30B"].usd_per_month <= rows["Qwen3-30B"].usd_high


@pytest.mark.parametrize(
    ("table", "change", "where"),
    [
        ("demand", {"requests_per_day": 0}, "demand.requests_per_day"),
        ("demand", {"peak_factor": 30}, "demand.peak_factor"),
        ("demand", {"users": 5}, "demand"),
        ("demand", {"think_time_s": 1}, "demand"),
        ("demand", {"input_tokens": 9}, "demand"),
        ("demand", {"input_tokens": 9, "output_tokens": 9, "input_ratio": 0.5}, "demand"),
        ("demand", {"batch": True, "peak_factor": 3}, "demand"),
        ("demand", {"growth": 0.5}, "demand"),
        ("demand", {"in_months": 5}, "demand"),
        ("demand", {"requests_per_month": 9}, "demand"),
        ("fleet", {"target_utilization": 1.2}, "fleet.target_utilization"),
        ("fleet", {"spare_replicas": -1}, "fleet.spare_replicas"),
        ("extras", {"cache_hit_rate": 2.0}, "extras.cache_hit_rate"),
        ("candidate", [{"run": "a", "api": "b"}], "candidate.0"),
        ("candidate", [{"run": "a", "preset": "l4", "usd_per_hour": 1}], "candidate.0"),
        ("candidate", [{"api_usd_per_1m": [2e-7, 4.0]}], "candidate.0.api_usd_per_1m.0"),
        ("candidate", [{"api_usd_per_1m": [2.0]}], "candidate.0.api_usd_per_1m"),
        ("candidate", [{"api": "b", "gpus": 2}], "candidate.0"),
        ("candidate", [{"run": "a", "cached_ratio": 0.5}], "candidate.0"),
        ("candidate", [{"run": "a", "preset": "l4", "spot": {"usd_per_hour": 1}}], "candidate.0"),
        ("candidate", [{"run": "a", "max_replicas": 2}], "top level"),
    ],
)
def test_a_question_that_does_not_hold_together(table, change, where):
    """Every mistake is named with its place."""
    tree = {"demand": {"requests_per_day": 9}}
    tree[table] = tree.get(table, {}) | change if isinstance(change, dict) else change
    with pytest.raises(SpecError) as caught:
        parse_plan_tree(tree, "plan.toml")
    assert caught.value.what.split("\n")[1].split(": ")[0].strip() == where


def test_what_a_replica_carries_at_three_times_the_mean():
    """One Qwen3-30B machine carries 2,430 M tokens a month at peak factor 3: $0.473/1M, so the API at $0.261 stays."""
    machine = own()
    for tokens_per_month, replicas in ((2.42e9, 1), (2.44e9, 2)):
        (row,) = plan(per_month(machine, tokens_per_month), [machine], BATCH).rows
        assert row.working == replicas
    (row,) = plan(per_month(machine, 2.429e9), [machine], BATCH).rows
    assert row.usd_per_1m_tokens == pytest.approx(0.473, abs=5e-4)
    rows = {r.name: r for r in plan(per_month(machine, 6e9), [machine, QWEN_API]).rows}
    assert rows["Qwen3-30B"].break_even_requests_per_day is None


@pytest.mark.parametrize(
    ("usd_per_hour", "hours", "usd_per_1m", "tokens_per_month"), [(1.99, 730, 30.0, 48.4e6), (0.35, 720, 1.0, 252e6)]
)
def test_break_even_of_the_article(usd_per_hour, hours, usd_per_1m, tokens_per_month):
    """An H100 against $30/1M pays from 48.4 M tokens a month, an L4 against $1/1M from 252 M."""
    machine = Own("stated", 1, usd_per_hour, requests_per_s=100.0)
    demand = replace(of_mean(1.0, batch=True), input_tokens=500.0, output_tokens=500.0)
    api = Api("a", api_price("a", usd_per_1m, usd_per_1m))
    rows = {row.name: row for row in plan(demand, [machine, api], Fleet(hours_per_month=hours)).rows}
    found = rows["stated"].break_even_requests_per_day * hours / 24 * 1000
    assert found == pytest.approx(tokens_per_month, rel=1e-3)


def test_the_api_above_a_cap():
    """Two machines where three are needed: their month alone is none, and the API takes what they do not carry."""
    machine, demand = own(terms=MachineTerms(max_replicas=2)), per_month(own(), 6e9)
    rows = {row.kind: row for row in plan(demand, [machine, QWEN_API]).rows}
    assert (rows["own"].usd_per_month, rows["own + API"].slo) == (None, "not measured")
    assert rows["own + API"].replicas <= 2
    api_alone = rows["API"].usd_per_month
    assert 0 < rows["own + API"].usd_per_month - rows["own + API"].replicas * 1149.02 < api_alone


def test_latency_of_another_mix_is_not_measured():
    """A replica whose requests are of the measured mix has its verdict; with longer ones nothing is known."""
    machine = own()
    longer = replace(of_mean(0.5), input_tokens=4000.0, output_tokens=100.0)
    assert [plan(d, [machine]).rows[0].slo for d in (of_mean(0.5), longer)] == ["undecided", "not measured"]


def test_models_that_are_not_one_are_named():
    """qwen3-30b-a3b is the API's name of Qwen3-30B; another model's price is compared, and said."""
    machine = own()
    machine = replace(machine, model="Qwen3-30B")
    listed = api_price("openrouter/qwen3-30b-a3b", 0.1, 0.5).model_copy(update={"as_of": "2026-11-10"})
    other = listed.model_copy(update={"name": "openai/gpt-4o-mini"})
    assert plan(of_mean(1.0), [machine, Api("q", listed)]).models == ()
    assert plan(of_mean(1.0), [machine, Api("o", other)]).models == ("Qwen3-30B", "gpt-4o-mini")


def candidates(*asked, **demand):
    """The plan of candidates on the paper's table, judged without reading files."""
    judged = judge_points([p for p in TABLE4 if p.model == "Qwen3-30B"], SLO, 0.79)
    levels = JudgedLevels(
        model="Qwen3-30B", source="t", slo=SLO, judged=tuple(judged), decision=decide(judged), gpus=2,
        usd_per_hour=0.79, hour_price=1.58,
    )  # fmt: skip
    tree = {"demand": demand or {"requests_per_day": 1000}, "candidate": list(asked)}
    return answer(parse_plan_tree(tree, "t"), price_book(), lambda *_: levels, str, None)


def test_prices_of_the_hour():
    """Spot pays for what is lost; owned spreads the purchase, and its idle hours are the demand's."""
    spot = {"usd_per_hour": 0.3, "interruptions_per_hour": 0.1, "interruption_hours": 0.5}
    owned = {"purchase_price": 120000, "currency": "CNY", "currency_per_usd": 7.09, "years": 3, "power_kw": 0.4}
    owned |= {"electricity_per_kwh": 1.0, "pue": 1.5}
    found = candidates({"run": "r", "name": "s", "spot": spot}, {"run": "r", "name": "o", "owned": owned})
    usd = {row.name: row.usd_per_month / row.gpus / 730 for row in found.rows}
    assert usd == pytest.approx({"s": 0.3 / 0.95, "o": 0.786625}, rel=1e-6)
    assert next(r for r in found.rows if r.name == "s").notes[0].startswith("a useful GPU-hour on spot is 0.3158")


def test_one_demand_in_four_ways():
    """Requests or tokens, a day or a month, are one demand where they agree, and refused where they do not."""
    size = tokens(own())
    found = [
        candidates({"run": "r"}, **way).demand.mean_per_s
        for way in (
            {"requests_per_day": 24e3}, {"requests_per_month": 730e3},
            {"tokens_per_day": 24e3 * size}, {"tokens_per_month": 730e3 * size},
            {"requests_per_day": 24e3, "tokens_per_month": 730e3 * size},
        )
    ]  # fmt: skip
    assert found == pytest.approx([24e3 / 86400] * 5)
    with pytest.raises(InputError, match="contradict each other") as caught:
        candidates({"run": "r"}, requests_per_day=1000, tokens_per_month=6e9)
    assert "6e+09" in caught.value.given


def test_prices_without_a_date_are_refused():
    """An API's price whose source is undated needs the day it was looked up."""
    book = PriceBook({}, {"x": api_price("x", 1.0, 2.0)})
    tree = {"demand": {"requests_per_day": 9, "input_tokens": 5, "output_tokens": 5}, "candidate": [{"api": "x"}]}
    with pytest.raises(PriceError, match="no date"):
        answer(parse_plan_tree(tree, "t"), book, None, str, None)
    tree["candidate"][0]["price_as_of"] = "2026-11"
    assert answer(parse_plan_tree(tree, "t"), book, None, str, None).prices[0].as_of == "2026-11"


def test_prices_of_another_gpu_are_refused():
    """An H100's preset is not the price of a run on an L4; a price of one's own is."""
    with pytest.raises(PriceError, match="another GPU"):
        check_gpu("h100-low", "NVIDIA L4", "r")
    for preset, gpu in (("l4", "NVIDIA L4"), ("a100-low", "NVIDIA A100-SXM4-80GB"), ("ours", "NVIDIA L4")):
        check_gpu(preset, gpu, "r")
