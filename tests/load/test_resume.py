"""A run taken up again: only what is missing is measured, and only where it is the same measurement."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_plans import faults, while_stopped
from sweeps_for_tests import Watcher, column, prompts, run, spec_of

from benchsuite import fault_points
from benchsuite.clock import Anchor, ClockMark, boot_id
from benchsuite.errors import InputError
from benchsuite.load import sweep as conductor
from benchsuite.load.schedule import plan_points, remaining
from benchsuite.load.sweep import continued_origin
from benchsuite.manifest import PointEntry, RunManifest
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import LoadSpec
from benchsuite.store.run_folder import read_run, recover

LATENCY = LatencyModel(ttft_s=0.005, itl_s=0.002)


@pytest.fixture(scope="module")
def server():
    """A fast simulator."""
    with simulator(SimulatorConfig(latency=LATENCY)) as running:
        yield running


@pytest.fixture(scope="module")
def measured(server, tmp_path_factory) -> Path:
    """A whole run of one level."""
    path = tmp_path_factory.mktemp("measured") / "run"
    run(spec_of(server.base_url, [2]), prompts(8), path)
    return path


@pytest.fixture
def whole(measured, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(measured, tmp_path / "run"))


def stopped_in_the_second_point(server, path: Path) -> None:
    """Ctrl-C in the middle of the second of three points."""
    press = while_stopped(lambda: signal.raise_signal(signal.SIGINT))
    with faults("batch.2:2:stop"):
        result, _ = run(spec_of(server.base_url, [1, 2, 4]), prompts(60), path, Watcher(press))
    assert not result.complete


def test_only_what_is_missing_is_measured(server, tmp_path):
    """The stopped point is measured again whole, the next for the first time; the first point's rows are untouched."""
    stopped_in_the_second_point(server, tmp_path / "run")
    before = read_run(tmp_path / "run")
    (done, cut) = [p["point_id"] for p in before.manifest["points"]]
    n_cut = column(before, "point_id").count(cut)
    assert 2 <= n_cut < 60
    view = Watcher()
    result, found = run(spec_of(server.base_url, [1, 2, 4]), prompts(60), tmp_path / "run", view)
    assert (result.complete, result.measured, found.manifest["status"]) == (True, 2, "complete")
    assert [point for point, _ in view.done] == [p for p in found.manifest["planned_points"] if p != done]
    rows = Counter(zip(column(found, "point_id"), column(found, "attempt"), strict=True))
    (new,) = set(found.manifest["planned_points"]) - {done, cut}
    assert rows == {(done, 0): 60, (cut, 0): n_cut, (cut, 1): 60, (new, 0): 60}
    entries = {(p["point_id"], p["attempt"]): p["status"] for p in found.manifest["points"]}
    assert entries == {(done, 0): "complete", (cut, 0): "abandoned", (cut, 1): "complete", (new, 0): "complete"}
    assert Counter(found.whole["point_id"].to_pylist()) == {done: 60, cut: 60, new: 60}
    assert column(found, "sent_s", done) == column(before, "sent_s", done)
    assert max(column(before, "closed_s")) < min(column(found, "sent_s", new))
    salts = [p["salt"] for p in found.manifest["points"]]
    assert len(set(salts)) == 4
    assert len(found.manifest["sessions"]) == 2
    assert found.manifest["run_id"] == before.manifest["run_id"]


def test_a_whole_run_has_nothing_to_resume(server, whole, tmp_path):
    """The same sweep into the folder of a finished run measures nothing and changes no row."""
    rows = read_run(tmp_path / "run").table
    view = Watcher()
    result, _ = run(spec_of(server.base_url, [2]), prompts(8), tmp_path / "run", view)
    assert (result.complete, result.measured, view.done) == (True, 0, [])
    assert read_run(tmp_path / "run").table == rows


def test_a_whole_run_needs_no_server(tmp_path):
    """Where nothing is missing no server is asked; a new price is kept for the judgement, and no row changes."""
    with simulator(SimulatorConfig(latency=LATENCY)) as gone:
        run(spec_of(gone.base_url, [2]), prompts(8), tmp_path / "run")
    before = read_run(tmp_path / "run")
    priced = spec_of(gone.base_url, [2], price={"usd_per_hour": 2.0})
    view = Watcher()
    result, found = run(priced, prompts(8), tmp_path / "run", view)
    assert (result.complete, result.measured, view.notes) == (
        True, 0, ["all points are already measured; the run is judged again"],
    )  # fmt: skip
    assert found.table.equals(before.table)
    assert found.manifest["spec"]["price"]["usd_per_hour"] == 2.0
    assert found.manifest["points"] == before.manifest["points"]
    names = {"manifest.json", "requests.parquet", "server.parquet"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names


def test_levels_and_repeats_may_be_added(server, whole, tmp_path):
    """More levels and repeats, another price and SLO are the same measurement: only the new points are measured."""
    more = spec_of(server.base_url, [2, 4], load={"repeats": 2, "concurrency": [2, 4]}, price={"usd_per_hour": 2.0})
    result, found = run(more, prompts(8), tmp_path / "run")
    assert (result.complete, result.measured) == (True, 3)
    assert Counter(column(found, "point_id")) == {"c0002-r0": 8, "c0002-r1": 8, "c0004-r0": 8, "c0004-r1": 8}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"load": {"random_seed": 3}}, "load.random_seed: 0 before, 3 now"),
        ({"workload": {"max_output_tokens": 5}}, "workload.max_output_tokens: not known before, 5 now"),
        ({"server": {"endpoint": "completions"}}, "server.endpoint: chat before, completions now"),
    ],
)
def test_another_measurement_is_refused(server, whole, tmp_path, change, said):
    """What would mix two measurements in one folder is refused, the difference named, before a server is asked."""
    with pytest.raises(InputError) as refused:
        conductor.sweep(spec_of(server.base_url, [2, 4], **change), prompts(8), tmp_path / "run", Watcher())
    assert said in refused.value.what
    assert refused.value.where == str(tmp_path / "run")
    assert read_run(tmp_path / "run").table.num_rows == 8


@pytest.mark.parametrize("stamps", ["user", "kernel"])
def test_the_stamps_of_a_probe_are_no_other_measurement(server, whole, stamps):
    """A busy machine or a clock step may leave a probe without the kernel's stamps; each row says whose it has."""
    path, spec = whole, spec_of(server.base_url, [2, 4])
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["server_probe"]["stamp_source"] = stamps
    (path / "manifest.json").write_text(json.dumps(manifest))
    conductor.sweep(spec, prompts(8), path, Watcher())
    assert len(read_run(path).manifest.complete_points) == 2


def test_another_workload_code_server_or_gpu_is_refused(server, whole):
    """The requests' content, benchsuite's code, the server's version and the GPUs are compared too."""
    path, spec = whole, spec_of(server.base_url, [2, 4])
    with pytest.raises(InputError, match="workload content: "):
        conductor.sweep(spec, prompts(8, tokens=2), path, Watcher())
    manifest = json.loads((path / "manifest.json").read_text())
    device = {"uuid": "GPU-1", "name": "H200"}
    for key, value, said in (
        ("host", {"code_hash": "0" * 16}, "benchsuite's code: 000000000000 before"),
        ("server_probe", {**manifest["server_probe"], "server": {"version": "0.1.2"}}, "server version: 0.1.2 before"),
        ("telemetry", {"gpu": {"used": ["GPU-1"], "devices": [device]}}, "GPUs: H200 GPU-1 before, not known now"),
        ("model", "other", "model: other before"),
    ):
        (path / "manifest.json").write_text(json.dumps(manifest | {key: value}))
        with pytest.raises(InputError) as refused:
            conductor.sweep(spec, prompts(8), path, Watcher())
        assert said in refused.value.what
    assert read_run(path).table.num_rows == 8


def test_a_suspended_machine_makes_the_point_invalid(server, tmp_path, monkeypatch):
    """A point during which the machine slept is marked, not judged, and renewed by the next sweep; steps are noted."""
    marks = iter([ClockMark(0, 0), ClockMark(-1_000_000_000, 12_000_000_000), *[ClockMark(0, 0)] * 2])
    monkeypatch.setattr(ClockMark, "now", classmethod(lambda cls: next(marks)))
    view = Watcher()
    result, found = run(spec_of(server.base_url, [2]), prompts(8), tmp_path / "run", view)
    (entry,) = found.manifest["points"]
    assert (entry["status"], entry["invalid"]) == ("invalid", "the machine was suspended for 12.0 s")
    assert entry["clocks"] == {"suspended_s": 12.0, "wall_step_s": -13.0}
    assert [note for note in view.notes if "wall clock was set while it ran (-13.000 s in all)" in note]
    assert found.whole.num_rows == 0
    result, found = run(spec_of(server.base_url, [2]), prompts(8), tmp_path / "run")
    assert (result.measured, found.whole.num_rows, found.table.num_rows) == (1, 8, 16)


def test_stamps_that_left_their_clock_make_the_point_invalid(server, tmp_path, monkeypatch):
    """The kernel's timestamps went wrong unseen: the point says why it is no measurement, and is not judged."""
    facts = conductor.client_facts
    monkeypatch.setattr(conductor, "client_facts", lambda reports: facts(reports) | {"clock_contradictions": 1})
    _, found = run(spec_of(server.base_url, [2]), prompts(8), tmp_path / "run")
    (entry,) = found.manifest["points"]
    assert (entry["status"], entry["invalid"]) == ("invalid", "the kernel's timestamps did not follow the wall clock")
    assert found.whole.num_rows == 0


def test_clock_marks():
    """Suspended time is no step of the wall clock; what goes beyond it is."""
    slept = ClockMark(5_000_000_000, 5_000_000_000)
    assert slept.suspended_since_s(ClockMark(0, 0)) == 5.0
    assert slept.stepped_since_s(ClockMark(0, 0)) == 0.0
    assert ClockMark(-2_000_000_000, None).stepped_since_s(ClockMark(0, None)) == -2.0
    assert ClockMark(0, None).suspended_since_s(ClockMark(0, 0)) is None
    now = ClockMark.now()
    assert abs(ClockMark.now().stepped_since_s(now)) < 5


def test_time_goes_on_after_a_reboot():
    """The run's seconds follow wall time when the monotonic clock starts anew."""
    clock = {"origin_wall_ns": 1_000_000_000_000, "origin_monotonic_ns": 77}
    origin = continued_origin(RunManifest.read({"clock": clock}, "m"), Anchor(5_000_000_000, 1_060_000_000_000))
    assert origin == Anchor(5_000_000_000 - 60_000_000_000, 1_000_000_000_000)


def test_a_boots_own_clock_knows_how_far_the_run_is():
    """Within one boot the origin stays what it was, though the wall clock was set in between."""
    clock = {"boot_id": boot_id(), "origin_wall_ns": 1_000_000_000_000, "origin_monotonic_ns": 77}
    for wall_ns in (0, 1_060_000_000_000, 9_000_000_000_000_000_000):
        origin = continued_origin(RunManifest.read({"clock": clock}, "m"), Anchor(5_000_000_000, wall_ns))
        assert origin == Anchor(77, 1_000_000_000_000)


def test_time_never_goes_back():
    """With the wall clock set back, a session begins where the last one ended, or the last point that is known to."""
    clock = {"origin_wall_ns": 1_000_000_000_000, "origin_monotonic_ns": 7_000_000_000}
    now = Anchor(500_000_000_000, 900_000_000_000)

    def origin(manifest: dict) -> Anchor:
        return continued_origin(RunManifest.read(manifest, "m"), now)

    ended = {"clock": clock | {"end_monotonic_ns": 37_000_000_000}}
    assert origin(ended) == Anchor(470_000_000_000, 1_000_000_000_000)
    points = [{"point_id": "a", "status": "complete", "ended_s": 12.5}, {"point_id": "b", "status": "running"}]
    assert origin({"clock": clock, "points": points}) == Anchor(487_500_000_000, 1_000_000_000_000)


def test_what_remains():
    """Points without a complete attempt remain, in their order, each with the next attempt and salts of its own."""
    points = plan_points(LoadSpec(concurrency=(1, 2)), 8, "run")
    first, second = points
    entries = [
        PointEntry(point_id=first.point_id, status="complete"),
        PointEntry(point_id=second.point_id, attempt=0, status="interrupted"),
        PointEntry(point_id=second.point_id, attempt=1, status="failed"),
    ]
    (left,) = remaining(points, entries)
    assert (left.point_id, left.attempt) == (second.point_id, 2)
    assert len({one.salt(use) for one in (left, second) for use in ("measured", "warm-up")}) == 4
    assert remaining(points, []) == [first, second]
    assert [one.attempt for one in remaining(points, [], {second.point_id: 4})] == [0, 5]


def test_kill_9_recover_and_resume(cli, server, tmp_path):
    """A sweep whose process is killed loses no flushed row, is recovered, and goes on from the command line."""
    path = tmp_path / "run"
    workload = tmp_path / "set.jsonl"
    workload.write_text("".join(json.dumps({"prompt": f"q{i}", "max_output_tokens": 4}) + "\n" for i in range(300)))
    flags = ["--base-url", server.base_url, "--workload", str(workload), "--concurrency", "2", "--warmup-requests", "0"]
    killed = subprocess.run(
        [sys.executable, "-m", "benchsuite", "sweep", *flags, "--gpu", "off", "--output", str(path)],
        env=os.environ | {fault_points.VARIABLE: "batch@worker-0:3:kill-parent"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    found = recover(path)  # at once: it waits for the orphaned worker, which notices, and ends
    n = found.table.num_rows
    assert found.manifest["status"] == "interrupted"
    assert 2 < n < 300
    asked_anew = cli("sweep --quiet --resume", path)
    assert (asked_anew.code, len(read_run(path).manifest.sessions)) == (2, 1)
    command = shlex.split(asked_anew.error.hint)
    assert command[:3] == ["benchsuite", "sweep", "--resume"]
    assert cli(tuple(command[1:]), "--quiet").code == cli("decide", path).code
    whole = read_run(path)
    assert (whole.whole.num_rows, whole.table.num_rows) == (300, 300 + n)
    assert [p["status"] for p in whole.manifest["points"]] == ["abandoned", "complete"]
