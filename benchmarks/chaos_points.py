"""A run folder's writer and its recovery that die, or fail, at each of their fault points in turn: no row is lost.

`python -m benchmarks.chaos_points` prints the rows of the table as JSON. Each try is a fork: nothing is started anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from benchmarks.chaos_kit import ROOT, Row, keys_of
from benchsuite import fault_points
from benchsuite.errors import BenchsuiteError
from benchsuite.records import SCHEMA_VERSION, RequestRecord, ScoreRecord, ServerSample
from benchsuite.store.files import SERVER, write_json
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder, recover

_ENDED, _REFUSED, _BUG = 0, 3, 4
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a process that is killed loses nothing of the page cache
_NEVER = "any:1000000:kill"  # a plan that counts
_POINTS = ("c0001-r0", "c0002-r0")
_NOTHING_IS_KNOWN = dict.fromkeys(RequestRecord._fields)


def row_of(point_id: str, i: int) -> RequestRecord:
    """A row that says little more than which it is."""
    known = {"run_id": "run", "point_id": point_id, "request_id": f"{point_id}-{i}", "attempt": 0, "status": "ok"}
    known |= {"prompt_id": f"p{i}", "text": "not to be kept"}
    numbers = {"concurrency": int(point_id[1:5]), "repeat": 0, "scheduled_s": float(i), "chunk_gap_us": array("i", [i])}
    return RequestRecord(**(_NOTHING_IS_KNOWN | known | numbers))  # type: ignore[arg-type]


class _Scoring:
    """Every answer is right."""

    facts: ClassVar = {"run_id": "run"}

    def __call__(self, tables: Iterable[pa.Table]) -> Iterator[ScoreRecord]:
        names = ("point_id", "repeat", "attempt", "request_id", "prompt_id", "scenario")
        for row in (row for table in tables for row in table.to_pylist()):
            assert row["text"] == "not to be kept"
            yield ScoreRecord(*(row[k] for k in names), "exact", 1, 1.0, None, "whole", cut=False, failed=False)


def write_run(path: Path, promise: Callable[[list[str]], None]) -> None:
    """Two points of two measuring processes, written as a sweep writes them that scores answers and does not keep them.
    promise: told what was flushed.
    """
    folder = RunFolder(path)
    folder.left_out = ("text",)
    points: list[dict[str, Any]] = []
    manifest = {"schema": SCHEMA_VERSION, "run_id": "run", "status": "running", "points": points}
    manifest["spec"] = {"workload": {"save_text": False}}
    try:
        folder.write_manifest(manifest)
        log = folder.sample_log(SERVER)
        for point_id in _POINTS:
            points.append({"point_id": point_id, "status": "running"})
            folder.write_manifest(manifest)
            journals = [Journal(folder.journal_path(point_id, worker)) for worker in (0, 1)]
            for i in range(4):
                journals[i % 2].append(row_of(point_id, 2 * i))
                journals[i % 2].append(row_of(point_id, 2 * i + 1))
                journals[i % 2].flush()
                promise([f"{point_id}-{2 * i}", f"{point_id}-{2 * i + 1}"])
            log.append([ServerSample(at_s=float(len(points)), wall_s=0.0, endpoint="http://server")])
            for journal in journals:
                journal.sync()
                journal.close()
            folder.finish_point(point_id, scoring=_Scoring())
            points[-1]["status"] = "complete"
            folder.write_manifest(manifest)
        log.close()
        folder.finish()
        folder.write_manifest(manifest | {"status": "complete"})
        write_json(path / "summary.json", {})
    finally:
        folder.release()


def _fork(body: Callable[[], None]) -> int:
    """Run it in a process of its own; how that ended: one of the codes above, or minus a signal."""
    pid = os.fork()
    if pid == 0:
        code = _ENDED
        try:
            body()
        except BenchsuiteError:
            code = _REFUSED
        except BaseException:
            traceback.print_exc()
            code = _BUG
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _promised(path: Path, plan: str) -> tuple[int, set[str]]:
    """Write a run under the plan; how it ended and which rows were flushed before."""
    read, write = os.pipe()

    def body() -> None:
        os.close(read)
        fault_points.set_plan(plan)
        write_run(path, lambda ids: os.write(write, "".join(f"{i}\n" for i in ids).encode()))
        path.with_name("reached").write_text(str(fault_points.reached["any"]))

    code = _fork(body)
    os.close(write)
    with os.fdopen(read) as told:
        return code, set(told.read().split())


def _what_is_wrong(path: Path, promised: set[str]) -> str:
    """Recover the run; "" if every promised row is there once, and nothing else but whole rows of it."""
    if not (path / "manifest.json").exists():
        RunFolder(path).release()  # stands in nobody's way
        return "" if not promised else "rows without a manifest"
    run = recover(path)
    rows = Counter(request for _, _, request in keys_of(run).elements())
    if missing := promised - set(rows):
        return f"{len(missing)} flushed rows are gone"
    if max(rows.values(), default=1) > 1 or not set(rows) <= {f"{p}-{i}" for p in _POINTS for i in range(8)}:
        return "a row is there twice, or never was"
    if run.manifest["status"] == "running" or any(p["status"] == "running" for p in run.manifest["points"]):
        return "nothing says that the run was cut short"
    scored = Counter(() if run.scores is None else run.scores.table["request_id"].to_pylist())
    if scored != Counter(f"{p.point_id}-{i}" for p in run.manifest.complete_points for i in range(8)):
        return "a complete point has not one score for each of its rows"
    if run.table["text"].null_count < run.table.num_rows:
        return "a text was kept"
    rest = {entry.name for entry in path.iterdir() if "summary.json" not in entry.name}
    rest |= {"server.parquet", "scores.parquet"}
    whole = {"manifest.json", "requests.parquet", "server.parquet", "scores.parquet"}
    return "" if rest == whole else f"left behind: {sorted(rest)}"


def _judged(path: Path, promised: set[str]) -> str:
    """The same in a process of its own."""
    verdict = path.with_name("verdict")
    code = _fork(lambda: verdict.write_text(_what_is_wrong(path, promised)) and None)
    return verdict.read_text() if code == _ENDED else f"recovering ended with {code}"


def _each(fault: str, action: str, body: Callable[[Path, str], tuple[int, set[str]]], step: int) -> Row:
    """Try without a fault, then `any:1:action`, ... to the last fault point that there is, each or every step-th."""
    ends = (-signal.SIGKILL,) if action == "kill" else (_REFUSED, _ENDED)  # some errors are none of ours to tell
    tried = expected = 0
    wrong = []
    n_points = 1
    for n in (0, *range(1, 1000, step)):
        if n > n_points:
            break
        with tempfile.TemporaryDirectory(prefix="benchsuite-points-", dir=_MEMORY) as folder:
            path = Path(folder) / "run"
            code, promised = body(path, f"any:{n}:{action}" if n else _NEVER)
            if not n:
                n_points = int((Path(folder) / "reached").read_text())
            expected += len(promised)
            verdict = _judged(path, promised) if code in ends or not n else f"it ended with {code}"
            wrong += [f"{n}: {verdict}"] if verdict else []
            tried += 1
    return Row(fault, tried, expected, expected if not wrong else 0, "; ".join(wrong) or "every row, once", not wrong)


def _recovery(path: Path, plan: str) -> tuple[int, set[str]]:
    """A run that was killed as its second point was compacted, then a recovery under the plan."""
    promised = _promised(path, "compaction:2:kill")[1]

    def body() -> None:
        fault_points.set_plan(plan)
        recover(path)
        path.with_name("reached").write_text(str(fault_points.reached["any"]))

    return _fork(body), promised


def here(step: int) -> list[Row]:
    """All of it, in this process, which must have no threads."""
    import_module("pandas")  # which pyarrow would import in every fork
    return [
        _each("run folder's writer killed at each fault point", "kill", _promised, step),
        _each("its disk full at each fault point", "error=28", _promised, step),
        _each("recovery killed at each fault point", "kill", _recovery, step),
        _each("recovery's disk full at each fault point", "error=28", _recovery, step),
    ]


def every_point(step: int = 1) -> list[Row]:
    """All of it, in a fresh process; at every step-th point."""
    command = [sys.executable, "-m", "benchmarks.chaos_points", str(step)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Row(**row) for row in json.loads(done.stdout)]


if __name__ == "__main__":
    print(json.dumps([dataclasses.asdict(row) for row in here(int(sys.argv[1]))]))
