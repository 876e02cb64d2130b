"""Open loop: every arrival has a row, none leaves before its time, and the clock of each runs from when it was due."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fault_plans import faults, stopped_children
from sweeps_for_tests import Watcher, column, prompts, run, spec_of

from benchsuite.errors import InputError, SpecError
from benchsuite.level import Level
from benchsuite.load.arrivals import schedule_hash
from benchsuite.load.schedule import open_loop, plan_points, replayed
from benchsuite.load.sweep import sweep
from benchsuite.report.judge import judge_run
from benchsuite.saturation import Saturation
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload
from tests.forked_simulator import simulator


def spec(url: str, rates: list[float], workers: int = 1, **arrivals: Any):
    """A spec of rates: short windows of constant gaps, unless arrivals say otherwise."""
    arrivals = {"arrival": "constant", "duration_s": 1.0, "warmup_s": 0.5, "tail_max_s": 2.0} | arrivals
    return spec_of(
        url, [], workers=workers, load={"rate": rates, "concurrency": ()} if rates else {"concurrency": (1,)},
        arrivals=arrivals, server={"base_url": url, "profile": "openai", "model": "simulator"},
    )  # fmt: skip


@pytest.fixture
def fast():
    """A server that answers at once."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.01))) as server:
        yield server.base_url


def times(found: Any, point: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When a point's requests were due, sent (NaN: never), and whether they are of the window."""
    due, sent, start, end = (
        np.array(column(found, name, point), dtype=float)
        for name in ("scheduled_s", "sent_s", "window_start_s", "window_end_s")
    )
    return due, sent, (due >= start) & (due < end)


@pytest.mark.parametrize("workers", [1, 4])
def test_every_arrival_has_a_row_and_leaves_in_time(workers: int, fast: str, tmp_path: Path) -> None:
    """Warm-up, window and tail go on without a gap, at the times of one schedule, whoever sends."""
    asked = spec(fast, [40.0], workers, arrival="poisson")
    result, found = run(asked, prompts(16, 2), tmp_path / "run")
    entry, due_sent = found.manifest.points[0], times(found, "q40-r0")
    due, sent, of_window = due_sent
    assert result.complete
    assert (entry.status, entry.rate_per_s, entry.concurrency) == ("complete", 40.0, None)
    assert set(column(found, "worker", "q40-r0")) == set(range(workers))
    plan = plan_points(asked.load, 16, found.manifest.run_id, asked.arrivals)[0]
    offsets_ns = plan.offsets_ns
    assert entry.schedule_sha256 == schedule_hash(offsets_ns)
    # the rows are the schedule, as far as the tail went
    start_s = column(found, "window_start_s", "q40-r0")[0]
    assert np.allclose(np.sort(due) - start_s, offsets_ns[: len(due)] / 1e9, atol=1e-6)
    assert np.count_nonzero(of_window) == plan.n_requests
    assert entry.client["n_issued"] == len(due)
    assert entry.client["n_measured"] == plan.n_requests
    assert (sent >= due)[~np.isnan(sent)].all()
    assert Counter(np.array(column(found, "status", "q40-r0"))[of_window]) == {"ok": plan.n_requests}
    assert len(set(column(found, "request_id", "q40-r0"))) == len(due)


def test_the_set_begins_anew_with_another_salt(fast: str, tmp_path: Path) -> None:
    """A schedule longer than the set sends its prompts again, and none finds its own prefix in a cache."""
    _, found = run(spec(fast, [30.0]), prompts(4, 1), tmp_path / "run")
    counts = Counter(column(found, "prompt_id", "q30-r0"))
    assert set(counts) == {"p0", "p1", "p2", "p3"}
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.fixture
def one_at_a_time():
    """A server that works on one request at a time, for 50 ms."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.05, slots=1))) as server:
        yield server.base_url


@pytest.mark.parametrize(("over", "status"), [("drop", "dropped"), ("wait", "ok")])
def test_what_is_one_too_many(over: str, status: str, one_at_a_time: str, tmp_path: Path) -> None:
    """With one request in flight at most, half of 40 a second are dropped, or wait with their clock running."""
    asked = spec(one_at_a_time, [40.0], max_in_flight=1, over=over)
    _, found = run(asked, prompts(8, 1), tmp_path / "run")
    due, sent, of_window = times(found, "q40-r0")
    client, statuses = found.manifest.points[0].client, np.array(column(found, "status", "q40-r0"))
    assert np.count_nonzero(of_window) == 40
    assert len(due) == client["n_issued"]
    assert Counter(statuses)["dropped"] == client["n_dropped"]
    if over == "drop":
        assert 10 <= np.count_nonzero(statuses[of_window] == "dropped") <= 35
        assert np.isnan(sent[statuses == "dropped"]).all()
        assert client["n_waited"] == 0
    else:
        assert set(statuses[of_window]) == {status}
        assert client["n_waited"] > 10
        assert np.nanmax((sent - due)[of_window]) > 0.3  # the wait is in front of the sending, and counted
    assert Saturation.of(found.manifest.points[0].saturation).saturated


def test_connections_are_there_before_the_first_request(tmp_path: Path) -> None:
    """As many as may be in flight, as the server counts them; none is opened while the requests are sent."""

    class Counting(Watcher):
        def begun(self, path: Path, manifest: Any) -> None:
            self.before = connections()

    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.2))) as server:

        def connections() -> int:
            return httpx.get(f"{server.base_url}/stats?summary", timeout=60).json()["connections"]

        view = Counting()
        asked = spec(server.base_url, [100.0], workers=2, max_in_flight=5, over="drop")
        _, found = run(asked, prompts(8, 1), tmp_path / "run", view)
        assert connections() - view.before == 5 + 1  # and that of the question
    assert found.manifest.points[0].client["connections_opened"] == 0
    assert {row["connection_reused"] for row in found.table.to_pylist() if row["status"] == "ok"} == {True}


def test_connections_that_are_opened_meanwhile_are_told(one_at_a_time: str, tmp_path: Path) -> None:
    """40 requests a second to a server of 20 need more and more: each is counted, and said."""
    _, found = run(spec(one_at_a_time, [40.0], tail="drain"), prompts(8, 1), tmp_path / "run")
    level, client = Level(40.0, "rate"), found.manifest.points[0].client
    warning = next(w for w in judge_run(found).clients[level].warnings(level) if w.code == "connections_opened")
    assert client["connections_opened"] >= 10
    assert warning.values["opened"] == client["connections_opened"]
    assert warning.values["requests"] == client["n_issued"] == 60


def test_a_process_that_stood_still_is_late(fast: str, tmp_path: Path) -> None:
    """What was due meanwhile leaves when it goes on, all of it, on the schedule's clock; and the client is blamed."""
    looks = []

    def go_on_at_the_third_look(*_: object) -> None:  # they are 0.25 s apart
        if stopped := stopped_children():
            looks.append(stopped)
            if len(looks) == 3:
                stopped[0].send_signal(signal.SIGCONT)

    with faults("send@worker-0:30:stop"):
        result, found = run(spec(fast, [40.0]), prompts(8, 1), tmp_path / "run", Watcher(go_on_at_the_third_look))
    due, sent, of_window = times(found, "q40-r0")
    assert result.complete
    assert np.count_nonzero(of_window) == 40
    assert np.nanmax((sent - due)[of_window]) > 0.4
    verdict = judge_run(found).clients[Level(40.0, "rate")]
    assert verdict.verdict == "client-bound"
    assert "late (p99)" in verdict.reasons[0]


def test_a_window_without_requests_is_refused(tmp_path: Path) -> None:
    """Before the server is asked: a window of 1 s, at a request in 100 s."""
    with pytest.raises(InputError, match="no request is due") as refused:
        run(spec("http://127.0.0.1:1", [0.01], arrival="poisson"), prompts(4, 1), tmp_path / "run")
    assert refused.value.hint == "--duration-s 10000"


def test_latency_counts_from_the_schedule_while_the_server_stands(tmp_path: Path) -> None:
    """A server that works on one request for 0.9 s: those due meanwhile waited, on the schedule's clock alone.

    10 requests a second with 50 ms of service, and one of 0.9 s: by hand, the k-th after it waits 0.85 - 0.05 k s.
    """
    asked_s = [0.05] * 20
    asked_s[3] = 0.9
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.05, itl_s=0.05, slots=1))) as server:
        made = [
            Prompt(f"p{i}", "x", ({"role": "user", "content": f"q{i}"},), None, 18 if s > 0.1 else 1, at_s=i / 10)
            for i, s in enumerate(asked_s)
        ]
        asked = spec(server.base_url, [], replay=True, max_in_flight=1, arrival="poisson")
        _, found = run(asked, make_workload("trace", made), tmp_path / "run")
    level = found.manifest.points[0].rate_per_s
    assert level == pytest.approx(10.0)
    rows = sorted(found.table.select(["prompt_id", "scheduled_s", "sent_s", "first_token_s"]).to_pylist(),
                  key=lambda row: row["scheduled_s"])  # fmt: skip
    from_due = [row["first_token_s"] - row["scheduled_s"] for row in rows]
    from_sent = [row["first_token_s"] - row["sent_s"] for row in rows]
    for k in range(1, 10):
        assert from_due[3 + k] > 0.85 - 0.05 * k
        assert from_sent[3 + k] < from_due[3 + k]


def test_a_trace_is_replayed_at_its_times(fast: str, tmp_path: Path) -> None:
    """From and to cut it, speed scales it, its order is its own, and resolved rates are in the spec."""
    made = [Prompt(f"p{i}", "x", ({"role": "user", "content": f"q{i}"},), None, 1, at_s=t)
            for i, t in enumerate((0.0, 1.0, 1.5, 3.0, 4.0, 9.0))]  # fmt: skip
    asked = spec(fast, [], replay=True, from_s=1.0, to_s=5.0, speed=[10.0], arrival="poisson")
    result, found = run(asked, make_workload("trace", made), tmp_path / "run")
    point = found.manifest.points[0].point_id
    due, _, of_window = times(found, point)
    assert result.complete
    assert of_window.all()
    order = np.argsort(due)
    assert [column(found, "prompt_id", point)[i] for i in order] == ["p1", "p2", "p3", "p4"]
    assert np.diff(np.sort(due)) == pytest.approx([0.05, 0.15, 0.1], abs=1e-6)
    again, _ = run(asked, make_workload("trace", made), tmp_path / "run")
    assert (again.complete, again.measured) == (True, 0)


@pytest.mark.parametrize(
    ("arrivals", "named"), [({}, "p1"), ({"from_s": 20.0}, "20 to inf s")], ids=["no times", "an empty part"]
)
def test_what_cannot_be_replayed(arrivals: dict[str, Any], named: str) -> None:
    """A set without times, and a part without requests, are refused with what was given."""
    times_s = [1.0, 1.0, 1.0] if arrivals else [1.0, None, None]
    made = [Prompt(f"p{i}", "x", ({"role": "user", "content": "q"},), None, 1, at_s=t)
            for i, t in enumerate(times_s)]  # fmt: skip
    asked = spec("http://127.0.0.1:1", [], replay=True, arrival="poisson", **arrivals)
    with pytest.raises(InputError) as found:
        replayed(asked, make_workload("t", made))
    assert named in str(found.value.given)


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_keeps_what_was_due(signals: int, one_at_a_time: str, tmp_path: Path) -> None:
    """What was due has a row, what waits too; once lets what is in flight finish, twice gives it up; resume goes on."""
    sent = []

    def stop(_: object, progress: Any) -> None:
        if progress.ended >= 3 and len(sent) < signals:
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    asked = spec(one_at_a_time, [15.0], duration_s=4.0, warmup_s=0.2, max_in_flight=2)
    result = sweep(asked, prompts(8, 1), tmp_path / "run", Watcher(stop))
    found = read_run(tmp_path / "run")
    entry, statuses = found.manifest.points[0], column(found, "status", "q15-r0")
    assert not result.complete
    assert entry.status == "stopped"
    assert len(statuses) == entry.client["n_issued"]
    assert set(statuses) <= {"ok", "cancelled"}
    again = sweep(asked, prompts(8, 1), tmp_path / "run", Watcher())
    assert (again.complete, again.measured) == (True, 1)


def test_two_saturated_rates_end_the_sweep(one_at_a_time: str, tmp_path: Path) -> None:
    """20 a second is the server's capacity: 40 and 60 saturate it, 80 is not measured, nor planned any more."""
    view = Watcher()
    asked = spec(one_at_a_time, [5.0, 40.0, 60.0, 80.0], duration_s=2.0, warmup_s=0.3, tail="drain")
    result, found = run(asked, prompts(8, 1), tmp_path / "run", view)
    verdicts = {e.rate_per_s: Saturation.of(e.saturation).saturated for e in found.manifest.points}
    assert result.complete
    assert verdicts == {5.0: False, 40.0: True, 60.0: True}
    assert found.manifest.planned_points == ["q5-r0", "q40-r0", "q60-r0"]
    assert any("--past-saturation" in note for note in view.notes)
    seen = Watcher()
    again, _ = run(asked, prompts(8, 1), tmp_path / "run", seen)
    assert (again.complete, again.measured) == (True, 0)
    assert seen.notes == ["all points are already measured; the run is judged again"]  # no server was asked


def test_a_schedule_is_of_its_seed_alone() -> None:
    """Warm-up and tail change nothing within the window; another repeat or seed changes it."""

    def offsets(seed: int = 1, repeat: int = 0, **arrivals: Any) -> list[int]:
        asked = spec("http://127.0.0.1:1", [20.0], arrival="poisson", **arrivals)
        load = asked.load.model_copy(update={"random_seed": seed, "repeats": 2})
        plan = plan_points(load, 4, "r", asked.arrivals)[repeat]
        assert plan.open_loop == open_loop(asked.arrivals, load.levels[0])
        due = plan.offsets_ns
        return due[(due >= 0) & (due < 1_000_000_000)].tolist()

    assert offsets() == offsets(warmup_s=9.0, tail_max_s=0.0)
    assert offsets() != offsets(seed=2)
    assert offsets() != offsets(repeat=1)


def test_figures_of_saturation_that_a_manifest_lacks():
    """Of another version, or of a run folder that somebody changed: not known."""
    figures = {"tau": 0.9, "unserved": 0.5, "dropped": 0.0}
    assert Saturation.of(figures).saturated
    assert [Saturation.of(one) for one in ({}, {"tau": 0.9}, figures | {"dropped": None})] == [None] * 3


WRONG = [
    ({"load": {"rate": [1], "concurrency": [8]}}, "not both"),
    ({"load": {"rate": [0]}}, "a rate is a number from"),
    ({"load": {"rate": [1, 1.0000001]}}, "no rate twice"),
    ({"arrivals": {"replay": True, "speed": [2, 2.000001]}}, "no speed twice"),
    ({"load": {"rate": [1], "max_request_rate": 2}}, "caps a closed loop"),
    ({"arrivals": {"arrival": "gamma"}}, "is of an open loop"),
    ({"load": {"rate": [1]}, "arrivals": {"burstiness": 2}}, "--arrival gamma"),
    ({"load": {"rate": [1]}, "arrivals": {"over": "drop"}}, "max_in_flight"),
    ({"load": {"rate": [1], "workers": 4}, "arrivals": {"max_in_flight": 3}}, "4 or more"),
    ({"load": {"rate": [1]}, "arrivals": {"speed": [2]}}, "--replay"),
    ({"load": {"rate": [1]}, "arrivals": {"rate_profile": "waves 1"}}, "ramp 0.5 1.5"),
    ({"arrivals": {"replay": True, "rate_profile": "ramp 1 2"}}, "its own times"),
]


@pytest.mark.parametrize(("tree", "named"), WRONG, ids=[named for _, named in WRONG])
def test_specs_that_are_refused(tree: dict[str, Any], named: str) -> None:
    """Each names what does not go together."""
    with pytest.raises(SpecError) as found:
        parse_spec({"server": {"base_url": "http://127.0.0.1:1"}} | tree, where="test")
    assert named in str(found.value)
