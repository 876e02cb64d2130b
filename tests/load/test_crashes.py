"""Nothing lost: killed processes, full disks, torn files. `make chaos` does the same more often."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_plans import faults, stopped_children
from sweeps_for_tests import Watcher, prompts, run, spec_of
from test_store import ids, row

from benchmarks import chaos_files, chaos_points, chaos_schedules
from benchmarks.chaos import table, write_page
from benchsuite import fault_points
from benchsuite.clock import now_ns
from benchsuite.errors import RunError, StoreError
from benchsuite.load import worker_pool
from benchsuite.load.virtual_users import CircuitBreaker
from benchsuite.load.worker import _RowSink
from benchsuite.simulator.server import simulator
from benchsuite.store.journal import Journal, read_journal
from benchsuite.store.run_folder import read_run

ROOT = Path(__file__).parents[2]

# a journal in a process that may write files of 20,000 bytes, then of any size
_FULL = """
import resource, sys
from array import array
from pathlib import Path
from benchsuite.errors import StoreError
from benchsuite.records import RequestRecord
from benchsuite.store.journal import Journal

unknown = dict.fromkeys(RequestRecord._fields) | {"attempt": 0, "concurrency": 1, "repeat": 0, "scheduled_s": 0.0}

def row(n):
    known = {"run_id": "r", "point_id": "p", "request_id": f"q{n}", "prompt_id": f"p{n}", "status": "ok"}
    return RequestRecord(**unknown | known | {"chunk_gap_us": array("i", [n] * 9)})

journal = Journal(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
sys.dont_write_bytecode = True  # of which a part would stay
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
n = failures = 0
while failures < 3:
    journal.append(row(n))
    n += 1
    try:
        journal.flush()
    except StoreError:
        failures += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
if sys.argv[2] == "close":
    journal.close()
print(n)
"""


@pytest.mark.parametrize("seeds", ["0", *(pytest.param(some, marks=pytest.mark.slow) for some in ("1-8", "9-15"))])
def test_schedules_of_faults(seeds):
    """Faults drawn from seeds, in whole sweeps and their resumes: exact rows, a status, an exit code, nothing left."""
    command = [sys.executable, "-m", "benchmarks.chaos", "--seed", seeds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_measuring_process_killed_as_it_starts(tmp_path):
    """Killed before it reads what it is given, more than a pipe holds, it ends the sweep in words."""
    with simulator() as server, faults("start@worker-0:1:kill"), pytest.raises(RunError) as failed:
        run(spec_of(server.base_url, [2]), prompts(3000), tmp_path / "run")
    assert (failed.value.where, failed.value.given) == ("worker 0", "exit code -9")
    assert read_run(tmp_path / "run").manifest["status"] == "failed"


def test_ctrl_c_twice_ends_a_stopped_process(monkeypatch, tmp_path):
    """A measuring process that stands still is killed a while after the second Ctrl-C; its flushed rows stay."""
    monkeypatch.setattr(worker_pool, "_CLOSE_S", 0.1)
    presses = []

    def press_twice(*_):
        if len(presses) < 2 and stopped_children():
            presses.append(True)
            signal.raise_signal(signal.SIGINT)

    with simulator() as server, faults("batch:3:stop"), pytest.raises(RunError) as failed:
        run(spec_of(server.base_url, [2]), prompts(600), tmp_path / "run", Watcher(press_twice))
    assert (len(presses), failed.value.given) == (2, "exit code -9")
    found = read_run(tmp_path / "run")
    assert found.manifest["status"] == "failed"
    assert found.table.num_rows > 0


def test_chaos_draws_its_faults():
    """The same seed, the same schedule, which can be read; of 200 each kind of fault is in 8 or more."""
    drawn = [chaos_schedules.draw(seed) for seed in range(200)]
    assert drawn == [chaos_schedules.draw(seed) for seed in range(200)]
    for schedule in drawn:
        for _, plan in schedule.sessions:
            fault_points.set_plan(plan.replace(chaos_schedules.SERVER_PID, "1"))
    fault_points.set_plan("")
    kinds = Counter(kind for schedule in drawn for kinds, _ in schedule.sessions for kind in kinds)
    assert [kinds[kind] >= 8 for kind in chaos_schedules.KINDS] == [True] * len(chaos_schedules.KINDS)


def test_a_run_folder_at_each_fault_point():
    """Its writer and its recovery, killed or without room at every 12th of their points: every flushed row, once."""
    found = chaos_points.every_point(step=12)
    assert [(one.outcome, one.good, one.kept) for one in found] == [
        ("every row, once", True, one.expected) for one in found
    ]
    assert all(one.tried > 2 and one.expected > 20 for one in found)


@pytest.mark.parametrize("end", ["close", "die"])
def test_a_full_disk_leaves_no_hole(tmp_path, end):
    """Where a disk takes a part of a batch, the part is cut off again; with room the waiting rows follow, in order."""
    command = [sys.executable, "-c", _FULL, str(tmp_path / "j.arrows"), end]
    n = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout)
    kept = ids(read_journal(tmp_path / "j.arrows"))
    wanted = n if end == "close" else n - 3
    assert n > 4
    assert kept == [f"p{i}" for i in range(wanted)]


def test_a_journal_says_that_its_disk_is_full(monkeypatch, tmp_path):
    """The error names the journal; its rows wait for the next try."""
    journal = Journal(tmp_path / "j.arrows")
    journal.append(row(1))
    real, full = os.write, OSError(28, "No space left on device")
    monkeypatch.setattr("benchsuite.store.journal.os.write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(StoreError) as failed:
        journal.flush()
    assert (failed.value.where, failed.value.given) == (str(tmp_path / "j.arrows"), str(full))
    monkeypatch.setattr("benchsuite.store.journal.os.write", real)
    journal.close()
    assert ids(read_journal(tmp_path / "j.arrows")) == ["p1"]


@pytest.mark.parametrize("at", ["the next turn", "the end"])
def test_a_disk_that_failed_to_sync_is_told(at):
    """The system says once that what was written is not on the disk: the next turn, or the end, says it on."""

    class Lost:
        def sync(self):
            raise StoreError("a journal cannot be written", where="j", given="Input/output error")

        def flush_if_due(self, at_ns):
            pass

        def close(self):
            closed.append(True)

    closed: list[bool] = []
    sink = _RowSink(Lost(), lambda _: None, CircuitBreaker(multiprocessing.Array("q", 5)))
    sink.tick(now_ns() + 1_100_000_000)
    sink._syncer.shutdown()
    with pytest.raises(StoreError, match="Input/output error"):
        sink.tick(now_ns()) if at == "the next turn" else sink.close()
    assert closed == ([] if at == "the next turn" else [True])


def test_torn_files(monkeypatch):
    """A killed run's files cut anywhere: whole batches stay, torn files are replaced by their parts or refused."""
    monkeypatch.setattr(chaos_files, "_CUTS", 8)
    found = chaos_files.torn_files()
    assert [(one.fault.split()[0], one.tried, one.good) for one in found] == [
        ("journal", 8, True),
        ("points/*.parquet", 4, True),
        ("requests.parquet", 4, True),
        ("temporary", 4, True),
        ("manifest.json", 8, True),
    ]


def test_rows_before_a_cut(tmp_path):
    """Batches of 2 and 3 rows: a cut within the second leaves 2, one behind it 5, one within the schema none."""
    journal = Journal(tmp_path / "j")
    sizes = []
    for batch in ((0, 1), (2, 3, 4)):
        for i in batch:
            journal.append(row(i))
        journal.flush()
        sizes.append((tmp_path / "j").stat().st_size)
    content = (tmp_path / "j").read_bytes()
    cuts = (8, sizes[0], sizes[1] - 1, sizes[1])
    assert [chaos_files.whole_rows_until(content, cut) for cut in cuts] == [0, 2, 2, 5]
    journal.close()


def test_the_table(tmp_path):
    """A lost row is said in its line; the page keeps what is around the marks, and the section's last run."""
    lost = {"fault": "f", "tried": 1200, "expected": 9, "kept": 8, "outcome": "why", "good": False}
    assert table([lost])[2:] == ["| f | 1,200 | 9 | 8 | FAILED: why |"]
    page = tmp_path / "page.md"
    marks = [f"<!-- {mark}: made by make chaos -->\nold\n<!-- {mark}: end -->" for mark in ("table", "soak")]
    page.write_text("before\n" + "\nbetween\n".join(marks) + "\nafter\n")
    write_page({"torn": {"rows": [lost], "made": "2026-11-21", "seconds": 7}, "soak": {"lines": ["flat"]}}, page)
    text = page.read_text()
    assert [
        word in text for word in ("before", "between", "after", "| f | 1,200 |", "torn 2026-11-21, 7 s", "flat")
    ] == [True] * 6
    assert "old" not in text
