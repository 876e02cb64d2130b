"""`benchsuite import` from the outside: the folder that it leaves is a run like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.main import cli
from benchsuite.errors import InputError, PointsError
from benchsuite.store.run_folder import read_run
from tests.importers.files_for_tests import AIPERF, GUIDELLM, VLLM, vllm_with


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text("utf-8"))


def test_several_files_are_one_run(tmp_path):
    """Levels of one run, a level's second file is its repeat; tool, file, hash and definitions are in the manifest."""
    files = []
    for i, level in enumerate((8, 4, 8)):
        files.append(tmp_path / f"c{i}.json")
        files[-1].write_text(vllm_with(max_concurrency=level), "utf-8")

    ran = run("import", "vllm-bench", *files, "--usd-per-hour", "2", "--gpus", "2", "--output", tmp_path / "run")

    manifest = read_run(tmp_path / "run").manifest
    assert ran.exit_code == 0
    assert [point["point_id"] for point in manifest["points"]] == ["c0008-r0", "c0004-r0", "c0008-r1"]
    assert manifest["points"][1]["imported"]["sha256"] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert manifest["imported"]["tool"] == "vllm-bench"
    assert manifest["imported"]["definitions"]
    assert manifest["spec"]["load"]["repeats"] == 2
    found = summary(tmp_path / "run")
    assert [(p["concurrency"], p["repeat_count"], p["n_ok"]) for p in found["points"]] == [(4, 1, 12), (8, 2, 24)]
    assert found["usd_per_hour_total"] == 4
    assert "report.html" in {path.name for path in (tmp_path / "run").iterdir()}


def test_missing_is_null_in_the_rows(tmp_path):
    """What vllm bench does not record is null, not 0 and not a guess."""
    run("import", "vllm-bench", VLLM, "--output", tmp_path / "run")

    row = read_run(tmp_path / "run").table.to_pylist()[0]
    unknown = (
        "n_reads",
        "merged_reads",
        "n_empty_chunks",
        "worker",
        "connection_reused",
        "token_source",
        "http_status",
    )
    assert {row[name] for name in (*unknown, "headers_s", "finish_reason", "asked_output_tokens")} == {None}
    assert row["stamp_source"] == "user"


def test_decide_and_report_read_it(tmp_path):
    """The verbs that read run folders read this one, with another SLO and price."""
    run("import", "vllm-bench", VLLM, "--output", tmp_path / "run", "--quiet")

    decided = run("decide", tmp_path / "run", "--usd-per-hour", "1", "--slo", "ttft_mean<1s", "--json")
    reported = run("report", tmp_path / "run")

    assert json.loads(decided.output)[0]["optimum_concurrency"] == 8
    assert reported.exit_code == 0


def test_guidellm_file_of_two_levels(tmp_path):
    """One file, two strategies, two levels."""
    run("import", "guidellm", GUIDELLM, "--output", tmp_path / "run")

    points = summary(tmp_path / "run")["points"]
    assert [(p["concurrency"], p["n_ok"], p["n_failed"]) for p in points] == [(1, 2, 0), (2, 2, 2)]
    assert points[0]["ttft_s"]["mean"] == pytest.approx(0.1, abs=1e-6)
    assert points[0]["tpot_s"]["mean"] == pytest.approx(0.1, abs=1e-6)


def test_aiperf_needs_a_level(tmp_path):
    """Its file does not tell the concurrency: the user must, and may name the model."""
    with pytest.raises(PointsError, match="--concurrency N"):
        run("import", "aiperf", AIPERF, "--output", tmp_path / "run")

    run("import", "aiperf", AIPERF, "--concurrency", "4", "--model", "mine", "--output", tmp_path / "run")

    found = summary(tmp_path / "run")
    assert (found["model"], found["points"][0]["concurrency"]) == ("mine", 4)
    assert found["points"][0]["failures"] == {"cancelled": 1, "http_error": 1, "connect_error": 1}


@pytest.mark.parametrize(
    ("levels", "says"), [("16", "another concurrency"), ("8,8,8", "as many levels"), ("0", "whole number")]
)
def test_levels_that_do_not_fit(tmp_path, levels, says):
    """A level against the file's, too many, none."""
    with pytest.raises(Exception, match=says):
        run("import", "vllm-bench", VLLM, VLLM, "--concurrency", levels, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_models_are_two_runs(tmp_path):
    """They are never pooled."""
    other = tmp_path / "other.json"
    other.write_text(vllm_with(model_id="other"), "utf-8")

    with pytest.raises(PointsError, match="different models"):
        run("import", "vllm-bench", VLLM, other, "--output", tmp_path / "run")


def test_a_run_is_never_overwritten(tmp_path):
    """A folder with anything in it is refused."""
    (tmp_path / "notes.txt").write_text("mine", "utf-8")

    with pytest.raises(InputError, match="not empty"):
        run("import", "vllm-bench", VLLM, "--output", tmp_path)


def test_not_a_file(tmp_path):
    """Missing, or not text: named, exit code 2."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nothing.json", tmp_path / "binary"):
        with pytest.raises(PointsError, match=path.name):
            run("import", "guidellm", path, "--output", tmp_path / "run")
