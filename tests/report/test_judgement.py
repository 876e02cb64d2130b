"""From a run to its judgement: only what was measured whole is judged."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
from runs_for_tests import make_run

from benchsuite.report.judge import judge_run
from benchsuite.store.run_folder import read_run


def test_failed_rows_and_given_up_attempts_say_nothing_of_the_clock(tmp_path):
    """A row without an answer, or of an attempt that was given up, does not make the client's verdict stricter."""
    make_run(tmp_path)
    run = read_run(tmp_path)
    for point in run.manifest["points"]:
        point["concurrency"] = int(point["point_id"][1:5])
    whole = judge_run(run).clients
    last = run.table.slice(run.table.num_rows - 1).to_pylist()[0]
    refused = last | {"request_id": "x", "status": "connect_error", "stamp_source": "user", "first_token_s": None}
    given_up = last | {"request_id": "y", "attempt": 7, "stamp_source": "user"}
    table = pa.concat_tables([run.table, pa.Table.from_pylist([refused, given_up], schema=run.table.schema)])
    assert judge_run(dataclasses.replace(run, table=table)).clients == whole
    assert sorted(whole) == [2, 4, 8]
