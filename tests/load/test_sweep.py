"""Whole sweeps against servers whose behaviour is known: every request is accounted for, whatever happens."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from fault_plans import faults, while_stopped
from sweeps_for_tests import Watcher, column, each_once, most_in_flight, prompts, run, spec_of

from benchsuite.errors import InputError, RunError
from benchsuite.load.sweep import SweepRunner, sweep
from benchsuite.manifest import RunManifest
from benchsuite.progress import PlannedPoint
from benchsuite.results import Level
from benchsuite.simulator.config import Fault, LatencyModel, ResponseShape, SimulatorConfig
from benchsuite.simulator.server import drawn_fault, simulator
from benchsuite.store.run_folder import new_run_id, read_run

LATENCY = LatencyModel(ttft_s=0.01, itl_s=0.004)


@pytest.fixture(scope="module")
def server():
    """A simulator: first token after 10 ms, then one every 4 ms."""
    with simulator(SimulatorConfig(latency=LATENCY)) as running:
        yield running


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_once(server, tmp_path, workers):
    """Each point sends every prompt once, keeps its level in flight, and gets the tokens that it asked for."""
    view = Watcher()
    spec = spec_of(server.base_url, [1, 4, 8], workers=workers, load={"repeats": 2, "concurrency": [1, 8]})
    result, found = run(spec, prompts(24), tmp_path / "run", view)
    points = ["c0001-r0", "c0008-r0", "c0001-r1", "c0008-r1"]
    assert sorted(point for point, _ in view.done) == sorted(points)
    assert found.table.num_rows == 4 * 24
    for point in points:
        assert each_once(found, point, 24)
        # a measuring process that the machine keeps waiting sends late
        assert (int(point[1:5]) // 2 if workers == 1 else 0) < most_in_flight(found, point) <= int(point[1:5])
    assert set(column(found, "status")) == {"ok"}
    assert column(found, "output_tokens") == column(found, "asked_output_tokens") == column(found, "n_chunks")
    assert set(column(found, "token_source")) == {"usage"}
    assert len(set(column(found, "request_id"))) == 4 * 24
    assert set(column(found, "worker")) <= set(range(workers))
    assert (result.complete, found.manifest["status"], found.manifest["workers"]) == (True, "complete", workers)
    assert [p["status"] for p in found.manifest["points"]] == ["complete"] * 4
    assert [p["server"]["generated_tokens"] for p in found.manifest["points"]] == [108.0] * 4
    written = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert RunManifest.read(written, "manifest.json") == found.manifest


def test_times_follow_the_law(server, tmp_path):
    """No token is seen before it was due at the server."""
    _, found = run(spec_of(server.base_url, [4]), prompts(16, tokens=5), tmp_path / "run")
    for row in found.table.to_pylist():
        assert row["scheduled_s"] <= row["sent_s"] <= row["headers_s"] <= row["first_token_s"]
        assert row["first_token_s"] <= row["last_token_s"] <= row["closed_s"]
        assert row["first_token_s"] - row["sent_s"] >= 0.0099
        assert row["last_token_s"] - row["sent_s"] >= 0.0259
        assert len(row["chunk_gap_us"]) == 4
        assert sum(row["chunk_gap_us"]) == pytest.approx((row["last_token_s"] - row["first_token_s"]) * 1e6, abs=2)


def test_warm_up_leaves_no_row(server, tmp_path):
    """A warm-up sends its requests over and over as told, and is told in the manifest only."""
    spec = spec_of(server.base_url, [2], load={"warmup_requests": 7, "concurrency": [2]})
    _, found = run(spec, prompts(3), tmp_path / "run")
    (point,) = found.manifest["points"]
    assert (point["warmup"]["n_ok"], point["warmup"]["n_failed"]) == (7, 0)
    assert each_once(found, "c0002-r0", 3)


# What each fault of the server makes of a request.
FAULTS = {
    "reset": "stream_error",
    "cut": "truncated",
    "truncated": "truncated",
    "stall": "timeout",
    "error_event": "stream_error",
    "malformed": "stream_error",
    "huge_line": "ok",
    "wrong_usage": "ok",
    "slow_headers": "ok",
    "garbage_status": "stream_error",
    "http_429": "http_error",
    "http_500": "http_error",
    "http_503": "http_error",
}
SEED, N = 16, 60  # a seed with which every fault is drawn, and none for the preflight's two requests


def test_faults_are_rows(tmp_path):
    """A server that fails in every way loses no request: each has its row, with the right status."""
    faults = tuple(
        Fault(kind=kind, probability=0.07, delay_s=30.0 if kind == "stall" else 0.05, size_bytes=300_000)
        for kind in FAULTS
    )
    config = SimulatorConfig(latency=LatencyModel(itl_s=0.001), faults=faults, seed=SEED)
    drawn = [drawn_fault(config, i) for i in range(2 + N)]
    assert drawn[:2] == [None, None]  # the preflight's requests
    expected = Counter(FAULTS[fault.kind] if fault else "ok" for fault in drawn[2:])
    assert {fault.kind for fault in drawn if fault} == set(FAULTS)
    with simulator(config) as server:
        spec = spec_of(server.base_url, [8], timeouts={"idle_s": 3.0})
        result, found = run(spec, prompts(N, tokens=4), tmp_path / "run")
    assert result.complete
    assert each_once(found, "c0008-r0", N)
    assert Counter(column(found, "status")) == expected
    for row in found.table.to_pylist():
        assert (row["error"] is None) == (row["status"] == "ok")
        assert row["status"] == "ok" or row["token_source"] in ("usage", None)
    assert Counter(column(found, "http_status"))[429] == sum(f is not None and f.kind == "http_429" for f in drawn)


def test_a_server_that_hangs_up_is_asked_again(tmp_path):
    """A server that closes each connection behind its response costs fresh connections, and no request."""
    with simulator(SimulatorConfig(latency=LATENCY, response=ResponseShape(keep_alive=False))) as server:
        _, found = run(spec_of(server.base_url, [4]), prompts(20), tmp_path / "run")
    assert set(column(found, "status")) == {"ok"}
    assert set(column(found, "connection_reused")) == {False}
    assert most_in_flight(found, "c0004-r0") == 4


def test_no_success_ends_the_sweep(tmp_path):
    """When no request of a point succeeds the sweep ends there, and the failed rows stay."""
    # with this seed all requests but the preflight's two fail
    config = SimulatorConfig(latency=LATENCY, faults=(Fault(kind="http_503", probability=0.9),), seed=56)
    with simulator(config) as server, pytest.raises(RunError) as failed:
        sweep(spec_of(server.base_url, [2, 4]), prompts(8), tmp_path / "run", Watcher())
    assert failed.value.what == "no request of the point succeeded; the sweep ends here"
    assert failed.value.given.startswith("http_error: HTTP 503: ")
    found = read_run(tmp_path / "run")
    assert (column(found, "status"), found.manifest["status"]) == (["http_error"] * 8, "failed")
    assert [p["status"] for p in found.manifest["points"]] == ["failed"]


@pytest.mark.parametrize(("presses", "ends"), [(1, {"ok"}), (2, {"ok", "cancelled"})])
def test_ctrl_c(tmp_path, presses, ends):
    """Ctrl-C once lets what is in flight finish, twice gives it up; every request that was sent has its row."""

    def press():
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)

    view = Watcher(while_stopped(press))
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.01, itl_s=0.1))) as server, faults("batch:2:stop"):
        result, found = run(spec_of(server.base_url, [4, 8], workers=2), prompts(200, tokens=3), tmp_path / "run", view)
        http_sent = len({*column(found, "request_id")})
    assert len(view.notes) == 1 + presses  # how long it takes
    assert not result.complete
    assert found.manifest["status"] == "stopped"
    assert [p["status"] for p in found.manifest["points"]] == ["stopped"]
    assert set(column(found, "status")) == ends
    assert 4 <= found.table.num_rows == http_sent < 200
    assert max(Counter(column(found, "prompt_id")).values()) == 1


def test_stopped_in_the_warm_up(tmp_path):
    """Nothing of the point is measured then: no row, and only what the warm-up had sent was asked of the server."""

    class Stop(Watcher):
        pressed = False

        def progress(self, step, progress, elapsed_s):
            if step.phase == "warming up" and progress.done and not self.pressed:
                self.pressed = True
                signal.raise_signal(signal.SIGTERM)

    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.02, itl_s=0.01))) as server:
        spec = spec_of(server.base_url, [2], load={"warmup_requests": 5000})
        result, found = run(spec, prompts(8), tmp_path / "run", Stop())
    assert (result.complete, found.manifest["status"], found.table.num_rows) == (False, "stopped", 0)
    (point,) = found.manifest["points"]
    assert point["status"] == "stopped"
    assert 0 < point["warmup"]["n_ok"] < 5000
    assert "started_s" not in point


def test_a_killed_worker(tmp_path, server):
    """A measuring process that is killed ends the run with an error, keeps finished rows, and hangs nothing."""

    def kill():
        multiprocessing.active_children()[0].kill()

    view = Watcher(while_stopped(kill))
    with faults("batch:2:stop"), pytest.raises(RunError) as failed:
        sweep(spec_of(server.base_url, [6, 9], workers=2), prompts(900, tokens=2), tmp_path / "run", view)
    assert failed.value.what == "a measuring process died; its finished rows are kept"
    assert (failed.value.given, failed.value.exit_code) == ("exit code -9", 1)
    found = read_run(tmp_path / "run")
    assert found.manifest["status"] == "failed"
    assert [p["status"] for p in found.manifest["points"]] == ["failed"]
    assert 3 <= found.table.num_rows < 900
    assert max(Counter(column(found, "prompt_id")).values()) == 1
    assert len(set(column(found, "worker"))) == 2
    assert not multiprocessing.active_children()


def test_a_worker_killed_between_points(tmp_path, server):
    """A measuring process that dies while nothing runs is the same error, at the next point."""
    view = Watcher()

    def kill(step, rows, wall_s):
        victim = multiprocessing.active_children()[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(10)

    view.point_done = kill
    with pytest.raises(RunError) as failed:
        sweep(spec_of(server.base_url, [2, 4], workers=2), prompts(8), tmp_path / "run", view)
    assert failed.value.what == "a measuring process died; its finished rows are kept"
    assert read_run(tmp_path / "run").table.num_rows == 8


@pytest.mark.parametrize(
    ("over", "most_s", "stopping", "shown"),
    [(True, 300.0, False, 0), (None, 300.0, False, 0), (False, 0.0, False, 0), (False, 300.0, True, 1)],
)
def test_waits(over: bool | None, most_s: float, stopping: bool, shown: int):
    """A wait ends at once when it is over or nobody can tell, else at its limit or when the sweep stops."""
    seen: list[str] = []
    view = SimpleNamespace(progress=lambda point, _progress, _elapsed_s: seen.append(point.phase))
    runner: Any = SimpleNamespace(view=view, _pool=SimpleNamespace(stopping=stopping))
    point = PlannedPoint(0, 1, "c1_r0", Level(1), 0, "measuring", 8)
    waited_s, said = SweepRunner._wait(runner, point, "waiting", lambda: over, most_s=most_s)
    assert (said, seen) == (over, ["waiting"] * shown)
    assert waited_s < 300


def test_a_level_beyond_the_set(server, tmp_path):
    """A level that the set cannot keep busy is refused before anything is sent or written."""
    with pytest.raises(InputError) as refused:
        sweep(spec_of(server.base_url, [4, 9]), prompts(8), tmp_path / "run", Watcher())
    assert refused.value.given == "level 9 with 8 requests"
    assert refused.value.hint == "--requests 90, or lower levels"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "slug"), [("org/Llama-3.1 8B", "llama-3-1-8b"), ("..", "model"), ("模型", "model"), ("x" * 99, "x" * 40)]
)
def test_run_ids(model, slug):
    """A run's name says when and which model, in letters that every file system takes."""
    when, rest = new_run_id(model).split("-", 1)
    assert (len(when), when[8], when[-1]) == (16, "T", "Z")
    assert rest[:-5] == slug


@pytest.mark.engine
def test_the_embedded_engine(tmp_path):
    """A real engine, llama.cpp, at 1, 8 and 32 users: every request once, its tokens as asked and as it counts them."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    from benchsuite.serving.launch import launched
    from benchsuite.serving.launch_plan import parse_serve

    with launched(parse_serve("llamacpp --slots 32 --ctx 256")) as engine:
        spec = spec_of(engine.base_url, [1, 8, 32], workload={"fixed_length": True})
        result, found = run(spec, prompts(64, tokens=24), tmp_path / "run")
    assert result.complete
    for level in (1, 8, 32):
        point = f"c{level:04d}-r0"
        assert each_once(found, point, 64)
        assert 0 < most_in_flight(found, point) <= level  # a busy machine sends late
    assert set(column(found, "status")) == {"ok"}
    assert column(found, "output_tokens") == column(found, "asked_output_tokens")
    assert [p["server"]["generated_tokens"] for p in found.manifest["points"]] == [64.0 * 24] * 3
    assert found.manifest["server_probe"]["profile"] == "llamacpp"
