"""A search on a real server: probes hand over without draining, no request is lost, and a resumed one goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchsuite.analysis.probe import look, rows_of_probe
from benchsuite.load.find import FindRunner
from benchsuite.load.search import End, ProbeResult, Search, SearchSpec
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
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


def judge(table, level, start_s):
    n, rows = rows_of_probe(table, level, SLO, start_s)
    return n, None if rows is None else look(SLO, rows, level)


def search(url: str, folder: Path, *, workers: int = 2, most: int = 99) -> list[object]:
    """The planner's steps; stopped before the one after `most`."""
    steps: list[object] = []

    def on_step(step: object) -> None:
        if len(steps) == most:
            raise Stopped
        steps.append(step)

    tree = {
        "server": {"base_url": url, "profile": "openai", "model": "simulator"},
        "load": {"cooldown_min_s": 0, "workers": workers, "concurrency": [1]},
        "telemetry": {"gpu": "off"},
    }
    runner = partial(FindRunner, judge=judge, search=SEARCH, on_step=on_step)
    sweep(parse_spec(tree, where="test"), make_workload("w", PROMPTS), folder, View(), runner=runner)
    return steps


def numbers(run) -> list[int]:
    return [int(name.rpartition("-")[2]) for name in run.table["request_id"].to_pylist()]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A whole search with two workers, stopped after three probes and resumed."""
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


def test_a_resumed_search_goes_on_with_the_same_next_level(found):
    """Its first step is the planner's next after what lies in the manifest; no probe is measured again."""
    before, after, steps = found
    done = [ProbeResult.of(point.probe) for point in before.manifest.points]

    assert steps[0] == Search(SEARCH).next(done)
    assert isinstance(steps[-1], End)
    assert [point.probe for point in after.manifest.points][:3] == [point.probe for point in before.manifest.points]
    assert steps[-1] == Search(SEARCH).next([ProbeResult.of(point.probe) for point in after.manifest.points])
    assert before.manifest.search.end is None
    stored = after.manifest.search.end
    assert stored.reason == steps[-1].reason
    assert (stored.answer and stored.answer.level) == (steps[-1].answer and steps[-1].answer.level)


def test_the_answer_is_near_the_known_optimum(found):
    """A token every 1 ms + 0.1 ms x active: 5 ms at 40 users; a busy machine makes it slower, and never faster."""
    _, _, steps = found

    assert steps[-1].answer is None or steps[-1].answer.level <= 44
