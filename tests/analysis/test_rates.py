"""Levels of an open loop: what is measured of them, from when latencies count, saturation, and what they cost."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from factory import rate_folder, rate_rows, request_frame, request_row, run_folder

import benchsuite
from benchsuite.analysis.client_accuracy import lateness
from benchsuite.analysis.gpu import gpu_facts, point_energy
from benchsuite.analysis.requests import arrived_tokens, idle_s, level_rows
from benchsuite.analysis.summary import measure_levels, point_figures, summarise_points
from benchsuite.analysis.time_series import level_windows
from benchsuite.analysis.warnings import ClientEffects, judge_client
from benchsuite.cli.main import main
from benchsuite.economics.cost import point_cost
from benchsuite.economics.matrix_decision import JudgedSetting, decide_settings
from benchsuite.errors import InputError, PointsError
from benchsuite.level import Level
from benchsuite.load.arrivals import arrivals
from benchsuite.manifest import RunManifest
from benchsuite.report.compare_models import comparison, place_models, render_comparison
from benchsuite.report.comparison import parse_regressions
from benchsuite.report.gate import gate, markdown
from benchsuite.report.judge import judge_run
from benchsuite.report.matrix import headline
from benchsuite.report.page import render
from benchsuite.saturation import Saturation, saturation
from benchsuite.slo import parse_slo
from benchsuite.store.run_folder import read_run

AT = {"concurrency": None, "rate_per_s": 10.0, "window_start_s": 0.0, "window_end_s": 20.0}


def test_a_stall_is_in_the_latency_from_the_schedule():
    """10 requests a second for 20 s, 50 ms each, the server stands for 2 s once: the mean is 0.05 + 21 / 200 s from the
    schedule, and 0.05 s and a bit from the send where one at a time is sent (coordinated omission)."""
    due_s = np.arange(200) / 10
    # without a cap: whatever was due in the 2 s is answered at their end; 2.0 + 1.9 + ... + 0.1 = 21 s in all
    ended_s = np.where((due_s >= 10) & (due_s < 12), 12.0, due_s) + 0.05
    rows = [request_row(at, end - at, scheduled_s=at, **AT) for at, end in zip(due_s, ended_s, strict=True)]
    (point,) = summarise_points(request_frame(*rows), model=None)
    assert point.level == Level(10.0, "rate")
    assert point.distributions["e2e_s"].mean == pytest.approx(0.155)
    assert point.distributions["e2e_sent_s"].mean == pytest.approx(0.155)

    # the same with one at a time: each waits for the one before, and its clock runs since it was due
    free_s, capped = 0.0, []
    for i, at in enumerate(due_s.tolist()):
        sent_s = max(at, free_s)
        free_s = sent_s + 0.05 + 2.0 * (i == 100)
        capped.append(request_row(sent_s, free_s - sent_s, scheduled_s=at, **AT))
    (point,) = summarise_points(request_frame(*capped), model=None)
    assert point.distributions["ttft_s"].mean > 0.155
    assert point.distributions["ttft_sent_s"].mean == pytest.approx(0.06)
    assert point.ratios["occupancy"] is point.ratios["output_tok_s_per_user"] is None


def test_only_the_window_is_measured_and_its_tokens_are_whosever_they_are():
    """Warm-up and tail are in no latency and no count; tokens that came in the window are of all requests."""
    row = dict(AT, window_start_s=10.0, window_end_s=20.0)
    rows = [
        request_row(8.0, 1.0, [1.0] * 4, scheduled_s=8.0, **row),  # tokens at 9, 10, 11, 12, 13: three after 10
        request_row(12.0, 0.5, [0.5] * 4, scheduled_s=12.0, **row),
        request_row(18.0, 1.0, [1.0] * 4, scheduled_s=18.0, **row),  # at 19, 20, 21, 22, 23: two until 20
        request_row(20.0, 0.5, [0.5] * 4, scheduled_s=20.0, **row),  # the tail's
    ]
    (measured,) = level_rows(request_frame(*rows))
    assert measured.rows.scheduled_s.tolist() == [12.0, 18.0]
    assert measured.total("arrived_tokens") == pytest.approx(3 + 5 + 2)
    (point,) = summarise_points(request_frame(*rows), model=None)
    assert (point.n_ok, point.n_failed, point.duration_s, point.output_tokens) == (2, 0, 10.0, 10)
    assert point.output_tok_s == pytest.approx(1.0)
    assert point.ratios["offered_per_s"] == point.request_per_s == pytest.approx(0.2)
    assert point.ratios["in_flight"] == pytest.approx((3 + 2.5 + 2) / 10)
    assert point.max_in_flight == 2
    assert point.ratios["idle_share"] == pytest.approx(0.35)
    # what a table at a time gives is the same
    live = point_figures([_table(rows[:1]), _table(rows[1:])], 0.0, {"ttft_s"})
    assert live is not None
    assert (live.n_ok, live.duration_s, live.output_tok_s) == (2, 10.0, pytest.approx(1.0))


def _table(rows):
    import pyarrow as pa

    from benchsuite.store.files import SCHEMA

    return pa.Table.from_pylist([row._asdict() for row in rows], schema=SCHEMA)


def test_idle_time_is_what_no_request_covers():
    """Overlapping requests count once, those that began before the window from its start, without an end to its end."""
    sent = np.array([-1.0, 2.0, 2.5, 9.0, np.nan])
    closed = np.array([1.0, 4.0, 3.0, np.nan, np.nan])
    assert idle_s(sent, closed, 0.0, 10.0) == pytest.approx(1.0 + 5.0)
    assert idle_s(sent[:0], closed[:0], 0.0, 10.0) == 10.0
    assert idle_s(np.array([-5.0]), np.array([20.0]), 0.0, 10.0) == 0.0
    # rows are in the order of their ends
    assert idle_s(sent[[2, 1, 0, 3]], closed[[2, 1, 0, 3]], 0.0, 10.0) == pytest.approx(6.0)


def test_a_response_without_a_stream_arrives_when_it_closes():
    """All of its tokens, and none of a failed request whose tokens are not known."""
    tokens, never = np.array([7.0, 7.0, np.nan]), np.full(3, np.nan)
    closed = np.array([5.0, 11.0, 5.0])
    assert arrived_tokens(tokens, never, never, closed, lambda _: np.empty(0), 0.0, 10.0).tolist() == [7.0, 0.0, 0.0]


def test_tokens_without_a_stream_come_within_the_window():
    """What closed before its start, or at it, came before it; what closes at its end is its own."""
    tokens, never, closed = np.full(3, 7.0), np.full(3, np.nan), np.array([0.5, 1.0, 10.0])
    assert arrived_tokens(tokens, never, never, closed, lambda _: np.empty(0), 1.0, 10.0).tolist() == [0.0, 0.0, 7.0]


@pytest.mark.parametrize(
    ("figures", "saturated"),
    [
        ((0.61, 0.031, 0.0), True),
        ((0.60, 0.5, 0.0), False),  # in flight do not grow enough
        ((1.0, 0.03, 0.0), False),  # too few are left
        ((-1.0, 0.0, 0.031), True),
        ((-1.0, 0.0, 0.03), False),
    ],
)
def test_the_limits_of_saturation(figures, saturated):
    """METHODS, Open loop: tau above 0.6 and more than 3 % left, or more than 3 % dropped."""
    assert Saturation(*figures).saturated is saturated


@pytest.mark.parametrize(
    ("figures", "n", "far"),
    [
        ((0.9, 0.26, 0.0), 200, True),
        ((0.9, 0.26, 0.0), 190, False),  # 49 are left
        ((0.9, 0.25, 0.0), 1000, False),  # a quarter, no more
        ((0.6, 0.9, 0.0), 1000, False),  # in flight do not grow enough
        ((-1.0, 0.0, 0.26), 200, True),
    ],
)
def test_what_saturates_by_far(figures, n, far):
    """METHODS, Search: more than a quarter of the arrivals, and more than 50, are left or dropped."""
    assert Saturation(*figures).far(n) is far


def test_what_is_left_at_the_end_of_a_window():
    """Of twelve requests, one a second, the last two never end and the two before are dropped: 4 of 12 left, 2 of 12
    dropped. In flight in the twelve parts: 0.5 s each, nothing in two, then 1 and 2."""
    due_s = np.arange(12.0)
    ended_s, dropped = np.append(due_s[:10] + 0.5, [np.nan, np.nan]), np.isin(np.arange(12), (8, 9))
    found = saturation(due_s, ended_s, dropped, 0.0, 12.0)
    assert (found.unserved, found.dropped) == pytest.approx((4 / 12, 2 / 12))
    # of 66 pairs of parts: 8 x 2 and 2 x 2 and 1 rise, 8 x 2 fall, others are equal
    assert found.tau == pytest.approx((16 + 4 + 1 - 16) / 66)


def test_what_a_rising_rate_keeps_in_flight_is_no_excess():
    """10 requests in the first quarter of 8 s, 110 in the last, each taking 0.5 s, and 30 that do not end: a server at
    three times that time has (3 x 110 - 10) / 2 s x 0.5 s = 80 more in flight, which is more than is left; with 0.05 s
    it is 8, and 22 of the arrivals are unserved."""
    quarters = [np.linspace(2 * i, 2 * i + 1.4, n, endpoint=False) for i, n in enumerate((10, 40, 80, 110))]
    due_s = np.concatenate(quarters)
    none, stays = np.zeros(len(due_s), bool), np.arange(len(due_s)) >= len(due_s) - 30
    for took_s, unserved in ((0.5, 0.0), (0.05, 22 / 240)):
        found = saturation(due_s, np.where(stays, np.nan, due_s + took_s), none, 0.0, 8.0)
        assert found.unserved == pytest.approx(unserved)


def queue(rho: float, rate: float, seed: int) -> bool:
    """Whether an M/M/1 queue at this load, warmed up for 30 s, is found to be saturated in 120 s."""
    phases, rng = (30.0, 120.0, 30.0), np.random.default_rng(seed)
    rows = rate_rows(Level(rate, "rate"), 0, 0.0, capacity_per_s=rate / rho, phases_s=phases, rng=rng)
    (measured,) = level_rows(request_frame(*rows))
    return measured.saturated


@pytest.mark.parametrize(("rho", "found"), [(0.9, 0), (1.1, 20)])
def test_saturation(rho: float, found: int):
    """Twenty queues at a load: none at 0.9 of the capacity, all at 1.1."""
    assert sum(queue(rho, 40.0, seed) for seed in range(20)) == found


def test_a_rate_that_rises_does_not_saturate_a_server_that_keeps_up():
    """5 to 15 requests/s within 120 s. With all served at once, each in 10 s, 100 of 1,200 more are in flight at the
    end; slower in a batch, 10 to 20 s, 250. One after another at 9 requests/s, 200 are left: that is saturated."""
    span = {"window_s": 120.0, "before_s": 30.0, "after_s": 60.0}
    due_s = arrivals("constant", 10.0, shape=1.0, profile="ramp 0.5 1.5", **span, seed=0, repeat=0) / 1e9
    none, longer_s = np.zeros(len(due_s), bool), np.clip(due_s / 12, 0.0, 10.0)

    def unserved(ended_s: np.ndarray) -> tuple[float, bool]:
        found = saturation(due_s, ended_s, none, 0.0, 120.0)
        return found.unserved, found.saturated

    assert unserved(due_s + 10.0) == (0.0, False)
    assert unserved(due_s + 10.0 + longer_s) == (0.0, False)
    ended_s = np.empty(len(due_s))
    free_s = -np.inf
    for i, at_s in enumerate(due_s):
        free_s = ended_s[i] = max(at_s, free_s) + 1 / 9
    share, found = unserved(ended_s)
    assert (found, share) == (True, pytest.approx(0.18, abs=0.02))


def test_a_window_without_arrivals_is_no_level():
    """Rows of the warm-up alone give none, those of a window that is no time neither."""
    row = request_row(8.0, 1.0, scheduled_s=8.0, **dict(AT, window_start_s=10.0))
    assert list(level_rows(request_frame(row))) == []
    assert list(level_rows(request_frame(row._replace(window_start_s=None, window_end_s=None)))) != []


def test_money_of_a_rate():
    """An hour at $1.99: 2 requests a second of 200 tokens cost $1.3819 per 1M, 20 a second $0.1382; of a request and of
    a good one likewise."""
    for rate, usd in ((2.0, 1.3819), (20.0, 0.1382)):
        n = round(rate * 100)
        at = dict(AT, rate_per_s=rate, window_start_s=0.0, window_end_s=100.0)
        due = np.arange(n) / rate
        rows = [request_row(t, 0.001, [0.0001] * 199, scheduled_s=t, **at) for t in due]
        (measured,) = measure_levels(request_frame(*rows), parse_slo("none; goodput: ttft<1s"))
        cost = point_cost(measured.point, 1.99)
        assert cost.usd_per_1m_output_tokens == pytest.approx(usd, abs=5e-5)
        assert cost.usd_per_request == cost.usd_per_good_request == pytest.approx(1.99 / 3600 / rate)
    half = [row._replace(status="dropped", sent_s=None, first_token_s=None, last_token_s=None, closed_s=None,
                         output_tokens=None) if i % 2 else row for i, row in enumerate(rows)]  # fmt: skip
    (measured,) = measure_levels(request_frame(*half), parse_slo("none; goodput: ttft<1s"))
    assert measured.point.ratios["attainment"] == measured.point.ratios["error_rate"] == 0.5
    assert measured.point.ratios["offered_per_s"] == pytest.approx(20.0)
    assert point_cost(measured.point, 1.99).usd_per_good_request == pytest.approx(1.99 / 3600 / 10)
    found = {one.code: one for one in measured.point.warnings}
    assert "dropped" in found
    # what is dropped waits nowhere, so that nothing grows
    assert "dropped, or left" in found["saturated"].finding
    assert "latencies" not in found["saturated"].effect
    assert measured.point.saturation_text == "saturated: requests were dropped"


def test_what_leaves_in_the_window_is_the_throughput():
    """14 requests/s at a server that does 10: 10/s, 110 output and 100 input tokens/s leave it in the window, and cost
    and energy are of those, though all 14/s end well in the tail. A limit that all keep is kept by those that left."""
    due_s = np.arange(-20 * 14, 120 * 14) / 14
    ended_s = -20 + 0.1 * (np.arange(len(due_s)) + 1)
    at = dict(AT, rate_per_s=14.0, window_start_s=0.0, window_end_s=100.0)
    rows = [
        request_row(t, end - 0.05 - t, [0.005] * 10, scheduled_s=t, input_tokens=10, **at)
        for t, end in zip(due_s.tolist(), ended_s.tolist(), strict=True)
    ]
    (measured,) = measure_levels(request_frame(*rows), parse_slo("none; goodput: tpot<50ms"))
    point = measured.point
    assert (point.n_ok, point.saturated, point.ratios["attainment"]) == (1400, True, 1.0)
    assert point.ratios["offered_per_s"] == pytest.approx(14.0)
    for name, per_s in (("request_per_s", 10.0), ("goodput_per_s", 10.0), ("output_tok_s", 110.0),
                        ("total_tok_s", 210.0)):  # fmt: skip
        assert point.ratios[name] == pytest.approx(per_s, rel=2e-3), name
    cost = point_cost(point, 3.6)
    assert cost.usd_per_request == pytest.approx(1e-4, rel=2e-3)
    assert cost.usd_per_good_request == pytest.approx(1e-4, rel=2e-3)
    assert cost.usd_per_1m_total_tokens == pytest.approx(1e6 * 1e-3 / 210, rel=2e-3)
    energy = point_energy(None, level_windows(measured), point, gpu_facts({}, 0.42, 1))
    assert energy.j_per_request == pytest.approx(42.0, rel=2e-3)
    assert (energy.j_per_output_token, energy.j_per_token) == pytest.approx((42 / 11, 2.0), rel=2e-3)


def closed_folder(path, *, model="m", service_s=0.1, **more):
    """A closed loop at the server of `rate_folder`: one request at a time, so that X is 10 a second at any level."""
    latency = dict.fromkeys((1, 2, 4), (0.1 * service_s, 0.09 * service_s))
    return run_folder(path, levels=(1, 2, 4), latency=latency, slots=1, requests=64, model=model, **more)


def test_rates_beside_a_closed_loop(tmp_path):
    """M/M/1 with 10 a second, of which the closed loop knows that alone: in flight, E2E and idle share as predicted; no
    steady state at 14; the price at capacity is of 10 a second, under the SLO of the rates."""
    path = rate_folder(
        tmp_path / "run", rates=(2.0, 5.0, 14.0), repeats=4, window_s=200.0, slo="ttft_mean<5s", usd_per_hour=3.6
    )
    closed = closed_folder(tmp_path / "closed", slo="ttft_mean<1us", usd_per_hour=9.9, repeats=2)
    judged = judge_run(read_run(path), capacity=read_run(closed))
    for one in judged.judged[:2]:
        rho, said = one.point.level.number / 10, one.closed_loop
        assert (said.in_flight, said.e2e_s, said.idle_share) == pytest.approx(
            (rho / (1 - rho), 0.1 / (1 - rho), 1 - rho)
        )
        assert one.point.ratios["in_flight"] == pytest.approx(said.in_flight, rel=0.2)
        assert one.point.distributions["e2e_s"].mean == pytest.approx(said.e2e_s, rel=0.15)
        assert one.point.ratios["idle_share"] == pytest.approx(said.idle_share, rel=0.1)
        assert said.usd_per_request == pytest.approx(3.6 / 3600 / 10, rel=1e-6)
        assert one.cost.usd_per_request == pytest.approx(3.6 / 3600 / one.point.request_per_s)
    beyond = judged.judged[2]
    assert (beyond.closed_loop.in_flight, beyond.point.request_per_s) == (None, pytest.approx(10, rel=0.05))
    assert judged.capacity.best.point.level == Level(1)
    frame = benchsuite.summarise(path, capacity=closed)
    assert frame["in_flight_predicted"].tolist()[:2] == [j.closed_loop.in_flight for j in judged.judged[:2]]
    assert frame["usd_per_1m_at_capacity"].tolist() == [j.closed_loop.usd_per_1m_output_tokens for j in judged.judged]
    page = render(judged, ["capacity"])
    assert page.count("<figure") == 3  # the decision's, in flight, E2E
    # the run itself is judged as without
    alone = judge_run(read_run(path))
    assert [replace(j, closed_loop=None) for j in judged.judged] == list(alone.judged)


def test_a_closed_loop_of_something_else_is_refused(tmp_path):
    """Another model, server or request set; and a run of rates where a closed loop is needed, or the reverse."""
    rates = read_run(rate_folder(tmp_path / "run", rates=(2.0,)))
    set_of_others = {"workload": {"name": "w", "requests": 64, "content_hash": "other"}}
    newer = {"server_probe": {"profile": "vllm", "reports_usage": True, "server": {"version": "0.1"}}}
    for i, (model, facts, word) in enumerate(
        (("n", {}, "model"), ("m", set_of_others, "workload content"), ("m", newer, "server version"))
    ):
        other = read_run(closed_folder(tmp_path / f"closed{i}", model=model, manifest=facts))
        with pytest.raises(InputError) as refused:
            judge_run(rates, capacity=other)
        assert f"{word}:" in str(refused.value)
        assert "--allow" not in str(refused.value.hint)
    for run, capacity in ((rates, rates), (other, rates)):
        with pytest.raises(PointsError, match="loop"):
            judge_run(run, capacity=capacity)


def test_what_else_differs_is_said(tmp_path, monkeypatch, capsys):
    """Another benchsuite measured the closed loop: the same server, so that it may, in the terminal and on the page."""
    rates = rate_folder(tmp_path / "run", rates=(2.0,), manifest={"benchsuite": "0.2"})
    closed = closed_folder(tmp_path / "closed", manifest={"benchsuite": "0.1"})
    judged = judge_run(read_run(rates), capacity=read_run(closed))
    (note,) = judged.capacity_notes
    assert "benchsuite: 0.2 (run), 0.1 (closed)" in note
    assert note[1:] in render(judged)
    monkeypatch.setattr("sys.argv", ["benchsuite", "decide", str(rates), "--capacity", str(closed)])
    with pytest.raises(SystemExit):
        main()
    assert note in " ".join(capsys.readouterr().out.split())


def test_a_closed_loop_of_failures_predicts_nothing(tmp_path):
    """It is refused; one that is stopped before a level was complete too."""
    rates = read_run(rate_folder(tmp_path / "run", rates=(2.0,)))
    failed = closed_folder(tmp_path / "failed", faults={"timeout": 64})
    with pytest.raises(PointsError, match="completed no request"):
        judge_run(rates, capacity=read_run(failed))
    with pytest.raises(PointsError, match="no level of the run was measured"):
        judge_run(rates, capacity=read_run(closed_folder(tmp_path / "cut", manifest={"points": []})))


def test_what_a_closed_loop_lacks_is_said(tmp_path):
    """Points that were not measured; and that none was measured as low as what is predicted, above which a user alone
    would be faster: 0.25 requests in flight at 2 of 10 a second."""
    rates = read_run(rate_folder(tmp_path / "run", rates=(2.0,)))
    whole = closed_folder(tmp_path / "whole")
    assert judge_run(rates, capacity=read_run(whole)).capacity_notes == []
    alone = RunManifest.model_validate_json((whole / "manifest.json").read_text())
    kept = [entry.model_dump(mode="json") for entry in alone.points if entry.level != Level(1)]
    planned = [entry.point_id for entry in alone.points]
    cut = closed_folder(tmp_path / "cut", manifest={"points": kept, "planned_points": planned})
    first, second = judge_run(rates, capacity=read_run(cut)).capacity_notes
    assert first.startswith("closed loop: 1 of 3 points were not measured")
    assert "nothing was measured below concurrency 2" in second
    assert "at 2 req/s" in second


def test_no_level_of_the_closed_loop_meets_the_slo(tmp_path):
    """Then there is no price at capacity, and the prediction stands."""
    rates = read_run(rate_folder(tmp_path / "run", rates=(2.0,), slo="ttft_mean<1ms"))
    judged = judge_run(rates, capacity=read_run(closed_folder(tmp_path / "closed")))
    said = judged.judged[0].closed_loop
    assert (said.level, said.usd_per_1m_output_tokens, said.in_flight) == (None, None, pytest.approx(0.25))


def test_a_run_of_rates_is_judged(tmp_path):
    """M/M/1 with 10 a second: the highest rate within the SLO is chosen, a saturated one meets none, whatever it says,
    and nothing that speaks of users is found."""
    path = rate_folder(tmp_path / "run", rates=(2.0, 6.0, 14.0), repeats=3, window_s=100.0, slo="ttft_mean<60s")
    judged = judge_run(read_run(path))
    assert [one.point.level for one in judged.judged] == [Level(rate, "rate") for rate in (2.0, 6.0, 14.0)]
    assert [one.slo_verdict for one in judged.judged] == ["met", "met", "not met"]
    assert judged.best is not None
    assert judged.best.point.level == Level(6.0, "rate")
    assert judged.decision.kind == "optimum"
    assert judged.decision.p_opt == 1.0
    for one in judged.judged[:2]:
        rho = one.point.level.number / 10
        assert one.point.distributions["e2e_s"].mean == pytest.approx(0.1 / (1 - rho), rel=0.25)
        assert one.point.ratios["in_flight"] == pytest.approx(rho / (1 - rho), rel=0.35)
        assert one.point.ratios["idle_share"] == pytest.approx(1 - rho, abs=0.08)
        assert one.point.intervals["ttft_mean_s"].low is not None
    codes = {warn.code for one in judged.judged for warn in one.point.warnings}
    assert codes == {"saturated"}
    assert "saturated" in judged.judged[2].misses[0]
    assert judged.slo.limits[0].metric == "ttft_s"


def test_the_server_with_the_higher_rate_is_the_cheaper_one(tmp_path):
    """A window costs the same at 2 and at 6 requests/s: settings and models are ranked by what a request costs, and a
    frontier of what a run of the set costs is refused."""
    paths = [
        rate_folder(tmp_path / name, rates=(rate,), repeats=2, slo="ttft_mean<60s")
        for name, rate in (("slow", 2.0), ("fast", 6.0))
    ]
    slow, fast = (replace(judge_run(read_run(path)), name=path.name) for path in paths)
    settings = decide_settings([JudgedSetting("slow", 1, slow), JudgedSetting("fast", 1, fast)])
    assert (settings.winner.name, settings.by) == ("fast", "cost of a request")
    assert settings.p_winner > 0.95
    assert "(+200 % a request)" in headline(settings)
    assert comparison([slow, fast], []).tiles[0].value == "fast"
    with pytest.raises(PointsError, match="frontier"):
        place_models([slow], "model,score\nm,50\n", "scores.csv")


def test_limits_on_users_say_why_they_are_not_known(tmp_path):
    """A rate has no users: the limit is unknown, and says what to limit instead. One run of few requests is a look."""
    path = rate_folder(tmp_path / "run", rates=(1.0, 2.0), window_s=40.0, slo="output_throughput_per_user>20")
    judged = judge_run(read_run(path))
    assert {check.why for one in judged.judged for check in one.limits if check.asked} == {"no_users"}
    assert judged.decision.kind == "none"
    assert all({warn.code for warn in one.point.warnings} == {"few_requests"} for one in judged.judged)


def test_frames_of_a_rate_know_its_window(tmp_path):
    """In a notebook: what is judged is `whole`, and samples before and behind the window are of no point."""
    path = rate_folder(tmp_path / "run", rates=(2.0, 4.0), gpu=True)
    run, judged = benchsuite.read_run(path), judge_run(read_run(path))
    for one in judged.judged:
        rows = run.requests[run.requests["rate_per_s"] == one.point.level.number]
        assert rows["whole"].sum() == one.point.n_ok < len(rows)
        assert rows[rows["whole"]]["e2e_s"].mean() == pytest.approx(one.point.distributions["e2e_s"].mean)
        at_s = run.gpu[run.gpu["rate_per_s"] == one.point.level.number]["at_s"]
        start_s, end_s = rows["window_start_s"].iloc[0], rows["window_end_s"].iloc[0]
        assert start_s <= at_s.min() < start_s + 1
        assert end_s - 1 < at_s.max() <= end_s


def test_what_the_client_did_before_the_window_is_no_matter(tmp_path):
    """Reads that it merged in the warm-up leave its verdict as it is; in the window they do not."""

    def merged(row, early: bool):
        late = row._replace(n_reads=4, merged_reads=2, read_lag_max_us=60_000)
        return late if (row.scheduled_s < row.window_start_s) is early else row

    for early, verdict in ((True, "ok"), (False, "client-bound")):
        path = rate_folder(tmp_path / verdict, rates=(5.0,), row=lambda row, early=early: merged(row, early))
        assert judge_run(read_run(path)).clients[Level(5.0, "rate")].verdict == verdict


def test_late_sending_is_the_clients(tmp_path):
    """What left 30 ms late (p99) makes the client its own bottleneck; what waited for --max-in-flight does not, and has
    a warning of its own."""
    late = lambda row: row._replace(sent_s=row.scheduled_s + 0.03)  # noqa: E731
    judged = judge_run(read_run(rate_folder(tmp_path / "late", rates=(2.0,), row=late)))
    assert judged.clients[Level(2.0, "rate")].verdict == "client-bound"
    free = {"s": 0.0}

    def in_line(row):
        sent_s = max(row.scheduled_s, free["s"])
        free["s"] = sent_s + 0.4
        return row._replace(sent_s=sent_s, closed_s=free["s"], last_token_s=free["s"], first_token_s=free["s"])

    table = read_run(rate_folder(tmp_path / "line", rates=(2.0,), row=in_line)).table
    p99_s, waited = lateness(table, 1, 1)
    assert p99_s < 1e-9
    assert 0.5 < waited < 1
    assert lateness(table, None, 1)[0] > 0.1
    verdict = judge_client([{}], ClientEffects(True, late_p99_s=p99_s, waited_share=waited, rate_per_s=2.0))
    assert [warn.code for warn in verdict.warnings(Level(2.0, "rate"))] == ["waited_for_slot"]
    for opened, codes in ((1, []), (2, ["connections_opened"])):
        states = [{"connections_opened": opened, "n_issued": 100}, {"connections_opened": 1, "n_issued": 100}]
        verdict = judge_client(states, ClientEffects(True, late_p99_s=0.0, rate_per_s=2.0))
        assert [warn.code for warn in verdict.warnings(Level(2.0, "rate"))] == codes


def test_a_rate_beside_a_closed_loop(tmp_path):
    """One page of both, and a gate that says that they have no level in common. The page of the rate names no users."""
    paths = [
        rate_folder(tmp_path / "open", rates=(2.0, 4.0, 8.0), slo="ttft_mean<1s"),
        run_folder(tmp_path / "closed", slo="ttft_mean<1s"),
    ]
    runs = [judge_run(read_run(path)) for path in paths]
    names = [replace(one, name=name) for one, name in zip(runs, ("open", "closed"), strict=True)]
    assert "rate (requests/s) or concurrency (virtual users)" in render_comparison(names, (), (), "as given")
    page = render(runs[0])
    assert "rate (requests/s)" in page
    assert "virtual users" not in page
    with pytest.raises(InputError) as refused:
        gate(runs[0], runs[1], allowed=["client", "levels", "workload"])
    assert "no level in common" in str(refused.value)
    with pytest.raises(InputError) as refused:
        gate(runs[0], runs[1], allowed=["client"])
    assert "2 req/s, 4 req/s, 8 req/s" in str(refused.value)
    same = gate(runs[0], runs[0], regressions=parse_regressions("ttft_mean,cost"), allowed=["client"])
    assert {one.level for one in same.criteria if one.kind == "regression"} == {
        Level(r, "rate") for r in (2.0, 4.0, 8.0)
    }


def test_every_surface_counts_the_window_alone(tmp_path):
    """Requests by endpoint are those of the level, without warm-up and tail; the gate's table is headed by the rate."""
    judged = judge_run(read_run(rate_folder(tmp_path / "run", rates=(2.0, 4.0))))
    for level in judged.judged:
        point = level.point
        (part,) = judged.endpoints[point.level].parts
        assert (part.requests, part.failures) == (point.n_ok + point.n_failed, point.n_failed)
    assert re.search(r"\|\s*rate\s*\|\s*requirement\s*\|", markdown(gate(judged)))
