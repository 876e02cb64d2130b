"""Run folders of every schema version there was are read, judged, reported and exported by this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchsuite.errors import PointsError
from benchsuite.manifest import differences
from benchsuite.records import SCHEMA_VERSION
from benchsuite.report.export import summary_json
from benchsuite.report.judge import judge_run
from benchsuite.report.page import render
from benchsuite.store.files import SCHEMA, write_json
from benchsuite.store.run_folder import read_run, recover

RUNS = Path(__file__).parent / "fixtures" / "runs"
# schema version: rows, levels, the optimum's level, samples of GPUs, samples of servers
KNOWN = {1: (160, [1, 4], 1, 19, 11)}


def _copy(version: int, tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUNS / f"v{version}", tmp_path / f"v{version}"))


def test_every_version_has_a_fixture():
    """A new schema version does not come without a run folder of it here."""
    assert sorted(KNOWN) == list(range(1, SCHEMA_VERSION + 1))
    assert sorted(path.name for path in RUNS.iterdir()) == [f"v{version}" for version in KNOWN]


@pytest.mark.parametrize("version", KNOWN)
def test_an_old_run_is_read_judged_and_reported(version, tmp_path):
    """With every column of today, the figures that it always had, a report and a summary."""
    rows, levels, optimum, gpu, server = KNOWN[version]
    run = read_run(RUNS / f"v{version}")
    judgement = judge_run(run)

    assert run.manifest["schema"] == version
    assert run.table.num_rows == rows
    assert run.table.column_names[: len(SCHEMA)] == SCHEMA.names
    assert (run.gpu and run.gpu.num_rows) == gpu
    assert (run.server and run.server.num_rows) == server
    summary = summary_json(judgement)
    assert [point["concurrency"] for point in summary["points"]] == levels
    assert summary["optimum"]["concurrency"] == optimum
    json.dumps(summary, allow_nan=False)
    assert run.manifest["run_id"] in render(judgement)
    assert recover(_copy(version, tmp_path)).table.equals(run.table)
    assert differences(run.manifest, run.manifest) == []


@pytest.mark.parametrize("version", KNOWN)
def test_what_this_version_does_not_know_is_kept(version, tmp_path):
    """Columns and manifest keys of a version between ours stay, through reading and through recovering."""
    folder = _copy(version, tmp_path)
    table = pq.read_table(folder / "requests.parquet")
    later = table.append_column("from_the_future", pa.array(range(table.num_rows)))
    pq.write_table(later, folder / "requests.parquet")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest |= {"also_new": {"deep": [1]}, "status": "running"}
    manifest["points"][0]["also_new"] = "x"
    write_json(folder / "manifest.json", manifest)

    for run in (read_run(folder), recover(folder)):
        assert sorted(run.table["from_the_future"].to_pylist()) == list(range(table.num_rows))
        assert run.manifest["also_new"] == {"deep": [1]}
        assert run.manifest["points"][0]["also_new"] == "x"
        assert summary_json(judge_run(run))["optimum"]["concurrency"] == KNOWN[version][2]


@pytest.mark.parametrize("schema", [SCHEMA_VERSION + 1, 99, 0, None, "1", True])
def test_another_schema_is_refused_by_name(schema, tmp_path):
    """Nothing is guessed: the error says which schema was found and which is read."""
    folder = _copy(SCHEMA_VERSION, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8")) | {"schema": schema}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(PointsError) as caught:
        read_run(folder)
    assert f"schema {schema!r}" in str(caught.value)
    assert f"schema {SCHEMA_VERSION}" in str(caught.value)
