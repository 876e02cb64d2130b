"""Demand, Erlang-C and replicas: the known answers, the laws, the refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points_for_tests import TABLE4, point

from benchsuite.economics.capacity import (
    Demand,
    Queue,
    erlang_c,
    of_hours,
    of_users,
    parse_hours,
    per_day,
    per_month,
    plan,
    service_time_s,
    tokens_per_request,
)
from benchsuite.economics.decision import judge_points
from benchsuite.errors import InputError
from benchsuite.results import Distribution
from benchsuite.slo import parse_slo

SLO = parse_slo("ttft_mean<1s,throughput>20")


@pytest.mark.parametrize(
    ("slots", "p"), [(8, 0.458), (16, 0.305), (48, 0.093), (64, 0.056), (192, 0.002)], ids=lambda value: str(value)
)
def test_erlang_c_at_four_fifths(slots, p):
    """Known answers at a load of 0.8: small fleets need more headroom."""
    assert erlang_c(slots, 0.8 * slots) == pytest.approx(p, abs=5e-4)


@given(st.integers(1, 400), st.floats(0.01, 0.999))
def test_erlang_c_is_the_recursion(slots, load):
    """The closed form is B_k = a B_{k-1} / (k + a B_{k-1})."""
    a, blocked = load * slots, 1.0
    for k in range(1, slots + 1):
        blocked = a * blocked / (k + a * blocked)
    assert erlang_c(slots, a) == pytest.approx(blocked / (1 - load * (1 - blocked)), rel=1e-7, abs=1e-300)


def test_one_server_by_hand():
    """M/M/1 at 0.5: half wait, mean wait 1 W over all, e^-1 of the half wait longer than 2 W."""
    queue = Queue(slots=1, offered=0.5, service_s=3.0)
    assert queue.p_wait == pytest.approx(0.5)
    assert queue.mean_wait_s == pytest.approx(3.0)
    assert queue.p_wait_over(6.0) == pytest.approx(0.5 * math.exp(-1))
    assert queue.wait_quantile_s(0.5) == 0
    assert queue.p_wait_over(queue.wait_quantile_s(0.95)) == pytest.approx(0.05)


def test_overload_waits_for_ever():
    """No slots to spare: everybody waits, without end."""
    queue = Queue(8, 8.0, 1.0)
    assert (queue.p_wait, queue.mean_wait_s, queue.wait_quantile_s(0.5)) == (1.0, math.inf, math.inf)


def test_demands_by_hand():
    """864,000 a day are 10 a second; 500 users with 2 s answers and 8 s pauses are 50; tokens by the request's."""
    assert per_day(864_000) == Demand(10.0, 30.0, "864,000 requests a day, peak 3 times the mean")
    users = of_users(500, 2.0, think_s=8.0, peak_factor=2.0)
    assert (users.mean_per_s, users.peak_per_s) == (25.0, 50.0)
    assert per_month(2.628e9, 1000.0, 1.0).peak_per_s == pytest.approx(1.0)


def test_a_day_of_hours():
    """Of 24 hours the largest is the peak; of 200 the second but one, as the p99."""
    day = of_hours([3600.0] * 23 + [36_000.0])
    assert day.peak_per_s == 10.0
    assert day.mean_per_s == pytest.approx((23 + 10) / 24)
    assert of_hours([3600.0] * 197 + [7200.0, 36_000.0, 72_000.0]).peak_per_s == 2.0


def test_hours_are_read():
    """The column `requests`, whatever stands beside it."""
    assert parse_hours("hour,requests\n0,5\n1,7.5\n", "h.csv") == [5.0, 7.5]


def ten_a_second(**other):  # type: ignore[no-untyped-def]
    """Level 20, 10 requests/s, so 2 s in a slot; $3600 an hour. Level 40 misses."""
    points = [
        point(20, 100.0, 30.0, 0.2, request_per_s=10.0, n_ok=1000, input_tokens=1000, output_tokens=500_000, **other),
        point(40, 90.0, 15.0, 0.3, request_per_s=11.0, n_ok=1000, **other),
    ]
    return judge_points(points, SLO, 3600.0)


def test_a_plan_by_hand():
    """30/s at the peak over 10 x 0.8 makes 4, and one spare; c = 80, a = 60; $13,140,000 a month at $3600/h x 5."""
    judged = ten_a_second()
    found = plan(judged[0], judged, per_day(864_000), SLO, gpus_per_replica=2)
    assert (found.working, found.spare, found.replicas, found.gpus) == (4, 1, 5, 10)
    assert (found.queue.slots, found.queue.offered, found.queue.service_s) == (80, 60.0, 2.0)
    assert found.raised_by_wait == 0
    assert found.peak_load_ratio == pytest.approx(0.75)
    assert found.mean_load_ratio == pytest.approx(0.2)
    assert found.usd_per_month == pytest.approx(13_140_000)
    assert found.usd_per_request == pytest.approx(0.5)  # 5 machines at $1 a second for 10 requests a second
    assert found.usd_per_1m_output_tokens == pytest.approx(1000.0)  # 500 tokens a request
    assert found.usd_per_1m_output_tokens_full == pytest.approx(200.0)
    assert found.measured_levels == (20, 40)


def test_waits_add_replicas():
    """Without headroom 3 replicas at a = c would wait for ever; a fourth keeps the SLO."""
    judged = ten_a_second()
    found = plan(judged[0], judged, per_day(864_000), SLO, headroom_ratio=1.0, spare=0)
    assert (found.working, found.raised_by_wait, found.replicas) == (4, 1, 4)
    assert found.queue.mean_wait_s + 0.2 < 1


def test_a_percentile_takes_its_wait():
    """A p99 limit needs the p99 wait to fit beside the measured p99; an unknown one is named."""
    judged = ten_a_second()
    strict = parse_slo("ttft_p99<0.5s,throughput>20")
    assert plan(judged[0], judged, per_day(864_000), strict).unchecked == ("ttft_p99 < 0.5 s",)
    known = replace(judged[0].point, ttft_s=Distribution(1000, 0.2, p99=0.45))
    judged = judge_points([known, judged[1].point], strict, None)
    found = plan(judged[0], judged, per_day(864_000, 2.97), strict, headroom_ratio=1.0, spare=0)
    assert found.unchecked == ()
    assert found.queue.wait_quantile_s(0.99) < 0.05
    assert (found.working, found.raised_by_wait) == (4, 1)  # three would do at 99 % of their rate, and wait
    assert (found.usd_per_month, found.usd_per_request) == (None, None)


@given(st.floats(1, 1e9), st.floats(1, 10), st.floats(0.05, 1), st.integers(0, 5))
def test_a_plan_carries_its_peak(requests_per_day, peak_factor, headroom, spare):
    """The rate and the waits hold; more headroom never needs fewer; the spare is on top."""
    judged = ten_a_second()
    demand = per_day(requests_per_day, peak_factor)
    found = plan(judged[0], judged, demand, SLO, headroom_ratio=headroom, spare=spare)
    assert found.peak_load_ratio <= headroom * (1 + 1e-6)
    assert found.queue.mean_wait_s + 0.2 < 1
    assert found.replicas == found.working + spare
    assert found.working <= plan(judged[0], judged, demand, SLO, headroom_ratio=headroom / 2).working


def test_qwen_of_the_paper():
    """Level 64 runs 2993 / 616.77 = 4.853 requests a second, 715 tokens a request."""
    judged = judge_points([p for p in TABLE4 if p.model == "Qwen3-30B"], SLO, 1.58)
    level = next(j for j in judged if j.point.concurrency == 64)
    assert level.point.request_per_s == pytest.approx(4.8527, abs=1e-4)
    assert service_time_s(level.point) == pytest.approx(13.188, abs=1e-3)
    assert tokens_per_request(level.point) == pytest.approx(714.4, abs=0.1)
    found = plan(level, judged, per_day(500_000), SLO)
    assert (found.working, found.replicas) == (5, 6)  # 17.36 / (4.853 x 0.8) = 4.47
    assert found.usd_per_month == pytest.approx(6 * 1.58 * 730)


def test_where_the_curve_ends():
    """The highest level, a level that misses, and quiet hours below the lowest level are told."""
    judged = ten_a_second()
    found = plan(judged[1], judged, per_day(1000), SLO)
    assert [warn.code for warn in found.warnings] == ["misses_slo", "end_of_curve", "below_curve"]
    lower = judge_points([point(4, 200.0, 40.0), *(j.point for j in judged)], SLO, None)
    assert plan(lower[1], lower, per_day(10_000_000, 1.0), SLO, spare=0).warnings == ()


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: per_day(-1), "requests_per_day"),
        (lambda: per_day(float("nan")), "requests_per_day"),
        (lambda: per_day(1, 0.5), "peak_factor"),
        (lambda: per_month(0, 10), "tokens_per_month"),
        (lambda: per_month(10, None), "tokens_per_month"),
        (lambda: of_users(0, 1), "users"),
        (lambda: of_users(1, 1, think_s=-1), "think_s"),
        (lambda: of_hours([1.0] * 23), "hours"),
        (lambda: of_hours([-1.0] * 24), "hours"),
        (lambda: of_hours([0.0] * 24), "hours"),
        (lambda: parse_hours("n\n1\n", "h.csv"), "h.csv:1"),
        (lambda: parse_hours("requests\nmany\n", "h.csv"), "h.csv:2"),
        (lambda: _plan(headroom_ratio=0), "headroom"),
        (lambda: _plan(headroom_ratio=1.1), "headroom"),
        (lambda: _plan(spare=-1), "spare"),
        (lambda: _plan(gpus_per_replica=0), "gpus"),
        (lambda: _plan(demand=per_day(1e18)), "demand"),
    ],
)
def test_nonsense_names_the_key(call, key):
    """One refusal with the name of what is wrong."""
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.where == key


def _plan(demand=None, **change):  # type: ignore[no-untyped-def]
    judged = ten_a_second()
    return plan(judged[0], judged, demand or per_day(1), SLO, **change)
