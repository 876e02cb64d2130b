"""`sweep --serve`: the server is started, swept, stopped; its death costs what it did not live through, no more."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_plans import faults, stopped_child
from sweeps_for_tests import Watcher, column, prompts, spec_of

from benchsuite.errors import EngineError, InputError, ServerDied
from benchsuite.load.launched_sweep import keys_for_server, mark_invalid, served_plan, sweep_launched
from benchsuite.records import SCHEMA_VERSION
from benchsuite.serving.launch_plan import LaunchPlan
from benchsuite.store.files import MANIFEST, write_json
from benchsuite.store.run_folder import read_run


def statuses(path: Path) -> list[tuple[str, int, str]]:
    """What became of each attempt at a point."""
    return [(p["point_id"], p["attempt"], p["status"]) for p in read_run(path).manifest["points"]]


def test_a_server_is_started_swept_and_stopped(cli, tmp_path: Path) -> None:
    """One command: the manifest says what was served, the log lies beside it, and no process is left."""
    path = tmp_path / "run"
    flags = "--profile openai --concurrency 1,2 --requests 24 --max-output-tokens 8 --gpu off --warmup-requests 1"
    ended = cli("sweep", flags, "--output", path, ("--serve", "simulator --ttft-s 0.001 --itl-s 0"))
    assert ended.code == cli("decide", path).code, ended
    manifest = read_run(path).manifest
    served = manifest["launched_server"]
    assert (served["engine"], served["model"], manifest["model"]) == ("simulator", "simulator", "simulator")
    assert served["plan"] == "simulator -- --ttft-s 0.001 --itl-s 0"
    assert manifest["spec"]["server"]["base_url"].removeprefix("http://127.0.0.1:") in served["command"]
    assert (path / "serve.log").read_text().startswith('{"port": ')
    assert not psutil.pid_exists(served["pid"])


def test_a_run_taken_up_again_finds_its_server_at_the_same_address(tmp_path: Path) -> None:
    """One server started twice is one endpoint: its port is taken again, and a new one only where that is in use."""
    path = tmp_path / "run"
    path.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        manifest = {
            "schema": SCHEMA_VERSION,
            "launched_server": {"plan": "simulator"},
            "spec": {"server": {"base_url": f"http://127.0.0.1:{port}"}},
        }
        write_json(path / MANIFEST, manifest)
        taken = served_plan("simulator", {}, path)
    again = served_plan("simulator", {}, path)
    assert taken is not None
    assert taken.port != port
    assert again is not None
    assert again.port == port
    write_json(path / MANIFEST, manifest | {"launched_server": None})
    other = served_plan("simulator --port 4321", {}, path)
    assert other is not None
    assert other.port == 4321


def test_the_address_of_a_run_that_cannot_be_read_is_no_matter(tmp_path: Path) -> None:
    """A manifest that is nested too deeply, or a pipe, gives no port; whoever takes the run up refuses it."""
    (tmp_path / MANIFEST).write_text("[" * 100_000)
    assert served_plan("simulator", {}, tmp_path) is not None
    (tmp_path / MANIFEST).unlink()
    os.mkfifo(tmp_path / MANIFEST)
    assert served_plan("simulator", {}, tmp_path) is not None


@pytest.mark.slow  # killed mid-point from the command line, below, is the sample
@pytest.mark.engine
def test_a_server_that_dies_mid_sweep(tmp_path: Path) -> None:
    """What it did not live through is failed rows and an error with its last words; a resume measures that again."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    path = tmp_path / "run"

    class Killer(Watcher):
        """Kills the server when the first point is done."""

        def point_done(self, point: Any, rows: Any, duration_s: float) -> None:
            if not self.done:
                os.kill(read_run(path).manifest["launched_server"]["pid"], signal.SIGKILL)
            super().point_done(point, rows, duration_s)

    def spec() -> tuple[LaunchPlan, Any]:
        plan = served_plan("llamacpp --slots 2 --ctx 256", {})
        assert plan is not None
        return plan, spec_of(f"http://127.0.0.1:{plan.port}", [1, 2])

    plan, asked = spec()
    with pytest.raises(ServerDied, match=r"(?s)the server died during.*exit code -9; the end of its log") as died:
        sweep_launched(plan, lambda _: asked, prompts(16), path, Killer())
    assert died.value.exit_code == 1
    assert str(path) in str(died.value.hint)
    (first, _, _), (second, _, _) = statuses(path)
    assert [status in ("failed", "invalid") for _, _, status in statuses(path)] == [False, True]
    assert set(column(read_run(path), "status", first)) == {"ok"}
    assert set(column(read_run(path), "status", second)) <= {"connect_error"}  # none where its end was known at once
    assert "listening on" in (path / "serve.log").read_text()

    plan, asked = spec()
    assert sweep_launched(plan, lambda _: asked, prompts(16), path, Watcher()).complete
    assert statuses(path) == [(first, 0, "complete"), (second, 0, "abandoned"), (second, 1, "complete")]
    assert read_run(path).whole.num_rows == 32
    assert (path / "serve-2.log").exists()

    other = served_plan("llamacpp --slots 4 --ctx 256", {})
    assert other is not None
    with pytest.raises(InputError, match=r"(?s)server started as.*--slots 2.*before.*--slots 4"):
        sweep_launched(
            other, lambda _: spec_of(f"http://127.0.0.1:{other.port}", [1, 2, 3]), prompts(16), path, Watcher()
        )


@pytest.mark.engine
def test_killed_mid_point_and_resumed_from_the_command_line(cli, tmp_path: Path) -> None:
    """The engine dies within the second of three levels: the command that is printed measures that and the third."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    path, workload = tmp_path / "run", tmp_path / "set.jsonl"
    lines = [json.dumps({"prompt": f"question {i}", "max_output_tokens": 16}) + "\n" for i in range(40)]
    workload.write_text("".join(lines))
    serve = ("--serve", "llamacpp --slots 3 --ctx 512")
    flags = "--concurrency 1,2,3 --gpu off --warmup-requests 1 --warmup-min-s 0 --cooldown-min-s 0 --fixed-length"

    def kill_the_engine() -> None:
        worker, engine = stopped_child(), psutil.Process(read_run(path).manifest["launched_server"]["pid"])
        engine.kill()
        psutil.wait_procs([engine])
        worker.send_signal(signal.SIGCONT)

    killer = threading.Thread(target=kill_the_engine, daemon=True)
    killer.start()
    with faults("batch.4@worker-0:2:stop"):  # its orders: a warm-up, the first level, a warm-up, the second
        died = cli("sweep", flags, "--workload", workload, "--output", path, serve)
    killer.join()
    assert isinstance(died.error, EngineError), died
    before = read_run(path)
    (first, _, whole), (second, _, lost) = statuses(path)
    third = next(point for point in before.manifest["planned_points"] if point not in (first, second))
    assert (whole, lost in ("failed", "invalid")) == ("complete", True)
    n_ok = column(before, "status", second).count("ok")
    assert 0 < n_ok < len(lines)

    resumed = cli(tuple(shlex.split(before.manifest.resume_command(path))[1:]), "--quiet")
    assert resumed.code == cli("decide", path).code, resumed
    assert statuses(path) == [
        (first, 0, "complete"),
        (second, 0, "abandoned"),
        (second, 1, "complete"),
        (third, 0, "complete"),
    ]
    found = read_run(path)
    assert Counter(column(found, "status")) - Counter(column(before, "status")) == {"ok": 2 * len(lines)}
    assert Counter(found.whole["point_id"].to_pylist()) == {point: len(lines) for point in (first, second, third)}


@pytest.mark.parametrize(
    ("died_ns", "last", "expected"),
    [
        (12_500_000_000, False, ["complete", "invalid", "stopped"]),
        (99_000_000_000, False, ["complete", "complete", "stopped"]),
        (None, True, ["complete", "complete", "stopped"]),
    ],
)
def test_points_that_end_after_the_server_did(
    tmp_path: Path, died_ns: int | None, last: bool, expected: list[str]
) -> None:
    """On the run's clock, with its origin at 10 s: what ended at 2 s stands, what ended at 3 s outlived 2.5 s."""
    ends = [("complete", 2.0), ("complete", 3.0), ("stopped", None)]
    points = [{"point_id": f"p{i}", "status": status, "ended_s": end_s} for i, (status, end_s) in enumerate(ends)]
    clock = {"origin_monotonic_ns": 10_000_000_000}
    write_json(tmp_path / MANIFEST, {"schema": SCHEMA_VERSION, "clock": clock, "points": points})
    mark_invalid(tmp_path, died_ns, last=last)
    found = json.loads((tmp_path / MANIFEST).read_text())["points"]
    assert [point["status"] for point in found] == expected
    assert [point.get("invalid") is not None for point in found] == [status == "invalid" for status in expected]


def test_what_the_plan_says_of_the_spec() -> None:
    """Address, model, profile and GPUs come from the plan; what a flag says stays; a file says its GPUs itself."""
    plan = LaunchPlan("vllm", ("-tp", "2", "--served-model-name", "s"), model="m", port=9000)
    told = {"server.base_url": "http://127.0.0.1:9000", "server.more_base_urls": (), "server.model": "s"}
    told |= {"server.profile": "vllm", "price.gpus": 2}
    assert keys_for_server({"server.model": None}, plan, None) == told
    assert keys_for_server({"server.model": "other", "price.gpus": 4}, plan, None) == told | {
        "server.model": "other",
        "price.gpus": 4,
    }
    assert keys_for_server({}, plan, Path("sweep.toml"))["price.gpus"] is None


def test_a_server_is_started_or_has_an_address() -> None:
    """--serve with --base-url is refused; without --serve nothing is started."""
    with pytest.raises(InputError, match="not both"):
        served_plan("llamacpp", {"server.base_url": "http://h"})
    assert served_plan(None, {"server.base_url": "http://h"}) is None
    assert served_plan(None, {}) is None
