"""A search on a real server: probes hand over without draining, no request is lost, and a resumed one goes on."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fault_plans import faults

from benchsuite.analysis.probe import look, rows_of_probe
from benchsuite.analysis.requests import level_rows
from benchsuite.errors import RunError, SpecError
from benchsuite.load.arrivals import unending
from benchsuite.load.find import FindRunner, continued
from benchsuite.load.search import End, ProbeResult, Search, SearchSpec
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.report.judge import judge_run
from benchsuite.saturation import Saturation
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.slo import parse_slo
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload

SLO = parse_slo("decode_throughput>200")
SEARCH = SearchSpec(budget_s=60.0, high=96.0)
PROMPTS = [Prompt(f"p{i}", "x", ({"role": "user", "content": f"question {i}"},), None, 20 + i % 40) for i in range(100)]
ENGINE = SimulatorConfig(latency=LatencyModel(ttft_s=0.005, itl_s=0.001, itl_per_stream_s=0.0001, slots=256))


class Stopped(Exception):
    """As if the process were killed."""


SHORT = [dataclasses.replace(prompt, max_output_tokens=1) for prompt in PROMPTS]
# requests that are worked on one at a time, for 30 ms: at most 33 a second; 22.2 a second wait for 30 ms on average
ONE_AT_A_TIME = SimulatorConfig(latency=LatencyModel(ttft_s=0.03, slots=1))
RATE_SLO = parse_slo("ttft_mean<60ms")
RATES = SearchSpec("rate", low=0.1, high=200.0, start=20.0, budget_s=45.0, settle_s=0.5, window_s=3.0)


def judge(slo, table, level, start_s):
    n, rows = rows_of_probe(table, level, slo, start_s)
    return n, None if rows is None else look(slo, rows, level)


def search(
    url: str, folder: Path, spec: SearchSpec = SEARCH, *, workers: int = 2, most: int = 99, **arrivals: Any
) -> list[object]:
    """The planner's steps; stopped before the one after `most`."""
    steps: list[object] = []
    rates = spec.kind == "rate"

    def on_step(step: object) -> None:
        if len(steps) == most:
            raise Stopped
        steps.append(step)

    tree = {
        "server": {"base_url": url, "profile": "openai", "model": "simulator"},
        "load": {"cooldown_min_s": 0, "workers": workers} | ({"rate": [20]} if rates else {"concurrency": [1]}),
        "telemetry": {"gpu": "off"},
    }
    if rates:
        tree["arrivals"] = {"warmup_s": spec.settle_s, "duration_s": spec.window_s} | arrivals
    runner = partial(FindRunner, judge=partial(judge, RATE_SLO if rates else SLO), search=spec, on_step=on_step)
    sweep(
        parse_spec(tree, where="test"), make_workload("w", SHORT if rates else PROMPTS), folder, View(), runner=runner
    )
    return steps


def planner(search: SearchSpec, run) -> Search:
    """That of the run's last session, which knows what attempts cost that came to nothing."""
    return Search(continued(search, None, run.manifest)[0])


def counted(run):
    return [point for point in run.manifest.points if point.probe is not None]


def numbers(run) -> list[int]:
    return [int(name.rpartition("-")[2]) for name in run.table["request_id"].to_pylist()]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A whole search with two workers, stopped as its third probe was to hand over, and resumed."""
    folder = tmp_path_factory.mktemp("find") / "run"
    with simulator(ENGINE) as server:
        with pytest.raises(Stopped):
            search(server.base_url, folder, most=3)
        before = read_run(folder)
        steps = search(server.base_url, folder)
    return before, read_run(folder), steps


def test_no_request_is_lost_at_a_hand_over(found):
    """Until it was stopped, every number from 0 on is in one point, once, and every row says its point's window; that
    of the probe in which it was stopped has not ended."""
    before, _, _ = found
    points = [point.point_id for point in before.manifest.points]

    assert sorted(numbers(before)) == list(range(before.table.num_rows))
    assert [point[:3] for point in points] == ["f01", "f02", "f03"]
    assert set(before.table["point_id"].to_pylist()) == set(points)
    rows = before.table.to_pylist()
    windows = {(row["point_id"], row["window_start_s"], row["window_end_s"]) for row in rows}
    assert len(windows) == 3
    assert [one[1] is None or one[1] < one[2] for one in sorted(windows, key=str)] == [True] * 3
    assert [one[1] is None for one in sorted(windows, key=str)] == [False, False, True]


def test_the_server_is_never_drained(found):
    """From the first window to the last answer of the second probe, requests were in flight all the time."""
    before, _, _ = found
    rows = sorted((row["sent_s"], row["closed_s"]) for row in before.table.to_pylist())

    reach_s = 0.0
    for sent_s, closed_s in rows[1:]:
        assert reach_s == 0.0 or sent_s < reach_s + 0.2
        reach_s = max(reach_s, closed_s)


def test_a_probe_is_measured_while_the_last_requests_of_the_one_before_end(tmp_path, monkeypatch):
    """Its window begins before they have ended, where one answer of twenty takes ten times as long as the others."""
    sets = [
        prompt if i % 20 else dataclasses.replace(prompt, max_output_tokens=400) for i, prompt in enumerate(PROMPTS)
    ]
    monkeypatch.setitem(globals(), "PROMPTS", sets)
    with simulator(ENGINE) as server:
        search(server.base_url, tmp_path / "run", dataclasses.replace(SEARCH, budget_s=6.0))
    run = read_run(tmp_path / "run")
    by_point = {point.point_id: [] for point in run.manifest.points}
    for row in run.table.to_pylist():
        by_point[row["point_id"]].append(row)
    assert len(by_point) > 1
    assert all(point.probe for point in run.manifest.points)
    for rows in by_point.values():  # and after as many of its own as it has users, not of the one before
        assert sum(row["closed_s"] <= row["window_start_s"] for row in rows) >= rows[0]["concurrency"]
    assert any(
        after[0]["window_start_s"] < max(row["closed_s"] for row in before)
        for before, after in itertools.pairwise(by_point.values())
    )


def test_a_resumed_search_goes_on_with_the_same_next_level(found):
    """Its first step is the planner's next after the probes whose last row was on the disk: none of them is measured
    again, and the one that was cut short is."""
    before, after, steps = found
    first, second, cut = before.manifest.points
    done, again = [ProbeResult.of(point.probe) for point in (first, second)], after.manifest.points[3]

    assert (cut.status, cut.probe) == ("failed", None)
    assert (again.point_id, again.attempt, again.status) == (cut.point_id, 1, "complete")
    assert after.manifest.points[2].ended_s is not None
    assert steps[0] == planner(SEARCH, after).next(done)
    assert isinstance(steps[-1], End)
    assert [point.probe for point in after.manifest.points][:2] == [first.probe, second.probe]
    assert steps[-1] == planner(SEARCH, after).next([ProbeResult.of(point.probe) for point in counted(after)])
    assert after.manifest.planned_points == [point.point_id for point in counted(after)]
    assert before.manifest.search.end is None
    stored = after.manifest.search.end
    assert stored.reason == steps[-1].reason
    assert (stored.answer and stored.answer.level) == (steps[-1].answer and steps[-1].answer.level)


def test_the_answer_is_a_level_that_was_measured_to_keep_the_slo(found):
    """Which it is depends on the machine too: users that wait for a busy one leave the server fewer to serve at once.
    On paper it is 40, which test_search.py holds in virtual time."""
    _, after, steps = found
    answer = steps[-1].answer
    if answer is not None and answer.p_met > 0.5:
        measured = [ProbeResult.of(point.probe) for point in after.manifest.points if point.probe]
        margins = [one.least for one in measured if one.level == answer.level and one.timed]
        assert sum(margins) / len(margins) > 0


def arrivals_of(run, place: int) -> tuple[list[dict[str, Any]], list[float], float]:
    """The rows of a probe of a rate, by their number; when all arrivals of its schedule would be due; its beginning."""
    point, seed = run.manifest.points[place], run.manifest.spec["load"]["random_seed"] + place
    names = ["point_id", "request_id", "worker", "scheduled_s", "sent_s", "closed_s", "status", "rate_per_s"]
    names += ["window_start_s", "window_end_s"]
    rows = [row for row in run.table.select(names).to_pylist() if row["point_id"] == point.point_id]
    for row in rows:
        row["number"] = int(row["request_id"].rpartition("-")[2])
    parts = unending("poisson", point.rate_per_s, shape=1.0, seed=seed)
    due_s = [ns / 1e9 for _ in range(4) for ns in next(parts).tolist()]
    begun_s = rows[0]["scheduled_s"] - due_s[rows[0]["number"]]
    return sorted(rows, key=lambda row: row["number"]), [begun_s + at_s for at_s in due_s], begun_s


@pytest.fixture(scope="module")
def found_rates(tmp_path_factory):
    """A search of rates with two workers, stopped after three probes and resumed."""
    folder = tmp_path_factory.mktemp("find") / "rates"
    with simulator(ONE_AT_A_TIME) as server:
        with pytest.raises(Stopped):
            search(server.base_url, folder, RATES, most=3)
        before = read_run(folder)
        steps = search(server.base_url, folder, RATES)
    return before, read_run(folder), steps


def test_arrivals_of_one_rate_follow_those_of_the_one_before(found_rates):
    """Each process has a row for every arrival of its share, at its time, until the next probe begins, whose first is
    that of its own schedule; the window begins when it has settled."""
    before, _, _ = found_rates
    points = before.manifest.points

    assert len({row["request_id"] for row in before.table.to_pylist()}) == before.table.num_rows
    for place, point in enumerate(points[:2]):
        rows, due_s, begun_s = arrivals_of(before, place)
        after, _, next_s = arrivals_of(before, place + 1)
        until_s = rows[0]["window_end_s"] if point.probe["saturated"] else next_s
        for worker in (0, 1):
            own = [row["number"] for row in rows if row["worker"] == worker]
            assert own == [*range(worker, own[-1] + 1, 2)]
            assert due_s[own[-1] + 2] >= until_s
        for row in rows:
            assert row["scheduled_s"] == pytest.approx(due_s[row["number"]], abs=1e-6)
            assert row["sent_s"] is None or row["sent_s"] >= row["scheduled_s"]
        assert after[0]["number"] == 0
        assert {row["rate_per_s"] for row in rows} == {point.rate_per_s}
        assert [*{row["window_start_s"] for row in rows}] == [pytest.approx(begun_s + RATES.settle_s, abs=1e-6)]
        assert rows[0]["window_end_s"] >= rows[0]["window_start_s"] + RATES.window_s
        assert point.client["n_issued"] == len(rows)


def test_a_rate_that_saturates_has_missed(found_rates):
    """40 a second are more than 33, as the planner's second probe is: it has no margins; what queued up is given up, a
    row each, before the next probe sends anything; the run's other readers find the same."""
    _, after, _ = found_rates
    place = next(i for i, point in enumerate(after.manifest.points) if point.probe and point.probe["saturated"])
    point, rows = after.manifest.points[place], arrivals_of(after, place)[0]

    assert all(one.probe["saturated"] for one in after.manifest.points if one.probe and one.rate_per_s >= 40)
    assert (point.status, point.probe["verdict"], point.probe["margins"]) == ("complete", "missed", {})
    assert Saturation.of(point.saturation).saturated
    assert {row["status"] for row in rows} == {"ok", "cancelled"}
    assert max(row["closed_s"] or 0.0 for row in rows) <= arrivals_of(after, place + 1)[0][0]["scheduled_s"]
    assert next(one for one in level_rows(after.whole) if one.level.number == point.rate_per_s).saturated
    judged = next(one for one in judge_run(after).judged if one.point.level.number == point.rate_per_s)
    codes = {warning.code for warning in judged.point.warnings}
    assert "saturated" in codes
    assert "errors" not in codes


def test_a_resumed_search_of_rates_goes_on(found_rates):
    """With the planner's next after what lies in the manifest; its answer is no rate that the server cannot serve."""
    before, after, steps = found_rates
    done = [ProbeResult.of(point.probe) for point in counted(before)]

    assert 0 < len(done) == len(before.manifest.points) - 1  # the last had not ended
    assert steps[0] == planner(RATES, after).next(done)
    assert steps[-1] == planner(RATES, after).next([ProbeResult.of(point.probe) for point in counted(after)])
    assert steps[-1].answer is None or steps[-1].answer.level < 1 / 0.03


def test_a_killed_process_leaves_each_arrival_once(tmp_path):
    """The rows of the one that is left are whole, those of the dead one are its first; a resume measures it again."""
    with simulator(ONE_AT_A_TIME) as server:
        with faults("send@worker-1:60:kill"), pytest.raises(RunError, match="a measuring process died"):
            search(server.base_url, tmp_path / "run", RATES)
        cut = read_run(tmp_path / "run")
        with pytest.raises(Stopped):
            search(server.base_url, tmp_path / "run", RATES, most=len(cut.manifest.points) + 1)
    rows = [row for place in range(len(cut.manifest.points)) for row in arrivals_of(cut, place)[0]]
    after = read_run(tmp_path / "run").manifest.points

    assert sum(row["worker"] == 1 for row in rows) == 60 - cut.manifest.points[-1].client["n_lost"] < 60
    for place in range(len(cut.manifest.points)):
        mine = [row["number"] for row in arrivals_of(cut, place)[0] if row["worker"] == 0]
        assert mine == [*range(0, 2 * len(mine), 2)]
    assert len({row["request_id"] for row in rows}) == len(rows)
    assert [(point.point_id, point.attempt) for point in after if point.status == "abandoned"] == [
        (cut.manifest.points[-1].point_id, 0)
    ]


def test_a_server_that_goes_away_is_no_miss_of_its_level(monkeypatch, tmp_path):
    """The probe in which it was killed is measured again once it is back, and only then counts."""
    killed, back, answer = [], [], FindRunner._servers_answer
    with simulator(ENGINE) as server, ExitStack() as stack:

        def comes_back(runner):
            if killed and not back and not answer(runner):
                stack.enter_context(simulator(ENGINE.model_copy(update={"port": server.port})))
                back.append(True)
                return False
            return answer(runner)

        def kill(runner, step, *_):
            if step.level > 32 and not killed:
                killed.append(step.level)
                os.kill(server.pid, signal.SIGKILL)
            return watch(runner, step, *_)

        watch = FindRunner._watch
        monkeypatch.setattr(FindRunner, "_watch", kill)
        monkeypatch.setattr(FindRunner, "_servers_answer", comes_back)
        with pytest.raises(Stopped):
            search(server.base_url, tmp_path / "run", most=5)
    tries = [point for point in read_run(tmp_path / "run").manifest.points if point.concurrency == killed[0]]

    assert [(one.attempt, one.status, one.probe is None) for one in tries][:2] == [
        (0, "failed", True), (1, "complete", False),
    ]  # fmt: skip


def test_what_is_dropped_misses(tmp_path):
    """Of 60 requests a second with two in flight at most, a third cannot be sent: the rate is saturated."""
    with simulator(ONE_AT_A_TIME) as server, pytest.raises(Stopped):
        asked = dataclasses.replace(RATES, start=60.0)
        search(server.base_url, tmp_path / "run", asked, most=1, max_in_flight=2, over="drop")
    found = read_run(tmp_path / "run")
    rows, _, _ = arrivals_of(found, 0)

    assert found.manifest.points[0].probe["saturated"]
    assert {row["status"] for row in rows} >= {"ok", "dropped"}
    assert {row["number"] for row in rows} == set(range(len(rows)))


def test_the_first_rate_is_that_of_a_closed_loop(tmp_path):
    """7/10 of what the server does for 32 users, which is not above 33 a second, counted at moments between
    which some end; the manifest says what was sent."""
    with simulator(ONE_AT_A_TIME) as server, pytest.raises(Stopped):
        search(server.base_url, tmp_path / "run", dataclasses.replace(RATES, start=None), most=2)
    first, _ = read_run(tmp_path / "run").manifest.points

    assert 0.1 <= first.rate_per_s <= 1.1 * 0.7 / 0.03
    assert first.warmup["n_ok"] >= 4 * 32
    assert first.probe["seconds"] > first.warmup["duration_s"]


@pytest.mark.parametrize("arrivals", [{"rate_profile": "ramp 0.5 1.5"}, {"replay": True}])
def test_a_search_is_of_even_rates(arrivals):
    """A profile and a trace have no one rate."""
    tree = {"server": {"base_url": "http://127.0.0.1:1"}, "find": {"variable": "rate"}, "arrivals": arrivals}
    with pytest.raises(SpecError, match=f"arrivals.{next(iter(arrivals))}: .* a search has constant rates alone"):
        parse_spec(tree, where="test")
