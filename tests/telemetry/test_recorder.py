"""The recorder: samples land in their log whatever a sampler does, and nothing is sampled after the end."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchsuite.errors import StoreError
from benchsuite.records import GpuSample
from benchsuite.spec import TelemetrySpec
from benchsuite.store.files import GPU
from benchsuite.store.journal import read_journal
from benchsuite.store.run_folder import RunFolder
from benchsuite.telemetry.recorder import Recorder, open_gpu


class Counting:
    """A sampler that numbers its samples."""

    period_s = 0.01

    def __init__(self, words: tuple[str, ...] = ()) -> None:
        self.n, self.closed, self._words = 0, False, words

    def sample(self) -> list[GpuSample]:
        self.n += 1
        return [GpuSample(float(self.n), 0.0, "nvml", "GPU-1", power_w=100.0)]

    def facts(self) -> dict[str, object]:
        return {}

    def problems(self) -> tuple[str, ...]:
        return self._words

    def close(self) -> None:
        self.closed = True


class Kept:
    """A log in memory; full says that the disk is."""

    def __init__(self, full: bool = False) -> None:
        self.rows: list[GpuSample] = []
        self._full = full

    def append(self, samples) -> None:
        if self._full:
            raise StoreError("a sample log cannot be written", where="here", given="no space left")
        self.rows.extend(samples)

    def close(self) -> None:
        self.rows.append("closed")


def until(condition) -> None:
    """Wait until it holds, a minute at most."""
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def test_every_sample_is_logged_and_marks_come_between():
    """Each sample is in the log once and in order, those of mark() too; the end closes sampler and log."""
    sampler, log = Counting(), Kept()
    with Recorder(sampler, (), lambda _: log) as recorder:
        until(lambda: sampler.n >= 3)
        before = sampler.n
        recorder.mark()
        assert sampler.n > before
    assert sampler.closed
    assert [row.at_s for row in log.rows[:-1]] == [float(i) for i in range(1, sampler.n + 1)]
    assert log.rows[-1] == "closed"
    recorder.mark()
    assert log.rows[-1] == "closed"


def test_problems_are_told_once_each():
    """Words reach the listener once however often they are repeated; so does a full disk, and none ends it."""
    told: list[str] = []
    sampler = Counting(("the driver is not loaded",))
    with Recorder(sampler, (), lambda _: Kept(full=True), told.append):
        until(lambda: sampler.n >= 3)
    assert sorted(told) == sorted({*told})
    assert "the driver is not loaded" in told
    assert any("no space left" in words for words in told)


def test_samples_become_parquet(tmp_path):
    """The run's sample log is readable while it grows, and becomes gpu.parquet when the run is finished."""
    folder = RunFolder(tmp_path / "run")
    log = folder.sample_log(GPU)
    rows = [GpuSample(1.0, 2.0, "nvml", "GPU-1", throttle_reasons=2**40), GpuSample(2.0, 3.0, "nvml", "GPU-1")]
    log.append(rows[:1])
    log.append([])
    (growing,) = (folder.path / "journal").glob("gpu.*")
    assert read_journal(growing, log._schema).num_rows == 1
    log.append(rows[1:])
    log.close()
    folder.finish()
    table = pq.read_table(folder.path / "gpu.parquet")
    assert [GpuSample(**row) for row in table.to_pylist()] == rows
    assert not (folder.path / "server.parquet").exists()


def test_a_driver_that_hangs_holds_nobody(monkeypatch):
    """A sampler that never answers is a problem once; marks, other samplers and the end go on; so does NVML's start."""
    monkeypatch.setattr("benchsuite.telemetry.recorder._HANGS_S", 0.05)
    free = threading.Event()

    class Hanging(Counting):
        def sample(self) -> list[GpuSample]:
            free.wait()
            return super().sample()

    told: list[str] = []
    hanging, lively, log = Hanging(), Counting(), Kept()
    with Recorder(hanging, [lively], lambda _: log, told.append) as recorder:
        for _ in range(3):
            recorder.mark()
    assert told == ["Hanging has not answered for 0.05 s"]
    assert lively.n >= 3
    assert (lively.closed, hanging.closed) == (True, False)

    monkeypatch.setattr("benchsuite.telemetry.nvml._HANGS_S", 0.05)
    monkeypatch.setattr("benchsuite.telemetry.nvml.NvmlSampler", lambda *_: free.wait())
    sampler, why = open_gpu(TelemetrySpec(gpu="nvml"), ["http://127.0.0.1:1"], 0, ())
    assert sampler is None
    assert "has not answered for 0.05 s" in why
    free.set()


class Failing(Counting):
    """A sampler of which one method raises."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__()

        def fail() -> None:
            self.n += 1
            raise error

        setattr(self, method, fail)


@pytest.mark.parametrize("method", ["sample", "facts", "problems", "close"])
@pytest.mark.parametrize(
    "error", [AssertionError("zlib"), UnicodeError("undefined"), TypeError("no"), OverflowError("int"), KeyError("a"),
              RecursionError(), MemoryError(), OSError(5, "I/O"), pa.ArrowInvalid("too large"), StoreError("full")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_sampler_meets_is_a_note(method, error):
    """No exception of a sampler ends the sweep: its kind is told once, and the log is closed."""
    told, log = [], Kept()
    with Recorder(Failing(method, error), (), lambda _: log, told.append) as recorder:
        recorder.mark()
        recorder.facts()
    assert log.rows[-1] == "closed"
    assert [words for words in told if type(error).__name__ in words or words == "full"] == told
    assert len(told) == 1


def test_a_log_that_cannot_take_a_sample_is_a_note():
    """A reading that no column holds ends nothing either."""
    told = []

    class Full(Kept):
        def append(self, samples) -> None:
            raise OverflowError("int too big to convert")

    with Recorder(Counting(), (), lambda _: Full(), told.append) as recorder:
        recorder.mark()
    assert told == ["GPU telemetry: OverflowError: int too big to convert"]
