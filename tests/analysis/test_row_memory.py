"""What a judged run holds of each of its requests, whatever their number; no clock, no size of a machine."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from factory import run_folder

from benchsuite.records import UNJUDGED, RequestRecord
from benchsuite.report.judge import judge_run
from benchsuite.store.run_folder import Run, read_run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One level of 512 requests."""
    return run_folder(tmp_path_factory.mktemp("runs") / "run", levels=(4,), requests=512, noise=0.2, tokens=12)


def peak_bytes(run: Run, times: int) -> tuple[int, int]:
    """The number of rows, and the most bytes at once of Python, numpy and Arrow while so many copies are judged."""
    table, parts = run.table, []
    last_s = pc.max(table["closed_s"]).as_py() - 5.0
    moved = [name for name in table.column_names if name in RequestRecord._fields and name.endswith("_s")]
    moved = [name for name in moved if not name.startswith("server_")]
    for i in range(times):  # one behind the other in time
        columns = {
            name: pc.add(table[name], i * last_s) if name in moved else table[name] for name in table.column_names
        }
        parts.append(pa.table(columns))
    many = replace(run, table=pa.concat_tables(parts))
    before, arrow = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(arrow)
    tracemalloc.start()
    try:
        judged = judge_run(many)
        assert judged.judged[0].point.n_ok == 512 * times
        return len(many.table), tracemalloc.get_traced_memory()[1] + arrow.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def test_a_judgement_reads_no_column_that_it_does_not_need(small: Path) -> None:
    """Texts and others that no figure is made of are not even there; the judgement is the same."""
    lean, whole = read_run(small, UNJUDGED), read_run(small)
    assert set(whole.table.column_names) - set(lean.table.column_names) == set(UNJUDGED)
    assert judge_run(lean).judged == judge_run(whole).judged


def test_bytes_of_each_request(small: Path) -> None:
    """Of twice as many requests of one level: under 200 bytes more of each at once, besides its row."""
    run = read_run(small, UNJUDGED)
    (few, least), (many, most) = peak_bytes(run, 80), peak_bytes(run, 160)
    assert (most - least) / (many - few) < 200
