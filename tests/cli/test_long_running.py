"""A sweep outlives its readers, and ends well when its whole process group is told to."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from benchsuite import fault_points
from benchsuite.cli.options import long_running
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run


def test_writing_to_nobody(monkeypatch):
    """Text for a pipe whose reader left goes nowhere; the stream that was there comes back."""
    reads, writes = os.pipe()
    os.close(reads)
    stdout = io.TextIOWrapper(io.FileIO(writes, "wb"), "utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    with long_running():
        print("to nobody", flush=True)
    assert sys.stdout is stdout
    with pytest.raises(BrokenPipeError):
        print("to nobody", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), writes)  # for what it still holds


def test_writing_to_a_reader_that_is_stopped(monkeypatch):
    """A full pipe takes what it can hold; the rest is dropped after a while, and nobody waits a second time."""
    monkeypatch.setattr("benchsuite.cli.options._PATIENCE_S", 0.05)
    monkeypatch.setattr("benchsuite.cli.options._Outliving.patience_s", 0.05)
    reads, writes = os.pipe()
    with io.TextIOWrapper(io.FileIO(writes, "wb"), "utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with long_running():
            print("x" * 1_000_000, flush=True)
            print("nobody reads this", flush=True)
            assert set(os.read(reads, 2_000_000)) == {ord("x")}
            print("but this", flush=True)
    assert os.read(reads, 100).endswith(b"but this\n")
    os.close(reads)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_before_there_is_anything_to_drain(number):
    """The signal is an exception, so that what is open is closed; afterwards it is what it was."""
    with pytest.raises(SystemExit) as ended, long_running():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_lost_terminal(tmp_path):
    """Its output's reader leaves, then its process group is hung up: what is in flight is finished, and all is kept."""
    path = tmp_path / "run"
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.02, itl_s=0.01))) as server:
        command = [
            sys.executable, "-m", "benchsuite", "sweep", "--base-url", server.base_url, "--profile", "openai",
            "--concurrency", "2", "--requests", "2000", "--max-output-tokens", "4", "--warmup-requests", "0",
            "--warmup-min-s", "0", "--cooldown-min-s", "0", "--gpu", "off", "--output", str(path), "--workers", "1",
        ]  # fmt: skip
        plan = os.environ | {fault_points.VARIABLE: "batch@worker-0:2:signal=1"}
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=plan
        )
        child.stdout.close()
        _, errors = child.communicate()
    assert (child.returncode, b"Traceback" in errors) == (1, False), errors
    found = read_run(path)
    assert found.manifest["status"] == "stopped"
    assert set(found.table["status"].to_pylist()) == {"ok"}
    assert not (path / "journal").exists()
